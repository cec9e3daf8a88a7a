"""OwnDirectory: one that goes when its server goes; and what servers that were killed have left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

_PREFIX = "pyoci-cache-"
_NAME = re.compile(rf"{_PREFIX}[A-Za-z0-9_]{{8}}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 10


class OwnDirectory:
    """Made in the system's directory for temporary files, before the server forks.

    It is locked for as long as one of the server's processes lives: by that others tell it from a leftover,
    and systemd-tmpfiles leaves it alone. The process that made it removes it when it ends. Raises OSError
    where none can be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        remove_leftovers(parent)
        self.path, self._lock = _made(parent)
        self._finalizer = weakref.finalize(self, _end, os.getpid(), self.path, self._lock)

    def close(self) -> None:
        """Remove it, if this process has made it."""
        self._finalizer()


def remove_leftovers(parent: Path) -> None:
    """Remove the directories of our user's servers that were killed."""
    with suppress(OSError):
        for path in parent.iterdir():
            if _NAME.fullmatch(path.name):
                _remove_leftover(path)


def _remove_leftover(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, _FOLDER)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held: somebody lives there
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _made(parent: Path) -> tuple[Path, int]:
    """A new directory, and the descriptor by which it is locked."""
    for _ in range(_ATTEMPTS):
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            descriptor = os.open(path, _FOLDER)
        except FileNotFoundError:
            continue  # another server took it for a leftover before it was locked
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return path, descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
    raise OSError(errno.EBUSY, f"what is made in {parent} is removed at once by somebody else")


def _end(maker: int, path: Path, lock: int) -> None:
    if os.getpid() == maker:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
