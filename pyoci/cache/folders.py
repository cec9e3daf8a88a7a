"""A folder whose files are ours alone: written whole or not at all, and read only where we wrote them.

Every OSError is the caller's to answer.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO must not make us wait
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_TEMPORARY = "tmp-"
_STALE = 3600.0  # seconds after which nobody is writing a temporary file any more


class Folder:
    """Made when something is first written to it, and again whenever it is gone."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = str(path)
        self._clock = clock
        self._user = os.geteuid()

    def is_ours(self, found: os.stat_result) -> bool:
        """Whether it is a file that our user has written, and nobody who got hold of the folder's name."""
        return stat.S_ISREG(found.st_mode) and found.st_uid == self._user

    def make(self) -> None:
        """Make the folder and what is missing above it, for our user alone."""
        missing = []
        folder = Path(self.path)
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)

    def write(self, path: str, *pieces: bytes, over: bool = True) -> None:
        """Let the file `path` of this folder hold `pieces`, in place of what it held. Where it isn't to be
        written `over`, what another has just made stays.
        """
        temporary = f"{self.path}/{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            descriptor = os.open(temporary, _CREATE, 0o600)
        except FileNotFoundError:
            self.make()
            descriptor = os.open(temporary, _CREATE, 0o600)
        try:
            try:
                write_all(descriptor, b"".join(pieces))
            finally:
                os.close(descriptor)
            if over or not _linked(temporary, path):
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Our files by path, without temporary ones: of those, the ones left behind are removed. One by one:
        there may be tens of thousands.
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

    def tidy(self) -> None:
        """Remove temporary files that were left behind."""
        for _ in self.entries():
            pass


def _linked(temporary: str, path: str) -> bool:
    """Give a file its name, unless another has it; False where the system has no such way."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        return False
    os.unlink(temporary)
    return True


@contextmanager
def opened(path: str, flags: int = _READ) -> Iterator[int]:
    """A descriptor of an existing file."""
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write, however many calls it takes."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
