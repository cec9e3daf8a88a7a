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

_PAUSE = 0.005  # seconds between two looks at another's lock
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class RecordLocks:
    """Locks among processes: each is one byte of a file. By default a nameless one, which the processes that
    were forked after it was made have inherited; else that at `path`. POSIX record locks belong to a process
    and end with it: the dead block nobody.

    They don't keep the threads of one process apart. And a process that closes any descriptor of a file loses
    all its locks on it: only one object in each process may have `path`. Raises OSError where it can't be
    opened.
    """

    def __init__(self, path: str | None = None) -> None:
        if path is not None:
            self._file = os.open(path, _OPEN, 0o600)
        else:
            with tempfile.TemporaryFile() as nameless:
                self._file = os.dup(nameless.fileno())
        weakref.finalize(self, os.close, self._file)

    def lock(self, byte: int) -> None:
        """Wait for a lock. Only for one that is held for microseconds."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)

    def try_lock(self, byte: int) -> bool:
        """Take a lock unless another process has it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except BlockingIOError:
            return False
        return True

    def unlock(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def lie_at(self, path: str) -> bool:
        """Whether the file still stands at `path`, where others look for it."""
        try:
            return os.path.samestat(os.fstat(self._file), os.lstat(path))
        except OSError:
            return False


class Waiting:
    """Looks again and again, until something is so or the time is over."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        pause: float = _PAUSE,
    ) -> None:
        self.clock, self._sleep, self._pause = clock, sleep, pause

    def until(self, deadline: float, attempt: Callable[[], bool]) -> bool:
        """Whether `attempt` came true by then; it is tried once in any case."""
        while not attempt():
            if self.clock() >= deadline:
                return False
            self._sleep(self._pause)
        return True


class LocalLocks:
    """Locks among the threads and the workers of one server. Made before it forks."""

    def __init__(self, waiting: Waiting | None = None) -> None:
        self._waiting = waiting or Waiting()
        self._guard = threading.Lock()
        self._threads: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
        self._processes = RecordLocks()

    @contextmanager
    def held(self, name: str, deadline: float) -> Iterator[bool]:
        """Hold the lock `name`; gives False where it isn't to be had by `deadline`, on the clock given."""
        with self._guard:
            thread = self._threads.get(name)
            if thread is None:
                thread = self._threads[name] = threading.Lock()
        if not thread.acquire(timeout=max(deadline - self._waiting.clock(), 0)):
            yield False
            return
        try:
            byte = byte_of(name)
            held = self._waiting.until(deadline, lambda: self._processes.try_lock(byte))
            try:
                yield held
            finally:
                if held:
                    self._processes.unlock(byte)
        finally:
            thread.release()


class DirectoryLocks:
    """Locks among the processes that share a directory, on one file in it. Whoever asks holds the LocalLocks
    of the same name: threads of one process are not kept apart here.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._present: RecordLocks | None = None

    def try_lock(self, byte: int) -> RecordLocks | None:
        """Take a lock; gives what is to be unlocked, None where another process has it.

        Raises OSError where the directory can't be used.
        """
        locks = self._opened()
        if not locks.try_lock(byte):
            return None
        if locks.lie_at(self._path):
            return locks
        locks.unlock(byte)  # the file was deleted meanwhile: others lock another one
        return None

    def _opened(self) -> RecordLocks:
        with self._guard:
            if self._present is None or not self._present.lie_at(self._path):
                # Whoever holds a lock on the former file keeps that open until it is given back.
                self._present = RecordLocks(self._path)
            return self._present


def byte_of(name: str) -> int:
    """The byte that stands for a lock."""
    return int.from_bytes(hashlib.sha256(encoded(name)).digest()[:7], "big")


def encoded(text: str) -> bytes:
    """Any text as bytes, also what is no valid Unicode."""
    return text.encode("utf-8", "surrogatepass")
