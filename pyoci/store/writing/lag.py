"""Writes: what this server wrote lately under each tag, so that an old answer is known for one.

ghcr.io and Docker Hub may answer for some seconds with what a write has replaced. Taking that for the present
state would lose a file. An answer is old only if it is one of those that our own writes replaced: an unknown
one is somebody else's newer write.
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
_MINUTES = 5 * 60.0  # seconds for which a write is remembered; lags of that length are not known
_SLOTS = 2048
_REPLACED = 120  # digests remembered for one tag: a matrix of wheels writes its tag as often
_HEAD = struct.Struct("<16sd32sH")  # whose slot, when, what was written last, how many were replaced
_SHORT = 16  # bytes of a replaced digest that are kept
_MARK = 160  # bytes of a mark in the journal
_MARKS = _HEAD.size + _REPLACED * _SHORT
_SIZE = _MARKS + _MARK
_ABSENT = b"\0" * 32


class Journal(Protocol):
    """What all who share a cache have changed."""

    def mark(self, repository: Repository) -> str:
        """How far it has come; "" where that can't be told."""
        ...

    def is_touched(self, repository: Repository, tag: Tag, mark: str) -> bool:
        """Whether somebody has surely changed the tag since."""
        ...


class RecentWrites:
    """One for the server, made before its workers are forked: the memory is shared by all of them.

    What another server wrote that shares the journal ends what is known of the tag. Whoever records holds the
    lock of the tag; who asks without may, rarely, be told of a digest that never was. Two tags that share a
    slot push each other out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, journal: Journal | None = None) -> None:
        self._clock = clock
        self._journal = journal
        self._memory = mmap.mmap(-1, _SLOTS * _SIZE)

    def heed(self, repository: Repository, tag: Tag) -> None:
        """Forget what is known of a tag, before it is changed, if somebody else has changed it."""
        key, offset = _place(repository, tag)
        if _HEAD.unpack_from(self._memory, offset)[0] == key and not self._replaced(repository, tag):
            _HEAD.pack_into(self._memory, offset, key, 0.0, _ABSENT, 0)

    def record(
        self, repository: Repository, tag: Tag, replaced: Digest | None, written: Digest | None
    ) -> None:
        """Remember a write that the registry took and the journal doesn't have yet; None: no tag."""
        key, offset = _place(repository, tag)
        new = _bytes(written)
        old = (*self._known(key, offset), _bytes(replaced)[:_SHORT])
        kept = [entry for entry in dict.fromkeys(old) if entry != new[:_SHORT]][-_REPLACED:]
        self._mark(offset, "")
        self._memory[offset + _HEAD.size : offset + _HEAD.size + len(kept) * _SHORT] = b"".join(kept)
        _HEAD.pack_into(self._memory, offset, key, self._clock(), new, len(kept))

    def settle(self, repository: Repository, tag: Tag) -> None:
        """The journal has our write: what comes behind it is somebody else's."""
        key, offset = _place(repository, tag)
        if self._journal is not None and _HEAD.unpack_from(self._memory, offset)[0] == key:
            self._mark(offset, self._journal.mark(repository))

    def _mark(self, offset: int, mark: str) -> None:
        self._memory[offset + _MARKS : offset + _SIZE] = mark.encode()[:_MARK].ljust(_MARK, b"\0")

    def is_stale(self, repository: Repository, tag: Tag, digest: Digest | None) -> bool:
        """Whether an answer with this digest (None: no such tag) is one that our own writes replaced."""
        _, offset = _place(repository, tag)
        if digest is None and self._clock() - _HEAD.unpack_from(self._memory, offset)[1] > _ABSENCE:
            return False  # no lag of that length is known, and others may have deleted it
        return _bytes(digest)[:_SHORT] in self._replaced(repository, tag)

    def is_foreign(self, repository: Repository, tag: Tag, digest: Digest | None) -> bool:
        """Whether an answer with this digest (None: no such tag) is neither what we wrote last nor what our
        own writes replaced: so somebody else writes there, and doesn't share the journal. For whoever holds
        the tag's lock.
        """
        replaced, found = self._replaced(repository, tag), _bytes(digest)
        return bool(replaced) and found != self._written(repository, tag) and found[:_SHORT] not in replaced

    def last(self, repository: Repository, tag: Tag) -> Digest | None:
        """What was written last; None where the tag was removed. Ask `is_old` first."""
        written = self._written(repository, tag)
        return None if written == _ABSENT else Digest("sha256", written.hex())

    def _written(self, repository: Repository, tag: Tag) -> bytes:
        _, offset = _place(repository, tag)
        written: bytes = _HEAD.unpack_from(self._memory, offset)[2]
        return written

    def _replaced(self, repository: Repository, tag: Tag) -> list[bytes]:
        key, offset = _place(repository, tag)
        known = self._known(key, offset)
        mark = self._memory[offset + _MARKS : offset + _SIZE].rstrip(b"\0").decode()
        if known and mark and self._journal is not None and self._journal.is_touched(repository, tag, mark):
            return []
        return known

    def _known(self, key: bytes, offset: int) -> list[bytes]:
        owner, when, _, count = _HEAD.unpack_from(self._memory, offset)
        if owner != key or self._clock() - when > _MINUTES:
            return []
        begin = offset + _HEAD.size
        return [self._memory[at : at + _SHORT] for at in range(begin, begin + count * _SHORT, _SHORT)]


def current_document(
    session: OCISession, repository: Repository, tag: Tag, writes: RecentWrites
) -> Document | None:
    """The document under a tag, None where there is no such tag.

    An answer that is older than our own last write is passed over for that.
    """
    document = _pulled(session, repository, tag)
    if not writes.is_stale(repository, tag, document.digest if document else None):
        return document
    last = writes.last(repository, tag)
    # Where it is gone, somebody deleted it elsewhere: then the first answer is right after all.
    return None if last is None else _pulled(session, repository, last) or document


def _pulled(session: OCISession, repository: Repository, reference: Reference) -> Document | None:
    try:
        return session.pull(repository, reference)
    except RegistryNotFound:
        return None


def _place(repository: Repository, tag: Tag) -> tuple[bytes, int]:
    """The key of a tag, and where its slot begins."""
    text = f"{repository.registry.origin}\0{repository.name}\0{tag}"
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return key, int.from_bytes(key[:4], "big") % _SLOTS * _SIZE


def _bytes(digest: Digest | None) -> bytes:
    return _ABSENT if digest is None else bytes.fromhex(digest.hex)


_REGISTRIES = 1024
_CHANGES = 64  # of each registry, the latest
_LATELY = 120.0  # seconds
_CONTESTED = 1.0  # seconds at least, where others write as well: they may be slower than we are
_LONGEST = 4.0  # seconds; there are two looks back. Some uploaders give up after ten; a lost file is worse


class Durations:
    """One for the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._seen: LRUCache[str, deque[tuple[float, float]]] = LRUCache(_REGISTRIES)
        self._contested: LRUCache[str, float] = LRUCache(_REGISTRIES)  # when that was seen last

    def note(self, origin: str, seconds: float) -> None:
        """Remember how long a change took at the registry of that origin."""
        with self._guard:
            if origin not in self._seen:
                self._seen[origin] = deque(maxlen=_CHANGES)
            self._seen[origin].append((self._clock(), seconds))

    def contest(self, origin: str) -> None:
        """Remember that somebody else changes tags at that registry, of whose changes nobody tells us."""
        with self._guard:
            self._contested[origin] = self._clock()

    def waits(self, origin: str) -> tuple[float, float]:
        """Seconds to wait before the first look back, and from there to the second: as many as the longest
        change took lately. Where there are others the second is twice that, and at least one. At most four.
        """
        since = self._clock() - _LATELY
        with self._guard:
            seen = self._seen.get(origin, ())
            longest = max((seconds for when, seconds in seen if when >= since), default=0.0)
            contested = self._contested.get(origin, since) > since
        # What was overwritten is found soon, as a rule; the second look is for who is slower than we are.
        second = max(2 * longest, _CONTESTED) if contested else longest
        return min(longest, _LONGEST), min(second, _LONGEST)
