"""What the journals of files and of Redis have in common: their number, and what could not be recorded.

All names share a fixed number of journals, so that clients who ask for a million names fill nothing. A
journal is begun when its position is first asked for. That of a name also moves when a neighbour in the same
journal records something; `since` then has nothing for it.
"""

from __future__ import annotations

import hashlib
import mmap
import threading
import zlib
from collections.abc import Callable

from pyoci.cache.locks import RecordLocks, encoded

JOURNALS = 4096


def number_of(name: str) -> int:
    """Which journal a name is recorded in."""
    return zlib.crc32(encoded(name)) % JOURNALS


def mark_of(name: str) -> str:
    """What stands for the name in the journal, and tells it from its neighbours."""
    return hashlib.blake2b(encoded(name), digest_size=8).hexdigest()


class Missed:
    """The journals that lack an entry, because their place failed when it was to be recorded.

    Known to all workers that were forked after it was made. Until such a journal was begun anew, which tells
    everybody that anything may have changed, none of them can tell its position.
    """

    def __init__(self) -> None:
        self._counts = mmap.mmap(-1, JOURNALS)
        self._threads = threading.Lock()
        self._processes = RecordLocks()

    def __contains__(self, number: int) -> bool:
        return self._counts[number] != 0

    def add(self, number: int) -> None:
        with self._threads:
            self._processes.lock(0)
            try:
                self._counts[number] = self._counts[number] % 255 + 1
            finally:
                self._processes.unlock(0)

    def mend(self, number: int, begin: Callable[[], bool]) -> bool:
        """Begin a journal anew, if it lacks an entry; whether nothing is missing from it now."""
        count = self._counts[number]
        if count == 0:
            return True
        if not begin():
            return False
        with self._threads:
            self._processes.lock(0)
            try:
                if self._counts[number] == count:  # else somebody has missed another one meanwhile
                    self._counts[number] = 0
            finally:
                self._processes.unlock(0)
        return self._counts[number] == 0

    def numbers(self) -> list[int]:
        """The journals that lack an entry."""
        counts = self._counts[:]
        return [number for number, count in enumerate(counts) if count] if any(counts) else []
