"""MemoryBackend: a cache in the memory of one process."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from cachetools import LRUCache, TLRUCache

from pyoci.cache.backend import Position

SIZE = 64 * 1024 * 1024  # bytes
_JOURNALS = 16384
_ENTRIES = 1000  # of one journal; `since` returns None for older positions


@dataclass(frozen=True, slots=True)
class _Value:
    content: bytes
    seconds: float


@dataclass(slots=True)
class _Journal:
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    count: int = 0
    entries: list[str] = field(default_factory=list)  # the newest


class MemoryBackend:
    """For a server with one process: other processes don't see its values or its entries."""

    def __init__(self, size: int = SIZE, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = threading.Lock()
        self._values: TLRUCache[str, _Value] = TLRUCache(
            size,
            ttu=lambda _key, value, now: now + value.seconds,
            timer=clock,
            getsizeof=lambda value: len(value.content) + 500,
        )
        self._journals: LRUCache[str, _Journal] = LRUCache(_JOURNALS)
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def get(self, key: str) -> bytes | None:
        with self._guard:
            value = self._values.get(key)
        return None if value is None else value.content

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        if len(value) > self._values.maxsize // 4:
            return
        with self._guard:
            self._values[key] = _Value(value, math.inf if seconds is None else seconds)

    def discard(self, key: str) -> None:
        with self._guard:
            self._values.pop(key, None)

    def position(self, name: str) -> Position | None:
        with self._guard:
            journal = self._journal(name)
            return Position(journal.epoch, journal.count)

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        with self._guard:
            journal = self._journal(name)
            newer = journal.count - position.count
            if position.epoch != journal.epoch or not 0 <= newer <= len(journal.entries):
                return None
            return frozenset(journal.entries[len(journal.entries) - newer :])

    def record(self, name: str, entry: str) -> None:
        with self._guard:
            journal = self._journal(name)
            journal.count += 1
            journal.entries = [*journal.entries[1 - _ENTRIES :], entry]

    @contextmanager
    def lock(self, name: str, seconds: float) -> Iterator[bool]:
        with self._guard:
            lock = self._locks.get(name)
            if lock is None:
                lock = self._locks[name] = threading.Lock()
        held = lock.acquire(timeout=seconds)
        try:
            yield held
        finally:
            if held:
                lock.release()

    def close(self) -> None:
        """There is nothing to close."""

    def _journal(self, name: str) -> _Journal:
        journal = self._journals.get(name)
        if journal is None:
            journal = self._journals[name] = _Journal()
        return journal
