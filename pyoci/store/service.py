"""PackageStore: all that a caller can do with packages. `pyoci.web` uses the store only through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied, InvalidRequest, NotFound
from pyoci.events import Events
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import Repository
from pyoci.oci.session import Gateway
from pyoci.store import catalog, files, pages, roots
from pyoci.store.backfill import MetadataBackfill
from pyoci.store.cache import Cache
from pyoci.store.catalog_repository import CatalogName
from pyoci.store.lookup import Lookup, ProjectsBelow, Rules, Upstream
from pyoci.store.models import (
    Absence,
    ByteRange,
    FileElsewhere,
    FileStream,
    ForeignPage,
    Imported,
    Namespace,
    PackageFile,
    ProjectPage,
    Published,
    Root,
    Validity,
)
from pyoci.store.project import StoredProject
from pyoci.store.read_limit import LargeReads, ReadLimit
from pyoci.store.status import parse_status
from pyoci.store.writing import lag, queue, steps, update
from pyoci.store.writing.catalog import CatalogUpdater
from pyoci.store.writing.destination import Destinations, UploadAddress
from pyoci.store.writing.incoming import IncomingFile, IncomingForm
from pyoci.store.writing.publish import Publisher


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _report_busy(events: Events, repository: Repository) -> None:
    events.count("limited", "large pages")
    events.warning("store", "large pages", repository=str(repository))


class _Projects:
    """Opens projects with the session of a caller. One for a store."""

    def __init__(
        self,
        gateway: Gateway,
        cache: Cache,
        events: Events,
        writes: lag.RecentWrites,
        rules: Rules,
        catalog_name: CatalogName | None,
    ) -> None:
        self._gateway, self._cache, self._events, self._writes = gateway, cache, events, writes
        self._rules, self._catalog_name = rules, catalog_name
        self._large = LargeReads()

    def open(
        self, namespace: Namespace, name: ProjectName, caller: Credentials, *, publishing: bool = False
    ) -> StoredProject:
        """Raises NotFound, or to publish InvalidRequest, for the name of the catalogue repository. Raises
        Denied to publish copies of upstream's files.
        """
        repository = namespace.repository(name)
        if publishing and self._rules.holds_copies(repository):
            raise Denied(
                f"{namespace} is for copies of upstream's files (PYOCI_UPSTREAM_STORE), which can't be"
                " changed through PyOCI; expected another namespace"
            )
        if self._catalog_name is not None and self._catalog_name.project == name:
            message = f"{name} is the name of the catalogue repository (PYOCI_CATALOG); expected another name"
            raise InvalidRequest(message) if publishing else NotFound(message)
        session = self._gateway.session(namespace.registry, caller, publishing=publishing)
        read_limit = ReadLimit.among(
            self._large, namespace.registry, refused=partial(_report_busy, self._events, repository)
        )
        if not publishing:  # an upload doesn't wait for readers of large projects
            session.large = read_limit.large
        return StoredProject(
            session=session,
            read_limit=read_limit,
            repository=repository,
            name=name,
            caller_key=self._cache.caller_key(caller),
            events=self._events,
            cache=self._cache.of(repository),
            writes=self._writes,
        )


class PackageStore:
    """Python packages kept in registries. One for the process; the caller comes with each call. `catalog` has
    the lists of projects. Methods raise the errors of `pyoci.errors`.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        cache: Cache,
        events: Events,
        max_versions: int,
        upstream: Upstream | None,
        rules: Rules,
        catalog_name: CatalogName | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._now = now
        self._cache = cache
        backfill = MetadataBackfill(cache.backend)
        self._files = files.Files(backfill, rules.require_served)
        self._pages = pages.Pages(backfill, max_versions=max_versions)
        self._lookup = Lookup(self._pages, upstream, rules)
        writes = lag.RecentWrites(cache)
        self._project = _Projects(gateway, cache, events, writes, rules, catalog_name).open
        locks = queue.TagLocks(cache.backend.lock)
        updater = update.IndexUpdater(cache.changed, writes, locks=locks, now=now, sleep=sleep)
        self._publisher = Publisher(updater, now)
        self._roots = roots.Roots(gateway, cache)
        tags = steps.TagWriter(cache.changed, writes, locks, now)
        describe = catalog.Describer(self._files, self._pages.images).describe
        entries = CatalogUpdater(catalog_name, tags, locks, describe, gateway.limited)
        self.catalog = catalog.Catalog(self._roots, gateway, cache, describe, self._project, entries)
        self._destinations = Destinations(self._roots, self._pages, partial(self._project, publishing=True))

    def projects(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...]:
        """The projects of a namespace, sorted. Raises NotFound if there is no list of them."""
        return self.catalog.root(namespace, caller).projects

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
        """What is at the address of a project. That is its page; if the registry doesn't have the project, it
        is the root of the namespace `below`, which has the same address; if that has no projects, it is
        upstream's page, unless `ask_upstream` is false.

        `after` is an absence that was found first: the answer is valid for no longer than that.
        """
        project = self._project(namespace, name, caller)
        found = self._lookup.find(
            project, self._projects_below(below, caller), ask_upstream=ask_upstream, fresh=fresh
        )
        if isinstance(found, Root):
            return self.catalog.without_images(replace(found, namespace=below))
        if after is None:
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
        """An Absence if the registry has neither the project nor anything in the namespace `below`, which has
        the same address; None if it has one of them. Raises the registry's refusal if that leaves it unclear.
        """
        project = self._project(namespace, name, caller)
        return self._lookup.absence(project, self._projects_below(below, caller), fresh=fresh)

    def is_known_absent(self, namespace: Namespace, name: ProjectName, caller: Credentials) -> bool:
        """Whether the registry has recently told this caller that it doesn't have the project."""
        project = self._project(namespace, name, caller)
        return project.cache.access.is_absent(project.caller_key)

    def _projects_below(self, below: Namespace | None, caller: Credentials) -> ProjectsBelow:
        return lambda: self._roots.projects_if_in_use(below, caller) if below is not None else None

    def is_valid(self, validity: Validity) -> bool:
        """Whether the page with this validity may be served again to the same caller."""
        return self._cache.is_valid(validity)

    # `sha256` is the beginning of the hash that the caller expects, in hex; another file is NotFound.

    def describe(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials, *, sha256: str = ""
    ) -> PackageFile:
        """One file, with its size."""
        return self._files.describe(self._project(namespace, name, caller), filename, sha256)

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
        return self._files.open(self._project(namespace, name, caller), filename, byte_range, sha256)

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
        """The bytes of a file; or the URL that the registry redirects to, if `leave` accepts the URL."""
        return self._files.open_or_redirect(self._project(namespace, name, caller), filename, leave, sha256)

    def metadata(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials, *, sha256: str = ""
    ) -> bytes:
        """METADATA of a wheel, byte-exact (PEP 658): as it was published, or read from the wheel."""
        return self._files.metadata(self._project(namespace, name, caller), filename, sha256)

    def provenance(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials, *, sha256: str = ""
    ) -> bytes:
        """The provenance that a copy of another index's file has (PEP 740)."""
        return self._files.provenance(self._project(namespace, name, caller), filename, sha256)

    def labels(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials
    ) -> dict[str, str]:
        """The labels of a file, which its manifest has."""
        return self._files.labels(self._project(namespace, name, caller), filename)

    def summary(self, namespace: Namespace, page: ProjectPage, caller: Credentials) -> str:
        """The Summary in METADATA of the newest version on a page; "" if there is none."""
        return self._files.summary(self._project(namespace, page.name, caller), page)

    def publish(
        self,
        address: Namespace | UploadAddress,
        form: IncomingForm,
        caller: Credentials,
        imported: Imported | None = None,
    ) -> Published:
        """Store an uploaded file. It is streamed while it arrives if the order of the form's fields allows
        that. Raises AlreadyExists, and InvalidRequest; then nothing is stored.
        """
        incoming = IncomingFile(form, self._now(), imported)
        name = incoming.distribution.name
        if isinstance(address, UploadAddress):
            address = self._destinations.choose(address, name, caller)
        project = self._project(address, name, caller, publishing=True)
        file = self._publisher.publish(project, incoming)
        summary = incoming.file().metadata.summary or ""
        return Published(file, project.repository, self.catalog.updater.published(project, file, summary))

    def yank(
        self, namespace: Namespace, name: ProjectName, target: str, reason: str | None, caller: Credentials
    ) -> tuple[str, ...]:
        """Yank a file or a version (PEP 592). A `reason` of None takes that back. Returns the hashes."""
        project = self._project(namespace, name, caller, publishing=True)
        hashes = self._publisher.yank(project, target, reason)
        self.catalog.updater.refresh(project)
        return hashes

    def set_status(
        self, namespace: Namespace, name: ProjectName, status: str, reason: str, caller: Credentials
    ) -> None:
        """Set the status of a project (PEP 792); the reason may be empty. Raises NotFound."""
        wanted = parse_status(status, reason)
        project = self._project(namespace, name, caller, publishing=True)
        if not self._pages.require(project, fresh=True):  # as gcr.io answers for a project that it lacks
            raise NotFound(f"there is no project {name} here")
        self._publisher.set_status(project, wanted)

    def delete(
        self, namespace: Namespace, name: ProjectName, target: str, caller: Credentials
    ) -> tuple[str, ...]:
        """Delete a file or a whole version. Raises NotSupported if the registry can't. Returns the hashes."""
        project = self._project(namespace, name, caller, publishing=True)
        hashes = self._publisher.delete(project, target)
        self.catalog.updater.refresh(project)
        return hashes
