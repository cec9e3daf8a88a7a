"""Check: whether a registry still has everything that belongs to its projects.

Each document and each blob is asked for once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol

from packaging.version import Version

from pyoci.distributions.names import ProjectName
from pyoci.errors import ProtocolError, PyOCIError
from pyoci.maintenance.parallel import Once, in_parallel, patiently
from pyoci.maintenance.remote import Remote
from pyoci.net.transport import DOCUMENT_LIMIT
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.store import layout
from pyoci.store.files import read_config
from pyoci.store.marker import MARKER_TAG

JOBS = 4  # projects that are checked at the same time
_ENTRIES = 4  # files of one project that are checked at the same time
_LARGE = DOCUMENT_LIMIT * 3 // 4  # bytes of a document that is near the limit

Kind = Literal[
    "unreadable",  # the registry refuses, or sends nonsense
    "tag is lost",
    "tag is odd",
    "spelled twice",
    "document is large",
    "manifest is lost",
    "file is lost",
    "file is wrong",
    "file is unreadable",
    "metadata is lost",
    "catalogue lacks it",
    "catalogue is outdated",
    "catalogue has no files for it",
]
# What each kind means for users.
_EFFECTS: dict[Kind, str] = {
    "unreadable": "pages leave it out as long as the registry answers like this",
    "tag is lost": "the registry lists the tag and has nothing under it; pages leave the version out",
    "tag is odd": "it is shown here, and another registry may refuse it in a copy",
    "spelled twice": "both tags are one version (PEP 440); the page shows the files of both",
    "document is large": "registries may refuse more than 4 MiB, and so further files of this version",
    "manifest is lost": "it still installs; signatures and other OCI tools can't find it",
    "file is lost": "the page shows the file, and its download fails",
    "file is wrong": "the page shows the file, and its download fails because its bytes are wrong",
    "file is unreadable": "its download fails as long as the registry answers like this",
    "metadata is lost": "it still installs; its METADATA is read from the wheel, which takes longer",
    "catalogue lacks it": "a list of projects that comes from the catalogue repository leaves it out",
    "catalogue is outdated": "the catalogue repository names another newest version, or another summary",
    "catalogue has no files for it": "the catalogue repository lists a project that has no files",
}


_Report = Callable[..., None]  # `_Project._report` of one file


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong in a project. `what` is a file name, a tag or a digest."""

    project: ProjectName
    tag: str
    kind: Kind
    what: str
    detail: str = ""
    # The file, where the finding is about one.
    entry: layout.Entry | None = field(default=None, repr=False, compare=False)

    @property
    def is_wrong(self) -> bool:
        """Whether something fails because of it; the other problems are worth knowing."""
        return self.kind not in {"tag is odd", "spelled twice", "document is large"}

    @property
    def effect(self) -> str:
        """What a user would see."""
        return _EFFECTS[self.kind]


@dataclass(frozen=True, slots=True)
class CheckedProject:
    """What was found in one project. Without a package, the repository isn't a project: it holds images."""

    project: ProjectName
    has_package: bool = True
    documents: int = 0
    blobs: int = 0
    problems: tuple[Problem, ...] = ()


class CatalogCheck(Protocol):
    """Compares the catalogue repository with the projects."""

    def names(self) -> Iterable[ProjectName]:
        """The projects that it lists."""
        ...

    def problems(self, name: ProjectName) -> tuple[Problem, ...]:
        """What is wrong with what it says of a project."""
        ...


class Checker:
    """Checks the projects of a namespace. `deep` reads the bytes of every file, too. `catalog` finds what is
    wrong with the catalogue repository, if there is one.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        deep: bool = False,
        jobs: int = JOBS,
        advance: Callable[[int], None] = lambda _count: None,
        catalog: CatalogCheck | None = None,
    ) -> None:
        self._remote, self._deep, self._jobs, self._advance = remote, deep, jobs, advance
        self._catalog = catalog

    def run(self, names: Iterable[ProjectName] = ()) -> Generator[CheckedProject]:
        """Check these projects, or all. Raises what the registry's list of projects raises."""
        named = tuple(names)
        wanted = named or self._remote.projects()
        yield from in_parallel(partial(self._checked, must_exist=bool(named)), wanted, self._jobs)
        if self._catalog is not None and not named:
            left = sorted(set(self._catalog.names()) - set(wanted))
            found = in_parallel(self._catalog.problems, left, self._jobs)
            yield from (CheckedProject(each[0].project, problems=each) for each in found if each)

    def _checked(self, name: ProjectName, *, must_exist: bool) -> CheckedProject:
        try:
            found = _Project(self._remote, name, self._deep, self._advance).check()
            if self._catalog is None or not found.has_package:
                return found
            return replace(found, problems=(*found.problems, *self._catalog.problems(name)))
        except PyOCIError as exc:
            if isinstance(exc, RegistryNotFound) and not must_exist:
                return CheckedProject(name, has_package=False)  # a repository that never had a tag
            problem = Problem(project=name, tag="", kind="unreadable", what=str(name), detail=exc.message)
            return CheckedProject(name, problems=(problem,))


class _Project:
    """The check of one project."""

    def __init__(self, remote: Remote, name: ProjectName, deep: bool, advance: Callable[[int], None]) -> None:
        self._remote, self._name, self._deep, self._advance = remote, name, deep, advance
        self._repository: Repository = remote.repository(name)
        self._problems: list[Problem] = []
        self._documents: Once[Document] = Once()
        self._blobs: Once[str] = Once()  # what is wrong, "" if nothing is
        self._tags = 0

    def check(self) -> CheckedProject:
        tags = patiently(lambda: self._remote.session().tags(self._repository))
        versions: defaultdict[Version, list[str]] = defaultdict(list)
        found: list[tuple[str, ImageIndex]] = []
        for text, image_index in in_parallel(self._read_tag, tags, _ENTRIES):
            if image_index is not None:
                found.append((text, image_index))
                version = layout.version_of(text)
                if version is not None and image_index.manifests:
                    versions[version].append(text)
        for spellings in versions.values():
            if len(spellings) > 1:
                self._report("spelled twice", spellings[0], " and ".join(sorted(spellings)))
        files = [(text, each) for text, index in found for each in layout.entries(index, self._name, text)]
        for _ in in_parallel(self._check_entry, files, _ENTRIES):
            pass
        problems = sorted(self._problems, key=lambda each: (each.tag, each.what, each.kind))
        failed = {each.tag for each in problems if each.kind in {"unreadable", "tag is lost"}}
        nothing_read = bool(tags) and failed.issuperset(tags)  # so it may well hold a package
        has_package = bool(found) or str(MARKER_TAG) in tags or nothing_read
        return CheckedProject(
            self._name,
            has_package,
            self._tags + len(self._documents),
            len(self._blobs),
            tuple(problems) if has_package else (),
        )

    def _read_tag(self, text: str) -> tuple[str, ImageIndex | None]:
        """The version under a tag; None if it isn't one."""
        tag = Tag.listed(text)
        if tag is None or not tag.is_grammatical:
            self._report("tag is odd", text, text[:128])
        if tag is None:
            return text, None
        try:
            document = patiently(lambda: self._remote.session().pull(self._repository, tag))
            self._tags += 1
            image_index = layout.package_in(document.image_index(), self._pulled)
        except RegistryNotFound:
            self._report("tag is lost", text, text)
            return text, None
        except PyOCIError as exc:
            self._report("unreadable", text, text, exc.message)
            return text, None
        if len(document.body) > _LARGE:
            self._report("document is large", text, text, f"{len(document.body)} bytes")
        return text, image_index

    def _check_entry(self, located: tuple[str, layout.Entry]) -> None:
        tag, entry = located
        manifest = self._manifest(entry)
        report = partial(self._report, tag=tag, what=entry.distribution.filename, entry=entry)
        if isinstance(manifest, RegistryNotFound):
            report("manifest is lost", detail=str(entry.descriptor.digest))
        elif isinstance(manifest, PyOCIError):
            report("unreadable", detail=manifest.message)
        size = None
        if isinstance(manifest, Document):
            size = _layer_size(manifest)
        try:
            self._check_blobs(entry, size, manifest, report)
        except PyOCIError as exc:
            report("file is unreadable", detail=exc.message)

    def _check_blobs(
        self, entry: layout.Entry, size: int | None, manifest: Document | PyOCIError, report: _Report
    ) -> None:
        file = entry.sha256
        if file is None and isinstance(manifest, RegistryNotFound):
            report("file is lost", detail="its hash stood in the manifest alone")
        if file is not None:
            wrong = self._blob(Digest("sha256", file), size)
            if wrong:
                report("file is lost" if wrong == _LOST else "file is wrong", detail=wrong)
        config, metadata = entry.config_digest, entry.core_metadata
        if config is not None and metadata is not None:
            wrong = self._metadata(config, metadata)
            if wrong:
                report("metadata is lost", detail=wrong)

    def _manifest(self, entry: layout.Entry) -> Document | PyOCIError:
        try:
            return self._pulled(entry.descriptor.digest)
        except PyOCIError as exc:
            return exc

    def _pulled(self, digest: Digest) -> Document:
        return self._documents.get(
            digest, lambda: patiently(lambda: self._remote.session().pull(self._repository, digest))
        )

    def _blob(self, digest: Digest, size: int | None) -> str:
        """What is wrong with a blob; "" if nothing is."""
        work = self._read_blob if self._deep else self._look_at_blob
        return self._blobs.get(digest, lambda: work(digest, size))

    def _look_at_blob(self, digest: Digest, size: int | None) -> str:
        found = patiently(lambda: self._remote.session().blob_size(self._repository, digest))
        if found is None:
            return _LOST
        return "" if size in {None, found} else f"its size in the registry is {found}; expected {size}"

    def _read_blob(self, digest: Digest, size: int | None) -> str:
        try:
            patiently(lambda: self._read(digest, size))
        except RegistryNotFound:
            return _LOST
        except ProtocolError as exc:
            return exc.message
        return ""

    def _read(self, digest: Digest, size: int | None) -> None:
        """Read a blob to its end, which verifies it. Without a known size, the registry is asked for it: a
        body that never ends is then recognised.
        """
        session = self._remote.session()
        if size is None:
            size = session.blob_size(self._repository, digest)
            if size is None:
                raise RegistryNotFound(_LOST)
        with closing(session.open_blob(self._repository, digest, size=size)) as stream:
            for piece in stream.pieces:
                self._advance(len(piece))

    def _metadata(self, config: Digest, sha256: str) -> str:
        """What is wrong with the METADATA that is announced; "" if nothing is."""
        if not self._deep:
            return self._blob(config, None)
        return self._blobs.get(config, lambda: self._read_metadata(config, sha256))

    def _read_metadata(self, config: Digest, sha256: str) -> str:
        try:
            content = patiently(lambda: read_config(self._remote.session(), self._repository, config))
            layout.core_metadata_of(content, sha256)
        except RegistryNotFound:
            return _LOST
        except ProtocolError as exc:
            return exc.message
        return ""

    def _report(
        self, kind: Kind, tag: str, what: str, detail: str = "", entry: layout.Entry | None = None
    ) -> None:
        problem = Problem(project=self._name, tag=tag, kind=kind, what=what, detail=detail, entry=entry)
        self._problems.append(problem)  # one call of a list is safe in threads


_LOST = "the registry doesn't have it"


def _layer_size(document: Document) -> int | None:
    try:
        manifest = document.manifest()
    except ProtocolError:
        return None
    return manifest.layers[0].size if manifest is not None and len(manifest.layers) == 1 else None
