"""Directories of the cache. PrivateDirectory writes files completely or not at all, and reads only files of
our own user. ServerDirectory exists as long as one server.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a FIFO must not block
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = "tmp-"
_STALE = 3600.0  # seconds after which the writer of a temporary file is considered dead
_PREFIX = "pyoci-cache-"
_NAME = re.compile(rf"{_PREFIX}[A-Za-z0-9_]{{8}}")
_ATTEMPTS = 10


class PrivateDirectory:
    """A directory for our user alone. The first write creates it, and later writes create it again if it is
    missing.

    Methods raise OSError unless they say otherwise.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = str(path)
        self._clock = clock
        self._user = os.geteuid()

    def is_ours(self, found: os.stat_result) -> bool:
        """Whether `found` is a regular file of our user. Another user may have created the directory."""
        return stat.S_ISREG(found.st_mode) and found.st_uid == self._user

    def make(self) -> None:
        """Create the directory and its missing parents, for our user alone."""
        missing = []
        directory = Path(self.path)
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)

    def write(self, path: str, *pieces: bytes, overwrite: bool = True) -> None:
        """Write the file `path` of this directory completely or not at all. Without `overwrite`, a file that
        another process has just created stays.
        """
        temporary = f"{self.path}/{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            descriptor = os.open(temporary, _CREATE, 0o600)
        except FileNotFoundError:
            self.make()
            descriptor = os.open(temporary, _CREATE, 0o600)
        try:
            try:
                _write_all(descriptor, b"".join(pieces))
            finally:
                os.close(descriptor)
            if overwrite or not _linked(temporary, path):
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """The paths of our files, one by one, because there may be tens of thousands. Temporary files are
        left out, and removed if they are stale. Raises nothing.
        """
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.startswith(_TEMPORARY):
                        if self._clock() - status.st_mtime > _STALE:
                            os.unlink(entry.path)
                    elif self.is_ours(status):
                        yield entry.path, status

    def remove_stale(self) -> None:
        """Remove stale temporary files. Raises nothing."""
        for _ in self.entries():
            pass


@contextmanager
def opened(path: str, flags: int = _READ) -> Iterator[int]:
    """A descriptor of an existing file. Raises OSError."""
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _linked(temporary: str, path: str) -> bool:
    """Rename a file unless `path` exists; False if the file system has no hard links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        return False
    os.unlink(temporary)
    return True


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class ServerDirectory:
    """A directory for one server, in the system's directory for temporary files. Create it before forking.

    It stays locked while one of the server's processes lives. The lock shows other servers and
    systemd-tmpfiles that it is in use. The process that created it removes it on exit. Raises OSError if it
    can't be created.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        remove_leftovers(parent)
        self.path, self._lock = _made(parent)
        self._finalizer = weakref.finalize(self, _end, os.getpid(), self.path, self._lock)

    def close(self) -> None:
        """Remove the directory, if this process created it."""
        self._finalizer()


def remove_leftovers(parent: Path) -> None:
    """Remove the directories that killed servers of our user left behind."""
    with suppress(OSError):
        for path in parent.iterdir():
            if _NAME.fullmatch(path.name):
                _remove_leftover(path)


def _remove_leftover(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, _DIRECTORY)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if a server uses it
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _made(parent: Path) -> tuple[Path, int]:
    """A new directory, and the descriptor that holds its lock."""
    for _ in range(_ATTEMPTS):
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            descriptor = os.open(path, _DIRECTORY)
        except FileNotFoundError:
            continue  # another server removed it as a leftover before it was locked
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return path, descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
    raise OSError(errno.EBUSY, f"another process removes each directory that is created in {parent}")


def _end(creator: int, path: Path, lock: int) -> None:
    if os.getpid() == creator:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
