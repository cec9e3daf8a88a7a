"""The registry's directory: one OCI image layout per repository, and every operation that changes it.

    acme/hello/oci-layout, index.json, blobs/sha256/<hex>   the repository acme/hello, a standard image layout
    acme/hello/_uploads/                                    temporary files
    acme/hello/_lock                                        locked by the current writer
    acme/hello/world/…                                      the repository acme/hello/world
    acme/hello/blobs_/…                                     the repository acme/hello/blobs
    _uploads/                                               the unfinished uploads of all repositories
    _identity                                               the name of this registry

A component of a repository name neither starts nor ends with `_`. A trailing `_` therefore marks components
that would clash with the layout's own files, and a leading `_` marks the registry's own files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pyoci.embedded.errors import Busy
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest, Registry, Repository

LOCK_LIMIT = 10.0  # seconds; requests for manifests have ten seconds in all
PIECE = 1024 * 1024  # bytes read or written at once; smaller pieces cost more processor time
_LOCK_PAUSE = 0.004  # seconds between two attempts; a write takes about as long
_REGISTRY = Registry("embedded", "local", listed=True)  # for parsing repository names
_LAYOUT_FILES = frozenset({"blobs", "index.json", "oci-layout"})
_IDENTITY = re.compile(r"[0-9a-f]{32}")

FileStamp = tuple[int, int, int]  # changes whenever a file is replaced or rewritten


@dataclass(frozen=True, slots=True)
class RepositoryFolder:
    """The folder of one repository, which may not exist yet."""

    name: str
    path: Path
    lock_limit: float  # seconds

    @property
    def index(self) -> Path:
        """index.json lists the manifests and tags. The repository exists once this file exists."""
        return self.path / "index.json"

    @property
    def marker(self) -> Path:
        return self.path / "oci-layout"

    @property
    def staging(self) -> Path:
        """Temporary files: on the same file system as their final paths."""
        return self.path / "_uploads"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    def blob(self, digest: Digest) -> Path:
        return self.blobs / digest.algorithm / digest.hex

    def lock(self) -> AbstractContextManager[None]:
        """Keep other writers out. Raises Busy after the limit, and FileNotFoundError if there is no such
        folder.
        """
        return locked(self.path / "_lock", self.lock_limit)


@dataclass(frozen=True, slots=True)
class Layout:
    """All repositories below the directory `root`."""

    root: Path
    lock_limit: float = LOCK_LIMIT  # seconds

    @property
    def uploads(self) -> Path:
        """The unfinished uploads of all repositories, in one folder so that they are quickly counted."""
        return self.root / "_uploads"

    def folder(self, name: str) -> RepositoryFolder:
        """The folder of a repository. Raises InvalidRequest for a bad name."""
        parts = Repository.parse(_REGISTRY, name).name.split("/")
        path = self.root.joinpath(*(f"{part}_" if part in _LAYOUT_FILES else part for part in parts))
        return RepositoryFolder(name, path, self.lock_limit)

    def folders(self) -> Iterator[RepositoryFolder]:
        """Every folder that holds any part of a repository, sorted by name."""
        yield from sorted(self._below(self.root, ""), key=lambda folder: folder.name)

    def repositories(self) -> list[str]:
        """The sorted names of the repositories that exist."""
        return [folder.name for folder in self.folders() if folder.index.is_file()]

    def _below(self, path: Path, prefix: str) -> Iterator[RepositoryFolder]:
        for child in _subfolders(path):
            name = prefix + child.name.removesuffix("_")
            if any((child / own).exists() for own in ("index.json", "blobs", "_uploads")):
                yield RepositoryFolder(name, child, self.lock_limit)
            yield from self._below(child, f"{name}/")


class Disk:
    """Changes files and folders; a change survives a crash completely or not at all.

    A file is written under a temporary name, flushed with fsync, renamed, and its folder is flushed too.
    `step` is called before each operation: tests end the process there, or raise an error of the disk.
    `clock` gives seconds since 1970, as time.time does.
    """

    def __init__(
        self,
        step: Callable[[str, Path], None] = lambda operation, path: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._step = step
        self.clock = clock

    def make_folder(self, folder: Path) -> None:
        """Create `folder` and its missing parents; others may create the same at the same time."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            self._step("mkdir", path)
            path.mkdir(exist_ok=True)
            self._sync_folder(path.parent)

    def create(self, path: Path) -> None:
        """Create an empty file. Raises FileExistsError if one exists."""
        self._step("create", path)
        path.open("xb").close()

    def write(self, file: BinaryIO, piece: bytes | memoryview, path: Path) -> None:
        self._step("write", path)
        file.write(piece)

    def sync(self, file: BinaryIO, path: Path) -> None:
        file.flush()
        self._step("sync", path)
        os.fsync(file.fileno())

    def truncate(self, file: BinaryIO, size: int, path: Path) -> None:
        self._step("truncate", path)
        file.truncate(size)
        file.seek(size)

    def replace(self, source: Path, target: Path) -> None:
        """Rename `source` to its final name and replace any file of that name."""
        self._step("rename", target)
        source.replace(target)
        self._sync_folder(target.parent)

    def link(self, source: Path, target: Path) -> None:
        """Make `target` another name of the file `source`. Raises FileExistsError if `target` exists."""
        self._step("link", target)
        os.link(source, target)
        self._sync_folder(target.parent)

    def link_or_copy(self, source: Path, target: Path) -> None:
        """Like `link`, but copies the file if the file system can't link."""
        try:
            self.link(source, target)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
                raise
            self.create(target)
            with source.open("rb") as read, target.open("r+b") as written:
                shutil.copyfileobj(read, written, PIECE)
                self.sync(written, target)

    def remove(self, path: Path) -> None:
        """Remove a file, if it exists."""
        self._step("remove", path)
        path.unlink(missing_ok=True)

    def touch(self, path: Path) -> None:
        """Set the time of modification to now."""
        self._step("touch", path)
        now = int(self.clock() * 1e9)
        os.utime(path, ns=(now, now))

    def age(self, path: Path) -> float:
        """Seconds since `path` was written or touched. Raises FileNotFoundError if it was removed."""
        return self.clock() - path.stat().st_mtime

    def put(
        self, target: Path, content: bytes, staging: Path, *, modified: int | None = None, new: bool = False
    ) -> None:
        """Write `content` to the file `target` through the folder `staging` on the same file system.

        `modified` is the file's time of modification, in nanoseconds since 1970. With `new` an existing file
        stays as it is, and FileExistsError is raised.
        """
        self.make_folder(staging)
        temporary = temporary_path(staging)
        try:
            self.create(temporary)
            with temporary.open("r+b") as file:
                self.write(file, content, temporary)
                self.sync(file, temporary)
            if modified is not None:
                os.utime(temporary, ns=(modified, modified))
            if new:
                self.link(temporary, target)
            else:
                self.replace(temporary, target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _sync_folder(self, folder: Path) -> None:
        self._step("sync folder", folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _subfolders(path: Path) -> list[Path]:
    """The folders in `path` that may hold repositories, so not `lost+found`, which only root can read. There
    are none if `path` has been removed since it was found.
    """
    try:
        return [child for child in path.iterdir() if _is_component(child.name) and child.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_component(name: str) -> bool:
    """Whether a folder is named after a component of a repository's name."""
    if name.startswith("_") or name in _LAYOUT_FILES:
        return False
    try:
        Repository.parse(_REGISTRY, name.removesuffix("_"))
    except InvalidRequest:
        return False
    return True


def temporary_path(staging: Path) -> Path:
    """A new name for a temporary file."""
    return staging / f"tmp-{secrets.token_hex(16)}"


def file_stamp(path: Path) -> FileStamp:
    """A value that changes when the file changes. Raises OSError."""
    status = path.stat()
    return (status.st_ino, status.st_mtime_ns, status.st_size)


@contextmanager
def locked(
    path: Path,
    limit: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a lock on the file `path` that excludes other threads and processes.

    The system releases the lock when its holder ends, however it ends. Raises Busy if the lock can't be
    acquired within `limit` seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = clock() + limit
        while not try_lock(descriptor):
            if clock() >= end:
                raise Busy
            sleep(_LOCK_PAUSE)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file unless it is locked already; closing the file releases the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def identity(directory: Path) -> str:
    """A random name of this registry, kept in the file `_identity`, by which a shared cache tells registries
    apart: host names and paths may be the same in two clusters. If the file can't be written or read, each
    call returns another name.
    """
    path = directory / "_identity"
    created = secrets.token_hex(16)
    if directory.is_dir() and not path.exists():
        with suppress(OSError):  # another process has written it, or the directory is read-only
            Disk().put(path, created.encode(), directory, new=True)
    try:
        kept = path.read_text(errors="replace")
    except OSError:
        return created
    return kept if _IDENTITY.fullmatch(kept) else created
