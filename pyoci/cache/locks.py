"""Locks among threads, among the workers of one server, and among all processes that share a directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PAUSE = 0.005  # seconds between two attempts
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class RecordLocks:
    """POSIX record locks among processes, each on one byte of the file at `path`, or by default of an
    anonymous file that forked processes inherit. They end with their process, so a dead process blocks no
    other.

    They don't exclude the threads of one process. A process that closes any descriptor of a file loses all
    its locks on that file, so only one object in each process may have `path`. Raises OSError if the file
    can't be opened.
    """

    def __init__(self, path: str | None = None) -> None:
        if path is not None:
            self._file = os.open(path, _OPEN, 0o600)
        else:
            with tempfile.TemporaryFile() as anonymous:
                self._file = os.dup(anonymous.fileno())
        weakref.finalize(self, os.close, self._file)

    def lock(self, byte: int) -> None:
        """Wait for a lock, without a timeout: only for locks that are held for microseconds."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)

    def try_lock(self, byte: int) -> bool:
        """Acquire a lock unless another process holds it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except BlockingIOError:
            return False
        return True

    def unlock(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def is_at(self, path: str) -> bool:
        """Whether the locked file is still the one at `path`, which other processes open."""
        try:
            return os.path.samestat(os.fstat(self._file), os.lstat(path))
        except OSError:
            return False


class Polling:
    """Repeats an attempt until it succeeds or a deadline has passed."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        pause: float = _PAUSE,
    ) -> None:
        self.clock, self._sleep, self._pause = clock, sleep, pause

    def until(self, deadline: float, attempt: Callable[[], bool]) -> bool:
        """Repeat `attempt`, at least once, until it succeeds. Returns False if it hasn't by `deadline`, a
        time of `clock`.
        """
        while not attempt():
            if self.clock() >= deadline:
                return False
            self._sleep(self._pause)
        return True


class LocalLocks:
    """Locks among the threads and the workers of one server. Create it before the server forks."""

    def __init__(self, polling: Polling | None = None) -> None:
        self._polling = polling or Polling()
        self._guard = threading.Lock()
        self._threads: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
        self._processes = RecordLocks()

    @contextmanager
    def held(self, name: str, deadline: float) -> Iterator[bool]:
        """Hold the lock `name`. Yields False if it can't be acquired by `deadline`, a time of the clock."""
        with self._guard:
            thread = self._threads.get(name)
            if thread is None:
                thread = self._threads[name] = threading.Lock()
        if not thread.acquire(timeout=max(deadline - self._polling.clock(), 0)):
            yield False
            return
        try:
            byte = byte_of(name)
            held = self._polling.until(deadline, lambda: self._processes.try_lock(byte))
            try:
                yield held
            finally:
                if held:
                    self._processes.unlock(byte)
        finally:
            thread.release()


class DirectoryLocks:
    """Locks among the processes that share a directory, on one file in it. A caller must hold the LocalLocks
    of the same name, because record locks don't exclude the threads of one process.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._current: RecordLocks | None = None

    def try_lock(self, byte: int) -> RecordLocks | None:
        """Acquire a lock. Returns the object to unlock, or None if another process holds the lock.

        Raises OSError if the directory can't be used.
        """
        locks = self._opened()
        if not locks.try_lock(byte):
            return None
        if locks.is_at(self._path):
            return locks
        locks.unlock(byte)  # the file was deleted meanwhile, and other processes lock its successor
        return None

    def _opened(self) -> RecordLocks:
        with self._guard:
            if self._current is None or not self._current.is_at(self._path):
                # A holder of a lock on the former file has a reference to it until it unlocks.
                self._current = RecordLocks(self._path)
            return self._current


def byte_of(name: str) -> int:
    """The byte of the file that a lock is on."""
    return int.from_bytes(hashlib.sha256(encoded(name)).digest()[:7], "big")


def encoded(text: str) -> bytes:
    """Any text as bytes, including text that is not valid Unicode."""
    return text.encode("utf-8", "surrogatepass")
