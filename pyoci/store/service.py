"""PackageStore: what a caller may do with the packages of a namespace. The web room knows only this."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.metadata import parse_metadata
from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound, ProtocolError, PyOCIError
from pyoci.events import Events
from pyoci.oci.blobs import BlobStream
from pyoci.oci.credentials import Credentials
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.references import Digest
from pyoci.oci.session import Gateway
from pyoci.store.absences import NegativeCache
from pyoci.store.backfill import MetadataBackfill
from pyoci.store.cache import Cache
from pyoci.store.layout import core_metadata_of
from pyoci.store.lookup import Lookup, ProjectsBelow, Rules, Upstream
from pyoci.store.models import (
    Absence,
    ByteRange,
    FileElsewhere,
    FileStream,
    ForeignPage,
    Namespace,
    PackageFile,
    ProjectPage,
    Published,
    Root,
    Validity,
)
from pyoci.store.pages import Pages
from pyoci.store.project import StoredProject
from pyoci.store.roots import Roots
from pyoci.store.writing.destination import Destinations, UploadAddress
from pyoci.store.writing.incoming import IncomingFile, IncomingForm
from pyoci.store.writing.lag import RecentWrites
from pyoci.store.writing.publish import Publisher
from pyoci.store.writing.queue import TagLocks
from pyoci.store.writing.update import IndexUpdater

_CONFIG_LIMIT = 32 * 1024 * 1024  # bytes: METADATA has its own, lower limit; JSON may escape every character


def _utc_now() -> datetime:
    return datetime.now(UTC)


class PackageStore:
    """Python packages kept in registries. One for the process; the caller comes with each call.

    Methods raise the kinds of `pyoci.errors`.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        max_versions: int = 1000,
        events: Events | None = None,
        cache: Cache | None = None,
        upstream: Upstream | None = None,
        rules: Rules | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._gateway = gateway
        self._now = now
        self._events = events or Events()
        self._cache = cache or Cache()
        self._backfill = MetadataBackfill(
            self._cache.backend,
            self._events,
            changed=self._cache.invalidate_pages,
            key_of=self._cache.key_of,
        )
        self._pages = Pages(self._cache, self._backfill, max_versions=max_versions)
        self._absences = NegativeCache(self._cache)
        self._lookup = Lookup(self._pages, self._absences, upstream, rules or Rules())
        self._writes = RecentWrites(self._cache)
        locks = TagLocks(self._cache.backend.lock)
        updater = IndexUpdater(self._cache.changed, self._writes, locks=locks, now=now, sleep=sleep)
        self._publisher = Publisher(updater, now)
        self._roots = Roots(gateway, self._cache)
        self._destinations = Destinations(self._roots, self._pages, partial(self._project, publishing=True))

    def projects(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...]:
        """The projects of a namespace, sorted. Raises NotFound where the registry lists no repositories."""
        return self._roots.projects(namespace, caller)

    def page(
        self, namespace: Namespace, name: ProjectName, caller: Credentials, *, fresh: bool = False
    ) -> ProjectPage:
        """The files of a project; of its newest versions where there are more than the limit.

        `fresh` asks the registry again whatever is remembered.
        """
        return self._pages.page(self._project(namespace, name, caller), fresh=fresh)

    def find(
        self,
        namespace: Namespace,
        name: ProjectName,
        caller: Credentials,
        *,
        below: Namespace | None = None,
        after: Absence | None = None,
        ask_upstream: bool = True,
        fresh: bool = False,
    ) -> ProjectPage | Root | ForeignPage:
        """What stands at the address of a project: its page; if the registry lacks it, the root of the
        namespace `below`, which is spelled like it; or else the page of the upstream package index, which is
        not asked where `ask_upstream` is false. The answer is valid for no longer than the absence that it
        comes `after`.
        """
        project = self._project(namespace, name, caller)
        found = self._lookup.find(
            project, self._projects_below(below, caller), ask_upstream=ask_upstream, fresh=fresh
        )
        if after is None or isinstance(found, Root):
            return found
        both = replace(found.validity, also=after.validity) if found.validity and after.validity else None
        return replace(found, validity=both)

    def absence(
        self,
        namespace: Namespace,
        name: ProjectName,
        caller: Credentials,
        *,
        below: Namespace | None = None,
        fresh: bool = False,
    ) -> Absence | None:
        """The registry's word that it has neither the project nor anything in the namespace `below`, which is
        spelled like it; None where it has. Raises any answer that doesn't tell.
        """
        project = self._project(namespace, name, caller)
        return self._lookup.absence(project, self._projects_below(below, caller), fresh=fresh)

    def _projects_below(self, below: Namespace | None, caller: Credentials) -> ProjectsBelow:
        return lambda: self._roots.projects_if_any(below, caller) if below is not None else ()

    def is_valid(self, validity: Validity) -> bool:
        """Whether the page with this validity may be given again to the caller who got it."""
        alone = self._absences.is_valid(validity) if validity.absent else self._cache.is_valid(validity)
        return alone and (validity.also is None or self.is_valid(validity.also))

    # A file of another sha256 than the caller expects is NotFound: `sha256` are the first digits of its hex.

    def describe(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials, *, sha256: str = ""
    ) -> PackageFile:
        """One file, its size included."""
        project = self._project(namespace, name, caller)
        file = self._sized(project, project.complete(project.find(parse_filename(filename), sha256)))
        self._learn(project, file)
        return file

    def open(
        self,
        namespace: Namespace,
        name: ProjectName,
        filename: str,
        caller: Credentials,
        byte_range: ByteRange | None = None,
        *,
        sha256: str = "",
    ) -> FileStream:
        """The bytes of a file, or of a range of it. Raises RangeNotSatisfiable."""
        project = self._project(namespace, name, caller)
        file, span = project.complete(project.find(parse_filename(filename), sha256)), None
        if byte_range is not None:
            file = self._sized(project, file)
            span = byte_range.within(file.size or 0)
        self._learn(project, file)
        with project.revoked_on_refusal():
            blob = project.session.open_blob(project.repository, _digest(file), span, file.size)
        project.prove()
        return _streamed(file, blob, span)

    def open_or_redirect(
        self,
        namespace: Namespace,
        name: ProjectName,
        filename: str,
        caller: Credentials,
        leave: Callable[[str], bool],
        *,
        sha256: str = "",
    ) -> FileStream | FileElsewhere:
        """The bytes of a file; or the URL that the registry redirects to, where `leave` says yes to it."""
        project = self._project(namespace, name, caller)
        file = project.complete(project.find(parse_filename(filename), sha256))
        self._learn(project, file)
        with project.revoked_on_refusal():
            found = project.session.open_or_redirect(project.repository, _digest(file), leave, file.size)
        project.prove()
        return FileElsewhere(file, found) if isinstance(found, str) else _streamed(file, found, None)

    def metadata(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials, *, sha256: str = ""
    ) -> bytes:
        """METADATA of a wheel, byte-exact (PEP 658): as it was kept, or read out of the wheel. NotFound."""
        project = self._project(namespace, name, caller)
        entry = project.find(parse_filename(filename), sha256)
        file, config_digest = project.complete(entry), entry.config_digest
        if file.core_metadata is not None and config_digest is not None:
            try:
                return core_metadata_of(self._config(project, config_digest), file.core_metadata)
            except RegistryNotFound as exc:  # a clean-up took the config blob, and the wheel may be there
                self._events.warning(
                    "store", "config blob gone", repository=str(project.repository), why=exc.message
                )
        text = self._backfill.text(project.session, project.repository, file)
        if text is not None and file.core_metadata not in {None, hashlib.sha256(text).hexdigest()}:
            raise ProtocolError(f"METADATA in {filename} is not the one that was announced")
        if text is None:
            raise NotFound(f"there is no metadata of {filename} here; download the file for it")
        return text

    def summary(self, namespace: Namespace, page: ProjectPage, caller: Credentials) -> str:
        """The Summary in METADATA of the newest version on a page; "" where there is none to be had.

        At most one file is asked for its METADATA, which is remembered.
        """
        newest = (file for file in page.files if file.version == page.latest and file.core_metadata)
        file = next(newest, None)
        if file is None:
            return ""
        try:
            text = self.metadata(namespace, page.name, file.filename, caller, sha256=file.sha256)
            return parse_metadata(text, "METADATA", file.distribution).summary or ""
        except PyOCIError:  # the page counts without it
            return ""

    def publish(
        self, address: Namespace | UploadAddress, form: IncomingForm, caller: Credentials
    ) -> Published:
        """Store an uploaded file, while it arrives if its form allows that. A namespace is used as it is; an
        address may mean more than one.

        Raises AlreadyExists, and InvalidRequest with nothing stored.
        """
        incoming = IncomingFile(form, self._now())
        name = incoming.distribution.name
        if isinstance(address, UploadAddress):
            address = self._destinations.choose(address, name, caller)
        project = self._project(address, name, caller, publishing=True)
        return Published(self._publisher.publish(project, incoming), project.repository)

    def yank(
        self, namespace: Namespace, name: ProjectName, target: str, reason: str | None, caller: Credentials
    ) -> None:
        """Yank a file or a whole version; `reason` may be empty, None takes it back (PEP 592)."""
        self._publisher.yank(self._project(namespace, name, caller, publishing=True), target, reason)

    def delete(self, namespace: Namespace, name: ProjectName, target: str, caller: Credentials) -> None:
        """Delete a file or a whole version. Raises NotSupported where the registry has no way."""
        self._publisher.delete(self._project(namespace, name, caller, publishing=True), target)

    def _project(
        self, namespace: Namespace, name: ProjectName, caller: Credentials, *, publishing: bool = False
    ) -> StoredProject:
        session = self._gateway.session(namespace.registry, caller, publishing=publishing)
        repository = namespace.repository(name)
        who = self._cache.name_of(caller)
        return StoredProject(session, repository, name, who, self._events, self._cache, self._writes)

    def _learn(self, project: StoredProject, file: PackageFile) -> None:
        """Read METADATA of a wheel that came without, so that the page announces it to whoever comes next."""
        if file.core_metadata is None:
            self._backfill.learn(project.session, project.repository, file)

    def _sized(self, project: StoredProject, file: PackageFile) -> PackageFile:
        """The file with its size; the registry is asked where no annotation tells."""
        if file.size is not None:
            return file
        size = self._cache.size(project.repository, _digest(file))
        if size is None:
            size = project.session.blob_size(project.repository, _digest(file))
            if size is None:
                raise NotFound(f"the registry has lost the bytes of {file.filename}")
            self._cache.put_size(project.repository, _digest(file), size)
        return replace(file, size=size)

    def _config(self, project: StoredProject, digest: Digest) -> bytes:
        """A config blob, read whole: its METADATA is small. Whoever isn't known has to be given it anew."""
        known = self._cache.blob(project.repository, digest) if project.is_proven else None
        self._events.count("cache", "metadata", "miss" if known is None else "hit")
        if known is not None:
            return known
        with project.revoked_on_refusal():
            blob = project.session.open_blob(project.repository, digest)
        config = bytearray()
        for piece in blob.pieces:
            config += piece
            if len(config) > _CONFIG_LIMIT:
                raise ProtocolError("the registry's config blob is too large to be one")
        project.prove()
        self._cache.put_blob(project.repository, digest, bytes(config))
        return bytes(config)


def _digest(file: PackageFile) -> Digest:
    return Digest("sha256", file.sha256)


def _streamed(file: PackageFile, blob: BlobStream, span: range | None) -> FileStream:
    """Raises ProtocolError where the registry's blob has another size than the page says."""
    size = file.size if file.size is not None else blob.size
    if size is None or blob.size not in {None, size}:
        blob.close()
        raise ProtocolError(f"the registry's copy of {file.filename} has not the size that it should have")
    return FileStream(file, size, span, blob.pieces)
