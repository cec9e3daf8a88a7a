"""Registries that lag, and writers elsewhere: which answer is out of date, and when to read a write back.

For some seconds after a write, ghcr.io and Docker Hub may still answer with what the write has replaced. An
update that is based on such an answer loses a file. An answer is stale only if our own writes have replaced
it: an unknown answer is somebody else's newer write.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from cachetools import LRUCache

from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Document
from pyoci.oci.references import Digest, Reference, Repository, Tag
from pyoci.oci.session import OCISession

_ABSENCE = 30.0  # seconds for which the absence of a tag that we wrote is taken for lag
_REMEMBERED = 5 * 60.0  # seconds for which a write is remembered; no registry is known to lag as long
_SLOTS = 2048
_REPLACED = 120  # digests remembered for one tag: about as many as a build matrix writes
# The key of the tag, the time of the last write, its digest, and the count of replaced ones.
_HEAD = struct.Struct("<16sd32sH")
_SHORT = 16  # bytes of a replaced digest that are remembered
_MARK = 160  # bytes of a journal's mark
_MARK_AT = _HEAD.size + _REPLACED * _SHORT
_SIZE = _MARK_AT + _MARK
_ABSENT = b"\0" * 32

_REGISTRIES = 1024
_UPDATES = 64  # of each registry, the latest
_RECENT = 120.0  # seconds
_CONTENDED = 1.0  # the least seconds if others write as well: they may be slower than we are
_LONGEST = 4.0  # seconds before each of two read-backs: some clients give up after ten


class ChangeJournal(Protocol):
    """The changes that all servers that share a cache have made."""

    def mark(self, repository: Repository) -> str:
        """The journal's present end; "" if it can't be read."""
        ...

    def is_touched(self, repository: Repository, tag: Tag, mark: str) -> bool:
        """Whether the journal has a change of the tag after `mark`."""
        ...


class RecentWrites:
    """What this server wrote in the last minutes under each tag, and what each write replaced.

    One for the server, made before its workers are forked: all of them share its memory. Once the journal has
    another server's change of a tag, what is known of the tag is forgotten. `record`, `sync` and `is_foreign`
    need the tag's lock. The other methods don't, and may in rare cases read a half-written digest. Each tag
    has a slot in the memory; if two tags have the same slot, the last one written is remembered.
    """

    def __init__(self, journal: ChangeJournal, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._journal = journal
        self._memory = mmap.mmap(-1, _SLOTS * _SIZE)

    def sync(self, repository: Repository, tag: Tag) -> None:
        """Forget what is known of a tag if the journal says that another server has changed it since."""
        key, offset = _slot_of(repository, tag)
        if _HEAD.unpack_from(self._memory, offset)[0] == key and not self._replaced(repository, tag):
            _HEAD.pack_into(self._memory, offset, key, 0.0, _ABSENT, 0)

    def record(
        self, repository: Repository, tag: Tag, replaced: Digest | None, written: Digest | None
    ) -> None:
        """Remember a write that the registry has accepted, and that isn't in the journal yet. None means that
        there is no tag.
        """
        key, offset = _slot_of(repository, tag)
        new = _bytes(written)
        old = (*self._known(key, offset), _bytes(replaced)[:_SHORT])
        kept = [entry for entry in dict.fromkeys(old) if entry != new[:_SHORT]][-_REPLACED:]
        self._set_mark(offset, "")
        self._memory[offset + _HEAD.size : offset + _HEAD.size + len(kept) * _SHORT] = b"".join(kept)
        _HEAD.pack_into(self._memory, offset, key, self._clock(), new, len(kept))

    def journaled(self, repository: Repository, tag: Tag) -> None:
        """Our write is in the journal now. Any later change of the tag there is another server's."""
        key, offset = _slot_of(repository, tag)
        if _HEAD.unpack_from(self._memory, offset)[0] == key:
            self._set_mark(offset, self._journal.mark(repository))

    def is_stale(self, repository: Repository, tag: Tag, digest: Digest | None) -> bool:
        """Whether an answer with this digest (None: no such tag) is one that our own writes replaced."""
        _, offset = _slot_of(repository, tag)
        if digest is None and self._clock() - _HEAD.unpack_from(self._memory, offset)[1] > _ABSENCE:
            return False  # no registry is known to lag as long, and others may have deleted it
        return _bytes(digest)[:_SHORT] in self._replaced(repository, tag)

    def is_foreign(self, repository: Repository, tag: Tag, digest: Digest | None) -> bool:
        """Whether an answer with this digest (None: no such tag) was written by somebody who doesn't share
        the journal: it is neither what we wrote last nor what our own writes replaced.
        """
        replaced, found = self._replaced(repository, tag), _bytes(digest)
        return bool(replaced) and found != self._written(repository, tag) and found[:_SHORT] not in replaced

    def last(self, repository: Repository, tag: Tag) -> Digest | None:
        """What was written last; None if the tag was removed. Only meaningful if an answer `is_stale`."""
        written = self._written(repository, tag)
        return None if written == _ABSENT else Digest("sha256", written.hex())

    def _set_mark(self, offset: int, mark: str) -> None:
        self._memory[offset + _MARK_AT : offset + _SIZE] = mark.encode()[:_MARK].ljust(_MARK, b"\0")

    def _written(self, repository: Repository, tag: Tag) -> bytes:
        _, offset = _slot_of(repository, tag)
        written: bytes = _HEAD.unpack_from(self._memory, offset)[2]
        return written

    def _replaced(self, repository: Repository, tag: Tag) -> list[bytes]:
        key, offset = _slot_of(repository, tag)
        known = self._known(key, offset)
        mark = self._memory[offset + _MARK_AT : offset + _SIZE].rstrip(b"\0").decode()
        return [] if known and mark and self._journal.is_touched(repository, tag, mark) else known

    def _known(self, key: bytes, offset: int) -> list[bytes]:
        owner, when, _, count = _HEAD.unpack_from(self._memory, offset)
        if owner != key or self._clock() - when > _REMEMBERED:
            return []
        begin = offset + _HEAD.size
        return [self._memory[at : at + _SHORT] for at in range(begin, begin + count * _SHORT, _SHORT)]


def current_document(
    session: OCISession, repository: Repository, tag: Tag, writes: RecentWrites
) -> Document | None:
    """The document under a tag; None if there is none. A stale answer is replaced by our last write."""
    document = _pulled(session, repository, tag)
    if not writes.is_stale(repository, tag, document.digest if document else None):
        return document
    last = writes.last(repository, tag)
    # If our last write is gone, somebody else has deleted it, and the first answer wasn't stale.
    return None if last is None else _pulled(session, repository, last) or document


def _pulled(session: OCISession, repository: Repository, reference: Reference) -> Document | None:
    try:
        return session.pull(repository, reference)
    except RegistryNotFound:
        return None


def _slot_of(repository: Repository, tag: Tag) -> tuple[bytes, int]:
    """The key of a tag, and the offset of its slot."""
    text = f"{repository.registry.origin}\0{repository.name}\0{tag}"
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return key, int.from_bytes(key[:4], "big") % _SLOTS * _SIZE


def _bytes(digest: Digest | None) -> bytes:
    return _ABSENT if digest is None else bytes.fromhex(digest.hex)


class WriteLatency:
    """How long recent updates took at each registry, from the read to the write. One for the process.

    Another server may have read a tag before we wrote it, and overwrite our write when its own update ends.
    A read-back before that time would find nothing wrong.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._seen: LRUCache[str, deque[tuple[float, float]]] = LRUCache(_REGISTRIES)
        self._contended: LRUCache[str, float] = LRUCache(_REGISTRIES)  # when that was seen last

    def record(self, origin: str, seconds: float) -> None:
        """Record how many seconds an update took at the registry of that origin."""
        with self._guard:
            if origin not in self._seen:
                self._seen[origin] = deque(maxlen=_UPDATES)
            self._seen[origin].append((self._clock(), seconds))

    def record_contention(self, origin: str) -> None:
        """Record that somebody who doesn't share the journal changes tags at that registry, too."""
        with self._guard:
            self._contended[origin] = self._clock()

    def delays(self, origin: str) -> tuple[float, float]:
        """Seconds to wait before the first read-back, and from there to the second; at most four each.

        Each is as long as the longest recent update. Where others write, the second is twice that, and at
        least one second.
        """
        since = self._clock() - _RECENT
        with self._guard:
            seen = self._seen.get(origin, ())
            longest = max((seconds for when, seconds in seen if when >= since), default=0.0)
            contended = self._contended.get(origin, since) > since
        # The first read-back finds most overwrites; the second finds those of writers slower than we are.
        second = max(2 * longest, _CONTENDED) if contended else longest
        return min(longest, _LONGEST), min(second, _LONGEST)
