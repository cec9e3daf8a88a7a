"""VerifiedParts: parts of kept files, verified as whole files are."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from io import FileIO

from cachetools import LRUCache

from pyoci import request_scope
from pyoci.upstream.file_source import Wanted
from pyoci.upstream.folder import DamagedCopy, Folder

_BLOCK = 1024 * 1024  # bytes
_DIGEST = 16  # bytes of a block's hash
_KNOWN = 100_000  # blocks of all files whose hashes a process remembers, 100 GB in all


class VerifiedParts:
    """Reads parts of files whose sha256 is known. One for the process.

    For the first part of a file the whole file is read: its sha256 is verified, and a hash of each block is
    remembered. Every block is compared with its hash before its bytes are passed on.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._known: LRUCache[str, tuple[bytes, ...]] = LRUCache(_KNOWN, getsizeof=len)

    def read(self, wanted: Wanted, file: FileIO, span: range) -> Iterator[bytes]:
        """The bytes of a span of a file, which is not empty. Closes the file. Raises DamagedCopy before it
        yields wrong bytes, and removes the file then.
        """
        with file:
            hashes = self._hashes(wanted, file)
            for number in range(span.start // _BLOCK, (span.stop - 1) // _BLOCK + 1):
                start = number * _BLOCK
                file.seek(start)
                block = _block(file)
                if number >= len(hashes) or _hash(block) != hashes[number]:
                    self._remove(wanted)
                    raise DamagedCopy(wanted.filename)
                yield block[max(span.start - start, 0) : span.stop - start]

    def _hashes(self, wanted: Wanted, file: FileIO) -> tuple[bytes, ...]:
        with self._guard:
            known = self._known.get(wanted.sha256)
        if known is not None:
            return known
        seen, found = hashlib.sha256(), []
        file.seek(0)
        while block := _block(file):
            request_scope.check()  # a large file takes seconds
            seen.update(block)
            found.append(_hash(block))
        if seen.hexdigest() != wanted.sha256:
            self._remove(wanted)
            raise DamagedCopy(wanted.filename)
        hashes = tuple(found)
        with self._guard:
            self._known.pop(wanted.sha256, None)
            if len(hashes) <= _KNOWN:
                self._known[wanted.sha256] = hashes
        return hashes

    def _remove(self, wanted: Wanted) -> None:
        with self._guard:
            self._known.pop(wanted.sha256, None)
        self._folder.remove(wanted.sha256)


def _block(file: FileIO) -> bytes:
    """The next block; shorter at the end of the file."""
    parts, left = [], _BLOCK
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _hash(block: bytes) -> bytes:
    return hashlib.blake2b(block, digest_size=_DIGEST).digest()
