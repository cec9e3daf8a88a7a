"""Operations on everything that an index has: copy, check, repair, and what may be pruned. They need the
registry itself, or a folder of OCI image layouts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from pyoci.config.client import MirrorSettings
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound, PyOCIError
from pyoci.library.importing import Choice, ImportedFile, Importer
from pyoci.library.index import Audit, Index, Progress, needs_registry, unaudited
from pyoci.library.mirroring import Mirror, check_target, open_mirrored
from pyoci.library.mirroring_selection import Selection
from pyoci.library.registry import RegistryIndex
from pyoci.library.sources import Source
from pyoci.maintenance.catalog import KINDS, CatalogMaintenance
from pyoci.maintenance.check import CheckedProject, Checker, Problem
from pyoci.maintenance.copy import JOBS, CopiedTag, Copier
from pyoci.maintenance.prune import PrunedVersion, Rules, pruned
from pyoci.maintenance.remote import Remote, make_updater
from pyoci.maintenance.repair import FileSource, Repaired, Repairer
from pyoci.store.models import ProjectPage


def _ignored(_count: int) -> None:
    """Ignore the progress."""


def copy(
    source: Index,
    target: Index,
    projects: Iterable[str] = (),
    *,
    jobs: int = JOBS,
    progress: Progress = _ignored,
) -> Generator[CopiedTag]:
    """Copy projects, or all, and yield what became of each tag. What the target has already isn't sent.
    `progress` gets the number of bytes of each piece that was sent.

    Raises NotSupported for an index behind a server, and NotFound if the registry gives no list.
    """
    here, there = _remote(source, "copying"), _remote(target, "copying")
    if here.is_beside(there) and here.namespace == there.namespace:
        raise InvalidRequest(f"{source.address} is both source and target; expected two places")
    return Copier(here, there, make_updater(), jobs=jobs, advance=progress).run(_names(projects))


def import_files(
    target: Index,
    source: Source,
    choice: Choice,
    *,
    jobs: int = JOBS,
    progress: Progress = _ignored,
    audit: Audit = unaudited,
) -> Generator[ImportedFile]:
    """Import files with their upload times and yanks, and yield what became of each. What the target has
    already isn't fetched. `audit` is called for each write. Raises NotSupported for an index behind a server.
    """
    registry = _registry(target, "importing")
    return Importer(source, registry, choice, jobs=jobs, progress=progress, audit=audit).run()


def mirror(
    target: Index,
    selection: Selection,
    *,
    netrc: bool = False,
    environ: Mapping[str, str] | None = None,
    jobs: int = JOBS,
    progress: Progress = _ignored,
    audit: Audit = unaudited,
) -> Generator[ImportedFile]:
    """Copy what a selection chooses of another package index, and yield what became of each file. What the
    target has already isn't fetched. The settings of the environment `environ` count, os.environ by default.
    Raises NotSupported for an index behind a server, and InvalidRequest.
    """
    registry = _registry(target, "mirroring")
    settings = MirrorSettings.from_environ(os.environ if environ is None else environ)
    check_target(registry, settings)
    with open_mirrored(selection.source, settings, netrc=netrc, environ=environ) as source:
        yield from Mirror(source, registry, selection, jobs=jobs, progress=progress, audit=audit).run()


def check(
    index: Index, projects: Iterable[str] = (), *, deep: bool = False, progress: Progress = _ignored
) -> Generator[CheckedProject]:
    """Check projects, or all, and yield what was found in each, and in the catalogue repository if
    PYOCI_CATALOG names one. `deep` reads the bytes of every file.
    """
    remote, catalog = _remote(index, "checking"), _catalog(index)
    return Checker(remote, deep=deep, advance=progress, catalog=catalog).run(_names(projects))


def repair(
    index: Index,
    problems: Iterable[Problem],
    *,
    source: Index | Path | None = None,
    drop_lost: bool = False,
    progress: Progress = _ignored,
) -> Iterator[Repaired]:
    """Repair what a check has found. Lost files come from `source`, another index or a folder of files. With
    `drop_lost`, files that `source` doesn't have either are removed from their versions.
    """
    remote = _remote(index, "repairing")
    found: Remote | FileSource | None = None
    if isinstance(source, Path):
        found = FileSource(source, index.publish)
    elif source is not None:
        found = _remote(source, "repairing")
    repairer = Repairer(remote, make_updater(), source=found, drop_lost=drop_lost, advance=progress)
    of_files, of_catalog = list[Problem](), list[Problem]()
    for problem in problems:
        (of_catalog if problem.kind in KINDS else of_files).append(problem)
    catalog = _catalog(index)
    # The catalogue is last: a file that is taken out may have been the newest version's.
    return chain(repairer.run(of_files), map(catalog.repair, of_catalog) if catalog is not None else ())


def prunable(
    index: Index,
    rules: Rules,
    projects: Iterable[str] = (),
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    unreadable: Callable[[str, PyOCIError], object] | None = None,
) -> Iterator[PrunedVersion]:
    """The versions that the rules allow to delete, for each project by itself. `Index.delete` deletes one.

    `unreadable` is called with each project that can't be read and the reason, and the others follow. Without
    it, the error is raised. Raises NotFound for a project in `projects` that isn't there.
    """
    registry = _registry(index, "pruning")
    names = _names(projects)
    for name in names or _remote(index, "pruning").projects():
        try:
            page = registry.store.find(
                registry.namespace, name, registry.caller, ask_upstream=False, fresh=True
            )
        except NotFound:
            if names:
                raise
            continue  # the repository of a container image
        except PyOCIError as exc:
            if unreadable is None:
                raise
            unreadable(name.normalized, exc)
            continue
        assert isinstance(page, ProjectPage)  # without `below` and upstream there is nothing else
        yield from pruned(page.with_withheld(), rules, now())


def _names(projects: Iterable[str]) -> tuple[ProjectName, ...]:
    return tuple(dict.fromkeys(map(ProjectName.parse, projects)))


def _registry(index: Index, what: str) -> RegistryIndex:
    if not isinstance(index, RegistryIndex):
        raise needs_registry(index, what)
    return index


def _remote(index: Index, what: str) -> Remote:
    registry = _registry(index, what)

    def projects() -> tuple[ProjectName, ...]:
        return registry.store.projects(registry.namespace, registry.caller)

    return Remote(registry.gateway, registry.namespace, registry.caller, registry.address, projects)


def _catalog(index: Index) -> CatalogMaintenance | None:
    """The catalogue repository of an index; None if PYOCI_CATALOG names none."""
    registry = _registry(index, "checking")
    if not registry.has_catalog:
        return None
    return CatalogMaintenance(registry.store.catalog, registry.namespace, registry.caller)
