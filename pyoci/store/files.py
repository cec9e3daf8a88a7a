"""Files: finds the file of a project that a request means, and reads its bytes and METADATA."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace

from packaging.version import Version

from pyoci.distributions.filenames import Distribution, filename_version_text, parse_filename
from pyoci.distributions.metadata import parse_metadata
from pyoci.errors import InvalidRequest, NotFound, ProtocolError, PyOCIError
from pyoci.oci import errors
from pyoci.oci.blobs import BlobStream
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.backfill import MetadataBackfill
from pyoci.store.layout import (
    CREATED,
    OURS,
    Entry,
    core_metadata_of,
    provenance_of,
    spelled_tag,
    tag_of,
    version_of,
)
from pyoci.store.models import ByteRange, FileElsewhere, FileStream, PackageFile, ProjectPage
from pyoci.store.project import StoredProject
from pyoci.store.state import TagState
from pyoci.store.status import require_download

_CONFIG_LIMIT = 32 * 1024 * 1024  # bytes: METADATA has its own, lower limit; JSON may escape every character
_SPELLINGS = 16  # tags of one version in which a file is looked for
_NO_LIST = (
    errors.RegistryUnauthorized,
    errors.RegistryDenied,
    errors.RegistryNotFound,
    errors.RegistryNotSupported,
    errors.RegistryRefused,
)


class Files:
    """Reads files. One for the process; the project comes with its caller's session.

    `sha256` is the beginning of the hash that the caller expects, in hex. Methods raise NotFound for a file
    that has another hash, and Denied for any file of a quarantined project. `require_served` raises Denied
    for a file that isn't served for another reason.
    """

    def __init__(
        self, backfill: MetadataBackfill, require_served: Callable[[StoredProject, PackageFile], None]
    ) -> None:
        self._backfill, self._require_served = backfill, require_served

    def describe(self, project: StoredProject, filename: str, sha256: str) -> PackageFile:
        """One file, with its size."""
        file = _sized(project, self._file(project, filename, sha256))
        self._fill_in(project, file)
        return file

    def open(
        self, project: StoredProject, filename: str, byte_range: ByteRange | None, sha256: str
    ) -> FileStream:
        """The bytes of a file, or of a range of it. Raises RangeNotSatisfiable."""
        file, span = self._file(project, filename, sha256), None
        if byte_range is not None:
            file = _sized(project, file)
            span = byte_range.within(file.size or 0)
        self._fill_in(project, file)
        with project.proving():
            blob = project.session.open_blob(project.repository, _digest(file), span, file.size)
        return _streamed(file, blob, span)

    def open_or_redirect(
        self, project: StoredProject, filename: str, leave: Callable[[str], bool], sha256: str
    ) -> FileStream | FileElsewhere:
        """The bytes of a file; or the URL that the registry redirects to, if `leave` accepts the URL."""
        file = self._file(project, filename, sha256)
        self._fill_in(project, file)
        with project.proving():
            found = project.session.open_or_redirect(project.repository, _digest(file), leave, file.size)
        return FileElsewhere(file, found) if isinstance(found, str) else _streamed(file, found, None)

    def metadata(self, project: StoredProject, filename: str, sha256: str) -> bytes:
        """METADATA of a wheel, byte-exact (PEP 658): as it was published, or read from the wheel. Raises
        NotFound if there is none.
        """
        file, config_digest = self._offered(project, filename, sha256)
        if file.core_metadata is not None and config_digest is not None:
            try:
                return core_metadata_of(_config(project, config_digest), file.core_metadata)
            except errors.RegistryNotFound as exc:  # after a clean-up; the wheel may still be there
                project.events.warning(
                    "store", "config blob missing", repository=str(project.repository), why=exc.message
                )
        text = self._backfill.text(project, file)
        if text is not None and file.core_metadata not in {None, hashlib.sha256(text).hexdigest()}:
            raise ProtocolError(f"METADATA in {filename} has another hash than the image index says")
        if text is None:
            raise NotFound(f"{filename} has no separate metadata; download the file to read it")
        return text

    def provenance(self, project: StoredProject, filename: str, sha256: str) -> bytes:
        """The provenance of a copied file, byte-exact (PEP 740). Raises NotFound if there is none."""
        file, config_digest = self._offered(project, filename, sha256)
        if file.provenance is None or config_digest is None:
            raise NotFound(f"{filename} has no provenance here")
        return provenance_of(_config(project, config_digest), file.provenance)

    def summary(self, project: StoredProject, page: ProjectPage) -> str:
        """The Summary in METADATA of the newest version on a page; "" if there is none."""
        file = page.described_file
        if file is None:
            return ""
        try:
            return self.summary_of(project, file)
        except PyOCIError:  # the page is complete without a summary
            return ""

    def summary_of(self, project: StoredProject, file: PackageFile) -> str:
        """The Summary in METADATA of a wheel; "" if there is none. Raises what `metadata` raises, and
        InvalidRequest for METADATA that is wrong.
        """
        text = self.metadata(project, file.filename, file.sha256)
        return parse_metadata(text, "METADATA", file.distribution).summary or ""

    def labels(self, project: StoredProject, filename: str) -> dict[str, str]:
        """The labels of a file: the annotations of its manifest that aren't PyOCI's own. Raises NotFound."""
        entry = find_file(project, parse_filename(filename, project.name))
        with project.proving():
            manifest = project.session.pull(project.repository, entry.descriptor.digest).manifest()
        annotations = manifest.annotations if manifest is not None else {}
        return {k: annotations[k] for k in sorted(annotations) if k != CREATED and not k.startswith(OURS)}

    def _file(self, project: StoredProject, filename: str, sha256: str) -> PackageFile:
        return self._offered(project, filename, sha256)[0]

    def _offered(
        self, project: StoredProject, filename: str, sha256: str
    ) -> tuple[PackageFile, Digest | None]:
        """A file that may be downloaded, and its config blob. Raises NotFound and Denied."""
        entry = find_file(project, parse_filename(filename, project.name), sha256)
        require_download(project)
        file = project.complete(entry)
        self._require_served(project, file)
        return file, entry.config_digest

    def _fill_in(self, project: StoredProject, file: PackageFile) -> None:
        """Read METADATA of a wheel that was published without it, so that the page announces it."""
        if file.core_metadata is None:
            self._backfill.fill_in(project, file)


def find_file(project: StoredProject, distribution: Distribution, sha256: str = "") -> Entry:
    """The entry of a file. Raises NotFound if there is none, or if its hash doesn't start with `sha256`.

    Remembered entries are only for callers with a proof. For any other caller the registry is asked for the
    version, even if the entry is remembered. Otherwise the registry would be asked for the file of a
    remembered entry, and its refusal could differ from that for a missing file: that would reveal the file.
    """
    if project.is_proven:
        with suppress(errors.RegistryNotFound):  # the image index was replaced elsewhere, and cleaned up
            known = _find(project, distribution, fresh=False)
            if known is not None and _has(project, known, sha256):
                return known
    with project.proving():
        found = _find(project, distribution, fresh=True)
        if found is None:
            raise NotFound(f"{project.name} has no file {distribution.filename}")
        if not _has(project, found, sha256):
            raise NotFound(
                f"{distribution.filename} with the sha256 {sha256}… is gone; expected an address that the"
                f" page of {project.name} shows now"
            )
    return found


def tags_of_file(project: StoredProject, distribution: Distribution) -> tuple[Tag, ...]:
    """Every tag that a file may be under; only the likely ones if the tags can't be listed."""
    likely = likely_tags(distribution)
    with suppress(errors.RegistryError):
        return *likely, *_tags_of(distribution.version, _listed(project), but=likely)
    return likely


def likely_tags(distribution: Distribution) -> tuple[Tag, ...]:
    """The normalised tag of a file's version, and the tag as the file name spells the version."""
    normalized = tag_of(distribution.version)
    with suppress(InvalidRequest):
        spelled = spelled_tag(filename_version_text(distribution))
        if spelled != normalized:
            return normalized, spelled
    return (normalized,)


def _find(project: StoredProject, distribution: Distribution, *, fresh: bool) -> Entry | None:
    """The entry with the file's name. Otherwise one with the same wheel tags, or the same kind of sdist: its
    name may be spelled differently.
    """
    if distribution.name != project.name:
        return None
    close: Entry | None = None
    for tag in _candidates(project, distribution, fresh=fresh):
        there = look(project, tag) if fresh else remembered(project, tag)
        for entry in project.contents(str(tag), there.digest, {}).entries if there else ():
            if entry.distribution.filename == distribution.filename:
                return entry
            if close is None and entry.distribution.suffix == distribution.suffix:
                close = entry
    return close


def _has(project: StoredProject, entry: Entry, sha256: str) -> bool:
    return not sha256 or project.sha256(entry).startswith(sha256)


def _candidates(project: StoredProject, distribution: Distribution, *, fresh: bool) -> Iterator[Tag]:
    """The tags that a file may be under. The likely ones are first: the others need a list of the tags."""
    likely = likely_tags(distribution)
    yield from likely
    if fresh:
        tags = _listed(project)
    else:
        state = project.cache.state()
        tags = (*state.tags, *state.tag_states)
    yield from _tags_of(distribution.version, tags, but=likely)


def _tags_of(version: Version, tags: Iterable[str], *, but: Collection[Tag]) -> list[Tag]:
    """The tags of a version, in any spelling that another program may use (`v2.0`), except those in `but`."""
    named = (Tag.listed(tag) for tag in sorted(set(tags)) if version_of(tag) == version)
    return [tag for tag in named if tag is not None and tag not in but][:_SPELLINGS]


def _listed(project: StoredProject) -> tuple[str, ...]:
    """The tags; none if the registry doesn't list them. Then only the likely tags are tried."""
    try:
        return project.session.tags(project.repository)
    except _NO_LIST:
        return ()


def remembered(project: StoredProject, tag: Tag) -> TagState | None:
    """What was under a tag, if that is still fresh. Only callers with a proof may get it."""
    cache = project.cache
    known = cache.state().tag_states.get(str(tag))
    return known if cache.freshness.is_fresh(known, cache.now()) else None


def look(project: StoredProject, tag: Tag) -> TagState | None:
    """What is under a tag now; it is remembered in this process."""
    position = project.cache.position()
    found = project.look(tag)
    if found is not None:
        project.cache.put_tag_state(position, str(tag), found)
    return found


def _sized(project: StoredProject, file: PackageFile) -> PackageFile:
    """The file with its size. The registry is asked if no annotation has it."""
    if file.size is not None:
        return file
    size = project.cache.size(_digest(file))
    if size is None:
        size = project.session.blob_size(project.repository, _digest(file))
        if size is None:
            raise NotFound(f"the registry has lost the bytes of {file.filename}")
        project.cache.put_size(_digest(file), size)
    return replace(file, size=size)


def _config(project: StoredProject, digest: Digest) -> bytes:
    """The content of a config blob. It is remembered, but only callers with a proof get it from memory."""
    known = project.cache.documents.blob(digest) if project.is_proven else None
    project.events.count("cache", "metadata", "miss" if known is None else "hit")
    if known is not None:
        return known
    with project.proving():
        config = read_config(project.session, project.repository, digest)
    project.cache.documents.put_blob(digest, config)
    return config


def read_config(session: OCISession, repository: Repository, digest: Digest) -> bytes:
    """A config blob from the registry. Raises ProtocolError if it is too long to be one."""
    config = bytearray()
    with closing(session.open_blob(repository, digest)) as stream:
        for piece in stream.pieces:
            config += piece
            if len(config) > _CONFIG_LIMIT:
                raise ProtocolError(f"the registry's config blob has more than {_CONFIG_LIMIT} bytes")
    return bytes(config)


def _digest(file: PackageFile) -> Digest:
    return Digest("sha256", file.sha256)


def _streamed(file: PackageFile, blob: BlobStream, span: range | None) -> FileStream:
    """The stream of a file. Raises ProtocolError if the blob has another size than the page says."""
    size = file.size if file.size is not None else blob.size
    if size is None or blob.size not in {None, size}:
        blob.close()
        raise ProtocolError(f"the registry's copy of {file.filename} has {blob.size} bytes; expected {size}")
    return FileStream(file, size, span, blob.pieces)
