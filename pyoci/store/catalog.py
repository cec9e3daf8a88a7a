"""Catalog: the projects of a namespace for people: where their list comes from, and what they are.

The list is that of the first source that has one. It proves that the names in it are here, and never that
another name isn't: nothing else is decided by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from cachetools import LRUCache
from packaging.version import Version

from pyoci.cache.backend import Position
from pyoci.distributions.labels import SUMMARY_LIMIT
from pyoci.distributions.names import ProjectName
from pyoci.errors import (
    Denied,
    InvalidRequest,
    NotFound,
    NotSupported,
    ProtocolError,
    PyOCIError,
    RequestEnded,
    Unauthorized,
)
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.oci.errors import RegistryDenied, RegistryNotFound, RegistryRefused, RegistryUnauthorized
from pyoci.oci.references import Repository, Tag
from pyoci.oci.session import Gateway
from pyoci.store.cache import Cache
from pyoci.store.catalog_repository import listed_projects, read_entry
from pyoci.store.files import Files, look, remembered
from pyoci.store.images import Images
from pyoci.store.models import ListSource, Namespace, PackageFile, ProjectSummary, Root
from pyoci.store.project import StoredProject, side_by_side, versions_among
from pyoci.store.roots import Roots
from pyoci.store.writing.catalog import CatalogUpdater, Difference

SUMMARIES = 50  # projects of one page that the registry is asked about
_SECONDS = 8.0  # after which no more projects are asked about
_VERSIONS = 5  # that are read until one has files that aren't yanked
_TAGS = 10  # of a repository that is checked for images; a page of the project checks more

_ENTRIES = 8192
# What a source answers that has no list, or not for this caller. The next source is tried then.
_NO_LIST = (NotFound, NotSupported, Unauthorized, Denied, InvalidRequest, ProtocolError)
_NO_ENTRY = (RegistryUnauthorized, RegistryDenied, RegistryRefused, ProtocolError)

_Read = Callable[[], tuple[ProjectName, ...]]
Summaries = Mapping[ProjectName, ProjectSummary | None]


@dataclass(frozen=True, slots=True)
class _Remembered:
    """An entry of a catalogue repository; None: it has none. `position` is that of its journal."""

    position: Position
    until: float
    entry: ProjectSummary | None


class Describe(Protocol):
    """Describer.describe."""

    def __call__(self, project: StoredProject, *, versions: int | None = None) -> ProjectSummary | None: ...


class OpenProject(Protocol):
    """Opens a project for a caller."""

    def __call__(
        self, namespace: Namespace, name: ProjectName, caller: Credentials, *, publishing: bool = False
    ) -> StoredProject: ...


class Describer:
    """Reads what projects are. One for the process."""

    def __init__(self, files: Files, images: Images) -> None:
        self._files, self._images = files, images

    def describe(self, project: StoredProject, *, versions: int | None = None) -> ProjectSummary | None:
        """What a project is. None: the repository holds container images alone. At most so many `versions`
        are read until one has files that aren't yanked; None is no limit. Raises the registry's refusal.
        """
        state = project.cache.state()
        is_fresh = project.is_proven and project.cache.freshness.is_list_fresh(state, project.cache.now())
        tags = state.tags if is_fresh else project.listing().tags
        newest = _newest_version(project, tags, versions)
        if newest is None:
            may_be_image = len(tags) <= _TAGS and not project.cache.access.has_existed()
            if may_be_image and self._images.are_all(project, tags):
                project.cache.add_image(project.repository)
                return None
            return ProjectSummary()
        files, summary = newest
        published = [file.upload_time for file in files if file.upload_time is not None]
        return ProjectSummary(
            self._summary_of(project, files) if summary is None else summary,
            str(files[0].version),
            min(published, default=None),
            any(file.yanked is not None for file in files),
        )

    def _summary_of(self, project: StoredProject, files: Sequence[PackageFile]) -> str:
        """The Summary in METADATA of a version that was published without labels; "" if there is none."""
        for file in files:
            if file.core_metadata is not None:
                with suppress(PyOCIError):
                    return self._files.summary_of(project, file)[:SUMMARY_LIMIT]
        return ""


class Catalog:
    """Lists projects. One for the process. `updater` keeps the catalogue repository up to date."""

    def __init__(
        self,
        roots: Roots,
        gateway: Gateway,
        cache: Cache,
        describe: Describe,
        open_project: OpenProject,
        updater: CatalogUpdater,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots, self._gateway, self._cache, self._describe = roots, gateway, cache, describe
        self._open, self.updater, self._name = open_project, updater, updater.name
        self._clock = clock
        self._guard = threading.Lock()
        self._entries: LRUCache[tuple[str, str], _Remembered] = LRUCache(_ENTRIES)

    def root(self, namespace: Namespace, caller: Credentials) -> Root:
        """The projects of a namespace, sorted, without known container images: from the first source that
        lists some. Raises NotFound if no source has a list, or the refusal of one that wants credentials.
        """
        refusals, empty = list[PyOCIError](), None
        for source, read in self._sources(namespace, caller):
            try:
                root = self.without_images(Root(read(), namespace, source))
            except _NO_LIST as exc:
                refusals.append(exc)
                continue
            if root.projects:
                return root
            empty = empty or root
        if empty is not None:
            return empty
        wants_credentials = (each for each in refusals if isinstance(each, Unauthorized))
        refusal = (isinstance(caller, Anonymous) and next(wants_credentials, None)) or refusals[0]
        refusal.message = "; ".join(dict.fromkeys(each.message for each in refusals))
        raise refusal

    def is_in_use(self, namespace: Namespace, caller: Credentials) -> bool:
        """Whether the registry lists anything in a namespace to this caller. Raises the error of a list that
        fails.
        """
        return self._roots.projects_if_in_use(namespace, caller) is not None

    def _sources(self, namespace: Namespace, caller: Credentials) -> Iterator[tuple[ListSource, _Read]]:
        """The sources of a list, and functions that read it, in the order in which they are tried."""
        yield ListSource.CATALOG, lambda: self._roots.projects(namespace, caller)
        if self._roots.is_at_github(namespace):
            yield ListSource.GITHUB, lambda: self._roots.github_projects(namespace, caller)
        if self._name is not None:
            yield ListSource.REPOSITORY, lambda: self._in_repository(namespace, caller)

    def names(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...]:
        """The projects in the catalogue repository; none if there is no such repository. Raises the
        registry's refusal.
        """
        try:
            return self._in_repository(namespace, caller)
        except RegistryNotFound:
            return ()

    def _in_repository(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...]:
        if self._name is None:
            return ()
        session = self._gateway.session(namespace.registry, caller)
        return listed_projects(session, self._name.repository(namespace))

    def difference(self, namespace: Namespace, name: ProjectName, caller: Credentials) -> Difference | None:
        """How the catalogue repository differs from what a project is; None if it doesn't."""
        return self.updater.difference(self._open(namespace, name, caller))

    def repair(self, namespace: Namespace, name: ProjectName, caller: Credentials) -> str:
        """Write what a project is to the catalogue repository. Returns why that failed, "" if it didn't."""
        return self.updater.refresh(self._open(namespace, name, caller, publishing=True))

    def without_images(self, root: Root) -> Root:
        """The root without the catalogue repository, and without the repositories that are known to hold
        container images alone.
        """
        namespace = root.namespace
        assert namespace is not None
        images = self._cache.images(Repository(namespace.registry, namespace.path))
        reserved = None if self._name is None else self._name.project

        def is_shown(name: ProjectName) -> bool:
            if name == reserved:
                return False
            if name.underscored not in images:
                return True
            return self._cache.of(namespace.repository(name)).access.has_existed()

        return Root(tuple(filter(is_shown, root.projects)), namespace, root.source)

    def summaries(self, namespace: Namespace, names: Sequence[ProjectName], caller: Credentials) -> Summaries:
        """What some projects of a root are, by name. None: the repository holds container images alone.

        The registry is asked about the first SUMMARIES of them, for some seconds. A project that it refuses
        to the caller, or that isn't reached in time, is left out.
        """
        begun, found = self._clock(), dict[ProjectName, ProjectSummary | None]()

        def look_at(project: StoredProject) -> None:
            if self._clock() - begun >= _SECONDS:
                return
            try:
                entry = self._entry(project)
                found[project.name] = entry or self._describe(project, versions=_VERSIONS)
            except RequestEnded:
                raise
            except PyOCIError as exc:
                why = {"repository": str(project.repository), "why": exc.message}
                project.events.debug("store", "no summary", **why)

        asked = list[StoredProject]()
        for name in names[:SUMMARIES]:
            with suppress(InvalidRequest):  # registries may list names that are too long for clients
                asked.append(self._open(namespace, name, caller))
        if asked:
            try:
                side_by_side(asked[0], look_at, asked)
            except RequestEnded:
                raise
            except PyOCIError:  # some were late
                pass
        return dict(found)

    def _entry(self, project: StoredProject) -> ProjectSummary | None:
        """What the catalogue repository says of a project, read or remembered; None if it says nothing. It is
        remembered for this caller alone, until somebody who shares the cache changes the catalogue.
        """
        if self._name is None:
            return None
        repository = self._name.beside(project.repository)
        cache, key = self._cache.of(repository), (project.caller_key, str(project.repository))
        position, now = cache.position(), self._clock()
        with self._guard:
            known = self._entries.get(key)
        if known is not None and known.position == position and now < known.until:
            return known.entry
        with suppress(*_NO_ENTRY):
            entry = read_entry(project.session, repository, project.name)
            if position is not None:
                with self._guard:
                    self._entries[key] = _Remembered(position, now + cache.freshness.ttl, entry)
            return entry
        return None


def _newest_version(
    project: StoredProject, tags: tuple[str, ...], count: int | None
) -> tuple[tuple[PackageFile, ...], str | None] | None:
    """The files of the newest version, as `pyoci.simple_api.model.latest` chooses it, and its summary. None
    if none of the first `count` versions has files.
    """
    yanked = None
    by_version: dict[Version, list[Tag]] = {}
    for version, tag in versions_among(tags):
        by_version.setdefault(version, []).append(tag)
    best_first = sorted(by_version, key=lambda version: (not version.is_prerelease, version), reverse=True)
    for version in islice(best_first, count):
        files, summary = list[PackageFile](), None
        for tag in by_version[version]:
            found = remembered(project, tag) or look(project, tag)
            if found is not None:
                contents = project.contents(str(tag), found.digest, {})
                files, summary = [*files, *contents.files], contents.summary if summary is None else summary
        # A version counts as yanked if one of its files is, as on a page.
        if files and all(file.yanked is None for file in files):
            return tuple(files), summary
        yanked = yanked or (tuple(files), summary) if files else yanked
    return yanked
