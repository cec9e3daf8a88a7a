"""Folder: files by their sha256 in a directory that all processes of a machine share, with a limit in bytes.

A file that is being downloaded is `tmp-<sha256>`. The process that writes it holds a lock on it, which ends
with the process, so others can read the file while it arrives and notice when its writer is gone.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

from pyoci.cache.directory import PrivateDirectory
from pyoci.errors import ProtocolError

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_ARRIVING = "tmp-"  # PrivateDirectory.entries leaves such files out
_ATTEMPTS = 10
_USED = 60.0  # seconds; the precision of the time at which a file was last used
_PART = 32  # a process looks at the whole directory after it has written this fraction of the limit
_OLDEST = 10_000  # files whose paths one look keeps


# When a file was used last, in nanoseconds; its size in bytes; its path.
_Use = tuple[int, int, str]


class DamagedCopy(ProtocolError):
    """A file in the folder has changed since it was verified."""

    def __init__(self, filename: str) -> None:
        super().__init__(f"the cached copy of {filename} was damaged and has been removed; try again")


class Folder:
    """The files in `path`, at most `size` bytes of them. Those that were used least recently are removed
    first. Files that are arriving may exceed the limit for the time of their download.

    A process counts the bytes that it writes, and looks at the whole directory only after a 32nd of `size`:
    a look at 100,000 files takes half a second. So the directory may exceed `size` by that much for each
    process. It may be deleted at any time. A file has its final name only after `commit`.
    """

    def __init__(self, path: Path, size: int, clock: Callable[[], float] = time.time) -> None:
        self.size = size
        self._directory = PrivateDirectory(path, clock)
        self._path = str(path)
        self._clock = clock
        self._sweeping = threading.Lock()
        self._used = 0  # bytes of complete files, as far as this process knows
        self._written = math.inf  # bytes that it has written since it looked at the directory
        self._oldest: list[_Use] = []  # the least recently used files at that time, the oldest last

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
                size = os.fstat(writer.fileno()).st_size
                os.replace(path, f"{self._path}/{sha256}")
                with self._sweeping:
                    self._used, self._written = self._used + size, self._written + size
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

    def is_complete(self, sha256: str, file: FileIO) -> bool:
        """Whether an open file is the complete one, which was verified before it got its name."""
        return _is_at(file, f"{self._path}/{sha256}")

    def sweep(self, incoming: int = 0) -> None:
        """Remove the least recently used files until `incoming` further bytes fit in the limit."""
        with self._sweeping:
            if self._written > self.size // _PART:
                self._look(_OLDEST)
            limit = self.size - incoming
            if self._remove_oldest(limit) > limit:  # the files that are known do not suffice
                self._look(None)
                self._remove_oldest(limit)

    def _look(self, count: int | None) -> None:
        """Add up the complete files, and find the `count` least recently used ones; None is all."""
        self._used = 0
        found = self._counted()
        oldest = sorted(found) if count is None else heapq.nsmallest(count, found)
        self._oldest, self._written = oldest[::-1], 0

    def _counted(self) -> Iterator[_Use]:
        for path, status in self._directory.entries():
            self._used += status.st_size
            yield status.st_mtime_ns, status.st_size, path

    def _remove_oldest(self, limit: int) -> int:
        """Remove known files until there are at most `limit` bytes, if there are enough. Returns how many
        there are.
        """
        while self._oldest and self._used > limit:
            used_at, size, path = self._oldest.pop()
            with suppress(OSError):  # it is gone already
                if os.lstat(path).st_mtime_ns != used_at:
                    continue  # it was used since then
                os.unlink(path)
            self._used -= size
        return self._used

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
