"""Memory: image indexes that were read a moment ago, so that a page doesn't ask for each version again.

It never answers for the registry whether a caller may read: whoever uses what is remembered asks the registry
something else with that caller's credentials (the tags of a page, the blob of a file). What one worker of
this server writes, the others see at once; what is written elsewhere shows when the time is over.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

from pyoci.oci.models import ImageIndex
from pyoci.oci.references import Repository, Tag
from pyoci.store.locks import RecordLocks

TTL = 60.0  # seconds
_SIZE = 64 * 1024 * 1024  # bytes of documents that one process remembers
_WEIGHT = 6  # a document parsed takes about so many times its bytes
_SLOTS = 65536
_COUNTER = struct.Struct("<Q")

_Key = tuple[str, str, str]  # never a digest alone: whoever may push elsewhere could name another's


@dataclass(frozen=True, slots=True)
class Remembered:
    """What stood under a tag; None for what is no package."""

    image_index: ImageIndex | None
    weight: int  # bytes
    generation: int
    until: float


class Generations:
    """A counter for each tag, shared by the workers that were forked after it was made.

    They stand in memory that all of them have; two tags may share one, which only means asking once more. It
    is read before what is remembered is fetched, and counted up after the registry took a change.
    """

    def __init__(self) -> None:
        self._counters = mmap.mmap(-1, _SLOTS * _COUNTER.size)
        self._processes = RecordLocks()
        self._threads = threading.Lock()

    def of(self, repository: Repository, tag: Tag) -> int:
        """The generation of a tag."""
        return int(_COUNTER.unpack_from(self._counters, _slot(repository, tag))[0])

    def advance(self, repository: Repository, tag: Tag) -> None:
        """Tell all workers that the tag has changed."""
        slot = _slot(repository, tag)
        with self._threads:
            self._processes.lock(0)
            try:
                count = _COUNTER.unpack_from(self._counters, slot)[0]
                _COUNTER.pack_into(self._counters, slot, (count + 1) % 2**64)
            finally:
                self._processes.unlock(0)


class Memory:
    """One for the server, made before its workers are forked; each worker then remembers for itself."""

    def __init__(
        self, *, ttl: float = TTL, size: int = _SIZE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._generations = Generations()
        self._known: LRUCache[_Key, Remembered] = LRUCache(size, getsizeof=lambda entry: entry.weight)

    def recall(self, repository: Repository, tag: Tag) -> Remembered | None:
        """What is remembered of a tag, None where it is nothing, too old, or changed by one of us."""
        with self._lock:
            found = self._known.get(_key(repository, tag))
        if found is None or self._clock() >= found.until:
            return None
        return found if found.generation == self._generations.of(repository, tag) else None

    def generation(self, repository: Repository, tag: Tag) -> int:
        """To be taken before the registry is asked, and given to `keep` after."""
        return self._generations.of(repository, tag)

    def keep(
        self, repository: Repository, tag: Tag, generation: int, image_index: ImageIndex | None, size: int
    ) -> None:
        """Remember a document of `size` bytes that was asked for in that generation."""
        weight = _WEIGHT * size + 500
        if self._ttl <= 0 or weight > self._known.maxsize // 4:
            return
        entry = Remembered(image_index, weight, generation, self._clock() + self._ttl)
        with self._lock:
            self._known[_key(repository, tag)] = entry

    def changed(self, repository: Repository, tag: Tag) -> None:
        """Let every worker forget a tag, once the registry has taken, or may have taken, a change."""
        self._generations.advance(repository, tag)


def _key(repository: Repository, tag: Tag) -> _Key:
    return (repository.registry.origin, repository.name, tag.value)


def _slot(repository: Repository, tag: Tag) -> int:
    digest = hashlib.blake2b("\0".join(_key(repository, tag)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % _SLOTS * _COUNTER.size
