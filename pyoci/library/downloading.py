"""download_files: the files that requirements ask for, verified, into a directory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pyoci.distributions.filenames import read_version
from pyoci.errors import InvalidRequest, NotFound, ProtocolError, PyOCIError
from pyoci.library.index import Index, Progress
from pyoci.library.models import File, Project
from pyoci.library.publishing import Interrupted, Watch
from pyoci.maintenance.parallel import in_parallel

JOBS = 8  # files that are downloaded at the same time
_PIECE = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What became of one file."""

    file: File
    path: Path
    outcome: Literal["downloaded", "present", "failed"]
    error: PyOCIError | OSError | None = None


def parse_requirement(text: str) -> Requirement:
    """A requirement of a project and versions (PEP 508). Raises InvalidRequest."""
    try:
        found = Requirement(text)
    except (InvalidRequirement, ValueError):
        raise InvalidRequest(
            f"{text[:100]!a} is not a requirement; expected one like hello-world>=1.0"
        ) from None
    if found.url or found.marker:
        raise InvalidRequest(f"{text[:100]!a} has a URL or a marker; expected a name and versions alone")
    return found


def pinned(specifier: SpecifierSet) -> set[Version]:
    """The versions that a requirement has with == or ===: their files count even if they are yanked."""
    texts = (each.version for each in specifier if each.operator in {"==", "==="})
    return set(filter(None, map(read_version, texts)))


def files_for(index: Index, requirement: Requirement, *, every_version: bool = False) -> tuple[File, ...]:
    """All files of the newest version that satisfies a requirement, or of every such version. Yanked files
    count only if the requirement has their version with == or ===. Pre-releases count only if it has one, or
    if there is nothing else. Raises NotFound.
    """
    project = index.project(requirement.name)
    candidates = _candidates(project, requirement)
    chosen = list(requirement.specifier.filter(candidates))
    if not chosen:
        there = ", ".join(list(project.versions)[-5:]) or "none"
        raise NotFound(f"{project.name} has no version for {requirement}; its newest ones are {there}")
    wanted = {str(version) for version in (chosen if every_version else [max(chosen)])}
    return tuple(file for version, files in candidates.items() if str(version) in wanted for file in files)


def download_files(
    index: Index, files: Sequence[File], directory: Path, *, watch: Watch | None = None, jobs: int = JOBS
) -> Generator[Downloaded]:
    """Download files in parallel. A file gets its name only after it is complete and its sha256 was verified.
    A file that exists already isn't downloaded again. Closing the iterator ends the work.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    try:
        yield from in_parallel(partial(_download, index, directory, watch, stopped), files, jobs)
    finally:
        stopped.set()
        for file in files:  # a thread that waits for the registry may not come to it
            if _is_safe(file.filename):
                _part(directory / file.filename).unlink(missing_ok=True)


def _candidates(project: Project, requirement: Requirement) -> dict[Version, tuple[File, ...]]:
    pins = pinned(requirement.specifier)
    found = {}
    for text, files in project.by_version().items():
        version = Version(text)
        kept = tuple(file for file in files if file.yanked is None or version in pins)
        if kept:
            found[version] = kept
    return found


def _download(
    index: Index, directory: Path, watch: Watch | None, stopped: threading.Event, file: File
) -> Downloaded:
    path = directory / file.filename
    try:
        if not _is_safe(file.filename):
            raise ProtocolError(f"{file.filename[:100]!a} is no file name; expected a wheel or an sdist")
        if file.sha256 is None:
            raise ProtocolError(f"{file.filename} has no sha256 on its page, so it can't be verified")
        if path.is_file() and _sha256(path) == file.sha256:
            return Downloaded(file, path, "present")
        _fetch(index, file, path, watch(Path(file.filename)) if watch else None, stopped)
    except (PyOCIError, OSError) as exc:
        return Downloaded(file, path, "failed", exc)
    return Downloaded(file, path, "downloaded")


def _fetch(index: Index, file: File, path: Path, progress: Progress | None, stopped: threading.Event) -> None:
    part = _part(path)
    computed = hashlib.sha256()
    try:
        with index.open_file(file) as pieces, part.open("xb") as target:
            for piece in pieces:
                if stopped.is_set():
                    raise Interrupted
                computed.update(piece)
                target.write(piece)
                if progress is not None:
                    progress(len(piece))
        if computed.hexdigest() != file.sha256:
            raise ProtocolError(f"{file.filename} is not the file on its page: its sha256 differs")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    """Where a file is until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _is_safe(filename: str) -> bool:
    """Whether a name that an index gave stays in the directory."""
    return Path(filename).name == filename and not filename.startswith(".")


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
