"""Writes: what this server wrote lately under each tag, so that an old answer is known for one.

ghcr.io and Docker Hub may answer for some seconds with what a write has replaced. Taking that for the present
state would lose a file. An answer is old only if it is one of those that our own writes replaced: an unknown
one is somebody else's newer write.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import time
from collections.abc import Callable

from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Document
from pyoci.oci.references import Digest, Reference, Repository, Tag
from pyoci.oci.session import OCISession

_MINUTES = 5 * 60.0  # seconds for which a write is remembered; lags of that length are not known
_SLOTS = 2048
_REPLACED = 120  # digests remembered for one tag: a matrix of wheels writes its tag as often
_HEAD = struct.Struct("<16sd32sH")  # whose slot, when, what was written last, how many were replaced
_SIZE = 4096
_SHORT = 16  # bytes of a replaced digest that are kept
_ABSENT = b"\0" * 32


class Writes:
    """One for the server, made before its workers are forked: the memory is shared by all of them.

    Whoever records holds the lock of the tag; who asks without may, rarely, be told of a digest that never
    was. Two tags that share a slot push each other out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._memory = mmap.mmap(-1, _SLOTS * _SIZE)

    def record(
        self, repository: Repository, tag: Tag, replaced: Digest | None, written: Digest | None
    ) -> None:
        """Remember a write that the registry took; None stands for no tag."""
        key, offset = _place(repository, tag)
        new = _bytes(written)
        old = (*self._replaced(key, offset), _bytes(replaced)[:_SHORT])
        kept = [entry for entry in dict.fromkeys(old) if entry != new[:_SHORT]][-_REPLACED:]
        self._memory[offset + _HEAD.size : offset + _HEAD.size + len(kept) * _SHORT] = b"".join(kept)
        _HEAD.pack_into(self._memory, offset, key, self._clock(), new, len(kept))

    def is_old(self, repository: Repository, tag: Tag, digest: Digest | None) -> bool:
        """Whether an answer with this digest (None: no such tag) is one that our own writes replaced."""
        key, offset = _place(repository, tag)
        return _bytes(digest)[:_SHORT] in self._replaced(key, offset)

    def last(self, repository: Repository, tag: Tag) -> Digest | None:
        """What was written last; None where the tag was removed. Ask `is_old` first."""
        _, offset = _place(repository, tag)
        written: bytes = _HEAD.unpack_from(self._memory, offset)[2]
        return None if written == _ABSENT else Digest("sha256", written.hex())

    def _replaced(self, key: bytes, offset: int) -> list[bytes]:
        owner, when, _, count = _HEAD.unpack_from(self._memory, offset)
        if owner != key or self._clock() - when > _MINUTES:
            return []
        begin = offset + _HEAD.size
        return [self._memory[at : at + _SHORT] for at in range(begin, begin + count * _SHORT, _SHORT)]


def present_document(
    session: OCISession, repository: Repository, tag: Tag, writes: Writes
) -> Document | None:
    """The document under a tag, None where there is no such tag.

    An answer that is older than our own last write is passed over for that.
    """
    document = _pulled(session, repository, tag)
    if not writes.is_old(repository, tag, document.digest if document else None):
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
