"""The types in the store's interface: Namespace, PackageFile, ProjectPage, ForeignPage, Absence, Root,
ProjectSummary, Validity, Upload, Published, ByteRange, FileStream, FileElsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import BinaryIO, Self

from packaging.version import Version

from pyoci.cache.backend import Position
from pyoci.distributions.filenames import Sdist, Wheel
from pyoci.distributions.names import ProjectName
from pyoci.errors import RangeNotSatisfiable
from pyoci.oci.references import Registry, Repository
from pyoci.simple_api.model import File, Page, ProjectStatus, latest, timestamp
from pyoci.upstream.client import UpstreamPage

# Of one file, in bytes. One attestation has about 10,000, and PyPI takes two for a file.
ATTESTATIONS_LIMIT = 256 * 1024
PROVENANCE_LIMIT = 256 * 1024  # a longer one isn't kept


@dataclass(frozen=True, slots=True)
class Namespace:
    """The path between registry and project, `acme/python`: one or more segments, lower case. "" is a folder
    of OCI image layouts, each of which is a project.
    """

    registry: Registry
    path: str

    @classmethod
    def parse(cls, registry: Registry, path: str) -> Self:
        """Lower the capitals (`ghcr.io/AllexVeldman` works) and check the grammar. Raises InvalidRequest."""
        return cls(registry, Repository.parse(registry, path.lower()).name)

    def repository(self, name: ProjectName) -> Repository:
        """The repository that holds the project `name`. Raises InvalidRequest if its name is too long."""
        return Repository.parse(self.registry, self.prefix + name.underscored)

    @property
    def prefix(self) -> str:
        """How the names of its repositories begin."""
        return f"{self.path}/" if self.path else ""

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}" if self.path else str(self.registry)


def _none(file: PackageFile) -> None:
    """No file has any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One wheel or sdist, as its version's image index describes it."""

    distribution: Sdist | Wheel
    sha256: str
    size: int | None = None  # in bytes; None for files that another implementation published
    upload_time: datetime | None = None  # with a zone
    requires_python: str | None = None
    core_metadata: str | None = None  # sha256 hex of METADATA; None if `.metadata` is not served
    yanked: str | None = None  # the reason, "" if none was given; None: not yanked (PEP 592)
    project_urls: Mapping[str, str] = field(default_factory=dict)
    publisher: str | None = None  # the user who has published it, where that is recorded
    upstream_url: str | None = None  # of the file that this is a copy of
    provenance: str | None = None  # sha256 hex of the provenance that is stored with it (PEP 740)

    @property
    def filename(self) -> str:
        return self.distribution.filename

    @property
    def version(self) -> Version:
        return self.distribution.version

    def on_page(self, url: str, provenance: str | None = None) -> File:
        """The file in the model of the simple API, with this URL, and the URL of its provenance."""
        # By position, in the order of `File`: keywords make the JSON of 10,000 files take some 5 % longer.
        return File(
            self.distribution.filename,
            url,
            {"sha256": self.sha256},
            self.size,
            timestamp(self.upload_time) if self.upload_time is not None else None,
            self.requires_python or None,
            provenance,
            None,
            {"sha256": self.core_metadata} if self.core_metadata else None,
            None if self.yanked is None else self.yanked or True,
            self.distribution.version,
            self.project_urls,
            self.publisher,
        )


@dataclass(frozen=True, slots=True)
class Validity:
    """How long a page may be served again to the same caller: see `Cache.is_valid`."""

    caller_key: str = field(repr=False)
    journal: str = field(repr=False)
    position: Position
    until: float  # by the cache's own clock
    absent: bool = False  # the page was served because the registry doesn't have the project
    also: Validity | None = field(default=None, repr=False)  # has to be valid, too


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """The files of one project, in PEP 440 order, oldest version first.

    Two pages of one project with the same `fingerprint` are identical. An empty fingerprint means: unknown.
    `status` is None for an active project. A quarantined one has its files in `withheld`, which nobody may
    download.
    """

    name: ProjectName
    files: tuple[PackageFile, ...]
    fingerprint: str = field(default="", compare=False)
    validity: Validity | None = field(default=None, compare=False)
    status: ProjectStatus | None = None
    withheld: tuple[PackageFile, ...] = ()

    @classmethod
    def of(
        cls,
        name: ProjectName,
        files: tuple[PackageFile, ...],
        fingerprint: str,
        status: ProjectStatus | None,
    ) -> Self:
        """The page of a project with this status."""
        is_withheld = status is not None and status.is_quarantined
        offered, withheld = ((), files) if is_withheld else (files, ())
        return cls(name, offered, fingerprint, status=status, withheld=withheld)

    def with_withheld(self) -> ProjectPage:
        """The page with all its files, for those who yank or delete them."""
        return replace(self, files=self.files + self.withheld, withheld=())

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions that have files, each once, in order."""
        found: list[Version] = []
        for file in self.files:
            # Files of one version usually share the object. Hashing the version of each file would take as
            # long as writing their JSON.
            if not found or file.version is not found[-1]:
                found.append(file.version)
        return tuple(dict.fromkeys(found))

    def of_version(self, version: Version) -> ProjectPage:
        """The page with the files of one version. 1.0 and 1.0.0 are one version."""
        files, withheld = (
            tuple(file for file in found if file.version == version) for found in (self.files, self.withheld)
        )
        return replace(self, files=files, withheld=withheld)

    @property
    def latest(self) -> Version | None:
        """The newest version, as `pyoci.simple_api.model.latest` chooses it; None if there are no files."""
        yanked = {file.version for file in self.files if file.yanked is not None}
        return latest({version: version in yanked for version in self.versions})

    @property
    def described_file(self) -> PackageFile | None:
        """The first file of the newest version whose METADATA is served; None if there is none."""
        newest = self.latest  # once: it looks at all files
        return next((file for file in self.files if file.version == newest and file.core_metadata), None)

    def as_page(
        self, url_of: Callable[[PackageFile], str], provenance_of: Callable[[PackageFile], str | None] = _none
    ) -> Page:
        """The page in the model of the simple API. Its files can be iterated once."""
        return Page(
            name=self.name.normalized,
            files=(file.on_page(url_of(file), provenance_of(file)) for file in self.files),
            versions=tuple(map(str, self.versions)),
            status=self.status,
        )


@dataclass(frozen=True, slots=True)
class ForeignPage:
    """The upstream package index's page of a project that the registry doesn't have."""

    page: UpstreamPage
    validity: Validity | None = None


@dataclass(frozen=True, slots=True)
class Absence:
    """The conclusive answer of a registry that it doesn't have a project. It has a validity if it is
    remembered.
    """

    validity: Validity | None = None

    def after(self, other: Absence) -> Absence:
        """The same absence, valid for no longer than the other one."""
        if self.validity is None or other.validity is None:
            return Absence()
        return Absence(replace(self.validity, also=other.validity))


class ListSource(Enum):
    """Where a list of projects comes from, as users read it."""

    CATALOG = "_catalog"  # the registry's list of repositories
    GITHUB = "GitHub"  # GitHub's REST API, for ghcr.io
    REPOSITORY = "catalogue repository"  # PYOCI_CATALOG


@dataclass(frozen=True, slots=True)
class Root:
    """The projects of a namespace, sorted. What is known to be a container image is left out. The list proves
    that these names are here; it never proves that another one isn't.
    """

    projects: tuple[ProjectName, ...]
    namespace: Namespace | None = field(default=None, compare=False)
    source: ListSource = field(default=ListSource.CATALOG, compare=False)

    @property
    def may_be_incomplete(self) -> bool:
        """Whether projects may be missing: not every publisher may write to the catalogue repository."""
        return self.source is ListSource.REPOSITORY


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """What a list of projects shows of one. Texts are empty if they aren't known."""

    summary: str = ""
    version: str = ""  # the newest, as ProjectPage.latest chooses it
    released: datetime | None = None  # when its first file was published
    yanked: bool = False  # as all versions are, then


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A filled-in upload form. Texts are as the client sent them; `content` is seekable and stands at 0."""

    filename: str
    content: BinaryIO = field(repr=False)
    size: int
    name: str = ""  # "" if the client didn't send it: then the file name has it
    version: str = ""
    filetype: str = ""  # bdist_wheel or sdist; "" if the client didn't send it
    digests: Mapping[str, str] = field(default_factory=dict)  # hashlib name or "blake2b_256" to hex
    classifiers: tuple[str, ...] = ()
    project_urls: tuple[str, ...] = ()  # "Label, URL"
    attestations: str = field(default="", repr=False)  # a JSON array (PEP 740); "" if there are none
    publisher: str = ""  # the user who sends it, where that is recorded; no field of the form sets it


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file keeps from the package index that it was imported from. No upload form can set it.

    `upstream_url` and `provenance` are for copies of upstream's files. The URL is stored without its query,
    which may contain a signature. A provenance of more than 256 KiB is not stored.
    """

    upload_time: datetime | None = None  # with a zone; None: the time of the import
    yanked: str | None = None  # as in PackageFile
    upstream_url: str = ""
    provenance: str = field(default="", repr=False)  # a JSON document (PEP 740)


@dataclass(frozen=True, slots=True)
class Published:
    """The file that is stored after an upload, and its repository. `catalog_failure`: why the catalogue
    repository was not updated; "" if it was, or if there is none.
    """

    file: PackageFile
    repository: Repository
    catalog_failure: str = ""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One range of RFC 9110, section 14.1.2: `first-last`, `first-`, or `-suffix` (first is None).

    werkzeug's parser isn't used, because it ignores `-0`, which is a range that no file satisfies.
    """

    first: int | None
    last: int | None

    @classmethod
    def parse(cls, header: str | None) -> Self | None:
        """Parse a Range header. None if it is to be ignored: missing, malformed, several ranges, or another
        unit than bytes.
        """
        found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", header or "")
        if found is None or not (found[1] or found[2]):
            return None
        first, last = (int(text) if text else None for text in found.groups())
        if first is not None and last is not None and last < first:
            return None
        return cls(first, last)

    def within(self, size: int) -> range:
        """The offsets that this range selects of `size` bytes. Raises RangeNotSatisfiable if none."""
        if self.first is None:
            start, stop = max(size - (self.last or 0), 0), size
        else:
            start, stop = self.first, size if self.last is None else min(self.last + 1, size)
        if start >= stop:
            raise RangeNotSatisfiable(f"the range lies outside the file, which has {size} bytes", size)
        return range(start, stop)


@dataclass(slots=True)
class FileStream:
    """The bytes of a file, streamed from the registry. Iterate it to the end, or close it.

    A whole file is verified: if its bytes don't match their digest, iteration raises before the last piece,
    and the client sees an incomplete download instead of a wrong file.
    """

    file: PackageFile
    size: int  # of the whole file, in bytes
    span: range | None  # the offsets served; None: all of it
    pieces: Iterator[bytes] = field(repr=False)

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        """Return the connection to its pool, or close it if bytes are left to read."""
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()


@dataclass(frozen=True, slots=True)
class FileElsewhere:
    """A file that the client may fetch from the URL that the registry redirects to. The URL is signed, and
    whoever has it can read the file: it must never be logged or shown on a page.
    """

    file: PackageFile
    url: str = field(repr=False)
