"""Folder: files by their sha256 in a directory that all processes of a machine share, with a limit in bytes.

A file that is being downloaded is `tmp-<sha256>`. The process that writes it holds a lock on it, which ends
with the process, so others can read the file while it arrives and notice when its writer is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from pyoci.cache.directory import PrivateDirectory

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_ARRIVING = "tmp-"  # PrivateDirectory.entries leaves such files out
_ATTEMPTS = 10
_USED = 60.0  # seconds; the precision of the time at which a file was last used


class Folder:
    """The files in `path`, at most `size` bytes of them. Those that were used least recently are removed
    first. Files that are arriving may exceed the limit for the time of their download.

    The directory may be deleted at any time. A file has its final name only after `commit`.
    """

    def __init__(self, path: Path, size: int, clock: Callable[[], float] = time.time) -> None:
        self.size = size
        self._directory = PrivateDirectory(path, clock)
        self._path = str(path)
        self._clock = clock

    def make(self) -> None:
        """Create the directory, and remove what former processes left. Raises OSError."""
        self._directory.make()
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.startswith(_ARRIVING):
                    self._remove_abandoned(entry.path)

    def names(self) -> frozenset[str]:
        """The sha256 of each complete file."""
        try:
            return frozenset(name for name in os.listdir(self._path) if not name.startswith(_ARRIVING))
        except OSError:
            return frozenset()

    def kept(self, sha256: str) -> FileIO | None:
        """A complete file; None if it is missing."""
        try:
            file = FileIO(os.open(f"{self._path}/{sha256}", _READ))
        except OSError:
            return None
        found, now = os.fstat(file.fileno()), self._clock()
        if not self._directory.is_ours(found):
            file.close()
            return None
        if abs(now - found.st_mtime) > _USED:
            with suppress(OSError):
                os.utime(file.fileno(), (now, now))
        return file

    def begin(self, sha256: str) -> tuple[FileIO, FileIO | None]:
        """A file that arrives, for reading; and for writing if nobody else writes it. The caller then ends
        with `commit` or `abandon`. Raises OSError if the directory can't be used.
        """
        path = self._arriving(sha256)
        for _ in range(_ATTEMPTS):
            writer = self._opened(path)
            if not _locked(writer, fcntl.LOCK_EX):
                return writer, None
            if _is_at(writer, path):
                writer.truncate(0)
                return FileIO(os.open(path, _READ)), writer
            writer.close()  # it was committed or abandoned in this moment
        raise OSError(errno.EBUSY, "another process removes the file each time")

    def commit(self, sha256: str, writer: FileIO) -> None:
        """Keep a file that was verified. Raises OSError."""
        path = self._arriving(sha256)
        try:
            os.fsync(writer.fileno())
            if _is_at(writer, path):
                os.replace(path, f"{self._path}/{sha256}")
        finally:
            self.abandon(sha256, writer)
        self.sweep()

    def abandon(self, sha256: str, writer: FileIO) -> None:
        """End the writing of a file, and remove it unless it was committed."""
        if writer.closed:
            return
        path = self._arriving(sha256)
        with suppress(OSError):
            if _is_at(writer, path):
                os.unlink(path)
        writer.close()

    def remove(self, sha256: str) -> None:
        """Remove a complete file."""
        with suppress(OSError):
            os.unlink(f"{self._path}/{sha256}")

    def sweep(self, incoming: int = 0) -> None:
        """Remove the least recently used files until `incoming` further bytes fit in the limit."""
        files = sorted(self._directory.entries(), key=lambda entry: entry[1].st_mtime_ns)
        excess = sum(status.st_size for _, status in files) + incoming - self.size
        for path, status in files:
            if excess <= 0:
                return
            with suppress(OSError):
                os.unlink(path)
            excess -= status.st_size

    def _arriving(self, sha256: str) -> str:
        return f"{self._path}/{_ARRIVING}{sha256}"

    def _opened(self, path: str) -> FileIO:
        try:
            file = FileIO(os.open(path, _WRITE, 0o600), "r+")
        except FileNotFoundError:
            self._directory.make()
            file = FileIO(os.open(path, _WRITE, 0o600), "r+")
        if not self._directory.is_ours(os.fstat(file.fileno())):
            file.close()
            raise OSError(errno.EPERM, "the file belongs to another user")
        return file

    def _remove_abandoned(self, path: str) -> None:
        with suppress(OSError), FileIO(os.open(path, _READ)) as file:
            if _locked(file, fcntl.LOCK_EX) and _is_at(file, path):
                os.unlink(path)


def is_arriving(reader: FileIO) -> bool:
    """Whether the writer of a file is still there."""
    if not _locked(reader, fcntl.LOCK_SH):
        return True
    fcntl.flock(reader, fcntl.LOCK_UN)
    return False


def _locked(file: FileIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: FileIO, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except OSError:
        return False
