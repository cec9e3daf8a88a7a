"""TagLocks: one writer at a time for each tag, among the threads and the workers of one server."""

from __future__ import annotations

import hashlib
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from pyoci.cache.locks import RecordLocks as RecordLocks  # store.memory takes it from here
from pyoci.errors import Unreachable
from pyoci.oci.references import Repository, Tag

_SECONDS = 30.0
_PAUSE = 0.005  # seconds between two looks at another worker's lock


class TagLocks:
    """Locks that live as long as somebody is changing their tag. One for the server, made before it forks.

    Threads exclude each other by a lock in memory, processes by a record lock.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._guard = threading.Lock()
        self._locks: weakref.WeakValueDictionary[Hashable, threading.Lock] = weakref.WeakValueDictionary()
        self._processes = RecordLocks()

    @contextmanager
    def held(self, repository: Repository, tag: Tag, seconds: float = _SECONDS) -> Iterator[None]:
        """Hold the lock of a tag. Raises Unreachable where it isn't to be had in `seconds`."""
        key = f"{repository.registry.origin} {repository.name}:{tag}"
        deadline = self._clock() + seconds
        busy = Unreachable(f"others have been writing {repository}:{tag} for too long; try again")
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = threading.Lock()
        if not lock.acquire(timeout=seconds):
            raise busy
        try:
            byte = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
            while not self._processes.try_lock(byte):
                if self._clock() > deadline:
                    raise busy
                self._sleep(_PAUSE)
            try:
                yield
            finally:
                self._processes.unlock(byte)
        finally:
            lock.release()
