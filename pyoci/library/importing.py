"""Import: the files of another package index or a folder, with their upload times and yanks.

What the target has already isn't fetched, so an interrupted import is continued by another run.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Self

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.names import ProjectName
from pyoci.errors import AlreadyExists, NotFound, PyOCIError, Unreachable
from pyoci.library import registry, sources, uploads
from pyoci.library.index import Audit, Progress, unaudited
from pyoci.library.models import File, Project
from pyoci.library.publishing import Interrupted
from pyoci.library.server import verified
from pyoci.maintenance import parallel, prune
from pyoci.maintenance.locks import read_locks, read_requirements
from pyoci.simple_api.model import version_in
from pyoci.store.models import Imported

JOBS = 8  # files that are fetched and sent at the same time
_THREADS = 8  # for each of them: the others wait to read back what they wrote
_MOST_THREADS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which files are imported: all, unless something says otherwise.

    `projects` are named one by one. `specifiers` and `pins` come from requirements and lock files: each names
    its projects, and which versions. `newer_than` leaves out files that are older, as far as that is known.
    """

    projects: tuple[str, ...] = ()
    specifiers: Mapping[str, SpecifierSet] = field(default_factory=dict)
    pins: Mapping[str, frozenset[Version]] = field(default_factory=dict)
    newer_than: timedelta | None = None

    @classmethod
    def parse(
        cls,
        *,
        projects: Iterable[str] = (),
        requirements: Iterable[Path] = (),
        locks: Iterable[Path] = (),
        newer_than: str | None = None,
    ) -> Self:
        """The choice by names, files and an age (`90d`). Raises InvalidRequest."""
        return cls(
            projects=tuple(ProjectName.parse(name).normalized for name in projects),
            specifiers=read_requirements(requirements),
            pins=read_locks(locks),
            newer_than=None if newer_than is None else prune.parse_age(newer_than),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The projects that are named; empty if all are meant."""
        return tuple(sorted({*self.projects, *self.specifiers, *self.pins}))

    def pick(
        self, project: str, page: sources.SourcePage, now: datetime
    ) -> Iterator[sources.SourceFile | ImportedFile]:
        """The files of a project that are imported."""
        return (file for file in page.files if self._takes(project, file, now))

    def _takes(self, project: str, file: sources.SourceFile, now: datetime) -> bool:
        moment = file.upload_time
        if self.newer_than is not None and moment is not None and moment < now - self.newer_than:
            return False
        if project in self.projects or not self.names:
            return True
        version = version_in(file.filename)
        if version is None:
            return False
        specifier = self.specifiers.get(project)
        fits = specifier is not None and specifier.contains(version, prereleases=True)
        return fits or version in self.pins.get(project, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedFile:
    """What became of a file: `imported`, `present` already, or `failed`. `filename` is "" if the whole
    project is meant. A mirror may also have `left out` a file on purpose, or `changed` whether it is yanked.
    """

    project: str
    filename: str
    outcome: Literal["imported", "present", "failed", "left out", "changed"]
    error: str = ""  # why it failed or was left out
    lost: tuple[str, ...] = ()  # what of it couldn't be kept
    size: int = 0  # bytes that were fetched


class Chooser(Protocol):
    """Chooses what is imported, as `Choice` does."""

    @property
    def names(self) -> tuple[str, ...]:
        """The projects that are named; empty if all are meant."""
        ...

    def pick(
        self, project: str, page: sources.SourcePage, now: datetime
    ) -> Iterable[sources.SourceFile | ImportedFile]:
        """The files of a project that are imported, and what is known of others."""
        ...


class Importer:
    """Imports from a source to an index."""

    def __init__(
        self,
        source: sources.Source,
        target: registry.RegistryIndex,
        choice: Chooser,
        *,
        jobs: int = JOBS,
        progress: Progress = lambda _count: None,
        audit: Audit = unaudited,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        temporary: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`temporary` is the directory of temporary files; None: the system's."""
        self._source, self._target, self._choice = source, target, choice
        self._jobs, self._progress, self._now, self._sleep = jobs, progress, now, sleep
        self._unreachable = 0  # projects in a row
        self._free = threading.Semaphore(jobs)
        self._stopped = threading.Event()
        self._temporary, self._audit = temporary, audit

    def run(self) -> Generator[ImportedFile]:
        """Import, and yield what became of each file. Raises what the source's list of projects raises."""
        names = self._choice.names or parallel.patiently(self._source.projects)
        threads = max(self._jobs, min(_THREADS * self._jobs, _MOST_THREADS))
        # Threads may still write when an interruption removes the directory.
        with tempfile.TemporaryDirectory(
            prefix="pyoci-import-", dir=self._temporary, ignore_cleanup_errors=True
        ) as directory:
            try:
                work = partial(self._import, Path(directory))
                yield from parallel.in_parallel(work, self._tasks(names), threads)
            finally:
                self._stopped.set()

    def _tasks(self, names: Iterable[str]) -> Iterator[tuple[str, sources.SourceFile] | ImportedFile]:
        for found in parallel.in_parallel(self._listed, names, self._jobs):
            yield from found

    def _listed(self, project: str) -> list[tuple[str, sources.SourceFile] | ImportedFile]:
        """The files of a project that are to be fetched, and those that need not."""
        # A host that was out of reach for that many projects isn't waited for any more.
        attempts = 1 if self._unreachable >= self._jobs else parallel.ATTEMPTS
        try:
            read = partial(parallel.patiently, attempts=attempts, sleep=self._sleep)
            page = read(lambda: self._source.page(project))
            there = read(lambda: self._present(project, page))
        except PyOCIError as exc:
            self._unreachable = self._unreachable + 1 if isinstance(exc, Unreachable) else 0
            return [failed(project, "", exc.message)]
        self._unreachable = 0
        return [
            each
            if isinstance(each, ImportedFile)
            else self._compared(project, each, there) or (project, each)
            for each in self._choice.pick(project, page, self._now())
        ]

    def _present(self, project: str, _page: sources.SourcePage) -> dict[str, File]:
        """The files that the target has, by name. Raises PyOCIError if the project gets none."""
        return {file.filename: file for file in self._stored(project).files}

    def _stored(self, project: str) -> Project:
        """The project as the target has it."""
        try:
            return self._target.project(project)
        except NotFound:
            return Project(project, ())

    def _compared(
        self, project: str, file: sources.SourceFile, there: Mapping[str, File]
    ) -> ImportedFile | None:
        """What is known of a file without fetching it: the target has it, or another one of its name."""
        name = _stored_name(project, file.filename)
        if name not in there:
            return None
        try:
            sha256 = file.hashes.get("sha256") or self._source.sha256(file)
        except OSError as exc:
            error = f"it can't be read: {exc.strerror}"
            return failed(project, file.filename, error)
        if sha256 is None or sha256.lower() == there[name].sha256:
            return self._same(project, file, there[name])
        error = f"{self._target.address} has another file of that name"
        self._audit("publish", project, file.filename, sha256=(sha256,), error=AlreadyExists(error))
        return failed(project, file.filename, error)

    def _same(self, project: str, file: sources.SourceFile, _there: File) -> ImportedFile:
        """What becomes of a file that the target has."""
        return ImportedFile(project=project, filename=file.filename, outcome="present")

    def _import(self, directory: Path, task: tuple[str, sources.SourceFile] | ImportedFile) -> ImportedFile:
        if isinstance(task, ImportedFile):
            return task
        project, file = task
        failure: PyOCIError | OSError | None = None
        lost: tuple[str, ...] = ()
        size, sha256, error = 0, file.hashes.get("sha256"), ""
        try:
            name = ProjectName.parse(project)
            parse_filename(file.filename, name)  # before it names a file here
            with self._target.turns.turn(self._free):
                if self._stopped.is_set():
                    return failed(project, file.filename, "the import was interrupted")
                lost, size, sha256 = parallel.patiently(lambda: self._moved(directory, name, file))
        except AlreadyExists as exc:
            failure, error = exc, f"{self._target.address} has another file of that name"
        except PyOCIError as exc:
            failure, error = exc, exc.message
        except OSError as exc:
            failure, error = exc, f"it can't be kept here: {exc.strerror}"
        self._audit("publish", project, file.filename, sha256=(sha256,), error=failure)
        if failure is not None:
            return failed(project, file.filename, error)
        return ImportedFile(project=project, filename=file.filename, outcome="imported", lost=lost, size=size)

    def _moved(
        self, parent: Path, project: ProjectName, file: sources.SourceFile
    ) -> tuple[tuple[str, ...], int, str]:
        """Fetch a file and publish it. Returns what of it was lost, its size in bytes, and its sha256."""
        with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as directory:
            path, size = Path(directory) / file.filename, 0
            with self._source.fetch(file) as fetched, path.open("wb") as copy:
                for piece in verified(fetched.pieces, file.filename, None, file.locked, "the lock file"):
                    self._go_on()
                    copy.write(piece)
                    size += len(piece)
                    self._progress(len(piece))
            imported, lost = self._facts(file)
            if file.upload_time is None:
                imported = replace(imported, upload_time=fetched.modified)
                lost = (*lost, "its upload time" if fetched.modified is None else "its exact upload time")
            with uploads.LocalFile(path, self._go_on, project=project) as form:
                target = self._target
                published = target.store.publish(target.namespace, form, target.caller, imported)
        return lost, size, published.file.sha256

    def _facts(self, file: sources.SourceFile) -> tuple[Imported, tuple[str, ...]]:
        """What a file keeps of its source, and what is lost."""
        lost = (*file.lost, "its provenance") if file.provenance else file.lost
        return Imported(file.upload_time, file.yanked), lost

    def _go_on(self, _count: int = 0) -> None:
        if self._stopped.is_set():
            raise Interrupted


def failed(project: str, filename: str, error: str) -> ImportedFile:
    return ImportedFile(project=project, filename=filename, outcome="failed", error=error)


def _stored_name(project: str, filename: str) -> str:
    """The name that a file has in the target, which may be spelled in another way."""
    try:
        return parse_filename(filename, ProjectName.parse(project)).filename
    except PyOCIError:
        return filename
