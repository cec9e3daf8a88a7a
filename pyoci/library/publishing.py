"""publish_files: publishes many files, the wheels first, each on its own: one bad file stops no other."""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pyoci.distributions.filenames import SDIST_ENDINGS
from pyoci.errors import AlreadyExists, InvalidRequest, NotFound, PyOCIError
from pyoci.library.index import Index, Progress
from pyoci.library.models import File
from pyoci.library.uploads import LocalFile
from pyoci.maintenance.parallel import in_parallel
from pyoci.store.writing.incoming import IncomingFile

JOBS = 8  # files that are published at the same time
_COMPANIONS = (".asc", ".sig", ".attestation", ".sigstore", ".sigstore.json")

Watch = Callable[[Path], Progress]  # is called when a file's turn has come


class Interrupted(Exception):
    """The user has ended the work while a file was being sent. The registry stores nothing of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: it is published, or `error` says why not."""

    path: Path
    file: File | None = None
    error: PyOCIError | None = None


def find_files(names: Iterable[str]) -> tuple[tuple[Path, ...], tuple[Outcome, ...]]:
    """The files that names, glob patterns and folders stand for, the wheels first, each once; and an outcome
    for each name that stands for none. A folder stands for the wheels and sdists in it. Signatures and
    attestations beside them are passed over.
    """
    found: dict[str, Path] = {}
    missing: list[Outcome] = []
    for name in names:
        paths = [path for path in _meant(name) if not path.name.endswith(_COMPANIONS)]
        if not paths and not name.endswith(_COMPANIONS):
            missing.append(Outcome(Path(name), error=_nothing(name)))
        for path in paths:
            found.setdefault(os.path.realpath(path), path)  # Path.resolve refuses links in a circle
    return tuple(sorted(found.values(), key=lambda path: path.suffix != ".whl")), tuple(missing)


def size_of(path: Path) -> int:
    """The size of a file in bytes; 0 if it has been removed, which `publish_files` reports."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def publish_files(
    index: Index,
    paths: Sequence[Path],
    *,
    watch: Watch | None = None,
    jobs: int = JOBS,
    attested: bool = False,
) -> Generator[Outcome]:
    """Publish files side by side, and give each outcome as soon as it is known. All wheels are there before
    the first sdist begins, so that no client builds what it could have downloaded. With `attested`, a file is
    published with the attestations beside it, or not at all.

    To close the iterator ends the work: what is being sent is broken off, and nothing of it is stored.
    """
    stopped = threading.Event()
    publish = partial(_publish, partial(index.publish, attested=attested), stopped, watch)
    wheels = [path for path in paths if path.suffix == ".whl"]
    others = [path for path in paths if path.suffix != ".whl"]
    try:
        yield from in_parallel(publish, wheels, jobs)
        yield from in_parallel(publish, others, jobs)
    finally:
        stopped.set()


def check_files(index: Index, paths: Sequence[Path], *, attested: bool = False) -> Iterator[Outcome]:
    """What `publish_files` would do, as far as that can be known without writing: the files are verified, and
    compared with those of the index.
    """
    known: dict[str, dict[str, File]] = {}
    for path in paths:
        try:
            file = _verified(path, attested=attested)
            if file.project not in known:
                known[file.project] = _files_of(index, file.project)
            there = known[file.project].get(file.filename)
            if there is not None and there.sha256 not in {None, file.sha256}:
                raise AlreadyExists(
                    f"File already exists ('{file.filename}', with sha256 hash '{there.sha256}')."
                )
            yield Outcome(path, file)
        except PyOCIError as exc:
            yield Outcome(path, error=exc)


def _publish(
    publish: Callable[[Path, Progress], File], stopped: threading.Event, watch: Watch | None, path: Path
) -> Outcome:
    moved = watch(path) if watch is not None else None

    def progress(count: int) -> None:
        if stopped.is_set():
            raise Interrupted
        if moved is not None:
            moved(count)

    try:
        progress(0)
        return Outcome(path, publish(path, progress))
    except PyOCIError as exc:
        return Outcome(path, error=exc)
    except OSError as exc:  # the file was changed or removed meanwhile
        return Outcome(path, error=InvalidRequest(f"{path} can't be read any more: {exc.strerror}"))


def _verified(path: Path, *, attested: bool) -> File:
    with LocalFile(path, attested=attested) as form:
        new = IncomingFile(form, datetime.now(UTC)).file()
    return File(
        project=new.distribution.name.normalized,
        filename=new.distribution.filename,
        version=str(new.distribution.version),
        sha256=new.sha256,
        size=new.size,
        upload_time=None,
        requires_python=new.metadata.requires_python,
        yanked=None,
        core_metadata=None,
    )


def _files_of(index: Index, project: str) -> dict[str, File]:
    try:
        return {file.filename: file for file in index.project(project).files}
    except NotFound:
        return {}


def _meant(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.name.endswith((".whl", *SDIST_ENDINGS)))
    if path.exists() or not glob.has_magic(name):
        return [path] if path.exists() else []
    return sorted(each for each in map(Path, glob.glob(name, recursive=True)) if each.is_file())


def _nothing(name: str) -> InvalidRequest:
    if Path(name).is_dir():
        return InvalidRequest(f"the folder {name} has no wheel and no sdist")
    return InvalidRequest(f"there is no file {name}; expected a wheel, an sdist, a folder or a pattern")
