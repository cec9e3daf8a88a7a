"""MemoryBackend: bytes remembered in the memory of one process."""

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
_ENTRIES = 1000  # of one journal; whoever is further behind asks for everything


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    seconds: float


@dataclass(slots=True)
class _Journal:
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    count: int = 0
    entries: list[str] = field(default_factory=list)  # the last of them


class MemoryBackend:
    """For a server of one process: nobody else sees what it remembers, nor what it records."""

    def __init__(self, size: int = SIZE, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = threading.Lock()
        self._kept: TLRUCache[str, _Kept] = TLRUCache(
            size,
            ttu=lambda _key, kept, now: now + kept.seconds,
            timer=clock,
            getsizeof=lambda kept: len(kept.value) + 500,
        )
        self._journals: LRUCache[str, _Journal] = LRUCache(_JOURNALS)
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def get(self, key: str) -> bytes | None:
        with self._guard:
            kept = self._kept.get(key)
        return None if kept is None else kept.value

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        if len(value) > self._kept.maxsize // 4:
            return
        with self._guard:
            self._kept[key] = _Kept(value, math.inf if seconds is None else seconds)

    def discard(self, key: str) -> None:
        with self._guard:
            self._kept.pop(key, None)

    def position(self, name: str) -> Position | None:
        with self._guard:
            journal = self._journal(name)
            return Position(journal.epoch, journal.count)

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        with self._guard:
            journal = self._journal(name)
            missed = journal.count - position.count
            if position.epoch != journal.epoch or not 0 <= missed <= len(journal.entries):
                return None
            return frozenset(journal.entries[len(journal.entries) - missed :])

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
        """Nothing is open."""

    def _journal(self, name: str) -> _Journal:
        journal = self._journals.get(name)
        if journal is None:
            journal = self._journals[name] = _Journal()
        return journal
