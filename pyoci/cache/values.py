"""ValueFiles: values as files, read by all who share a directory, bounded by their bytes on the disk."""

from __future__ import annotations

import hashlib
import math
import os
import struct
import threading
import time
import zlib
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pyoci.cache.folders import Folder, opened
from pyoci.cache.locks import encoded

# Magic, hash of the key, seconds since 1970 when it is too old, size, CRC-32.
_HEAD = struct.Struct("<8s32sdQI")
_MAGIC = b"pyoci-1\n"
_BLOCK = 4096  # what a file takes at least
_BLOCKS = 0xFFFF  # of a file, at most; more are not counted
_USED = 60.0  # seconds; how exactly it is known when a value was last used
_PART = 32  # after writing such a part of all its bytes a process sweeps


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="cache-sweep", daemon=True).start()


class ValueFiles:
    """A file is named for its key's hash, and says when it is too old; it was last used when it was modified.

    What was torn, or was put here by others, is passed over. Each process sweeps after it has written a 32nd
    of `size`, so that much more than `size` may lie here for each of them. A value that ran out of time goes
    when it is asked for; one that nobody asks for goes among the least recently used.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        clock: Callable[[], float] = time.time,
        background: Callable[[Callable[[], None]], None] = _in_background,
    ) -> None:
        self._folder = Folder(path, clock)
        self._size = size
        self._clock = clock
        self._background = background
        self._sweeping = threading.Lock()
        self._written = size  # the first to write looks for what is there from earlier

    def get(self, key: str) -> bytes | None:
        hashed = _hash(key)
        path = f"{self._folder.path}/{hashed.hex()}"
        try:
            with opened(path) as descriptor:
                found = os.fstat(descriptor)
                if not self._folder.is_ours(found) or found.st_size > self._size:
                    return None
                content = os.read(descriptor, found.st_size)
            now = self._clock()
            value = _value(content, hashed, now)
            if value is None:
                os.unlink(path)
            elif abs(now - found.st_mtime) > _USED:
                os.utime(path, (now, now))
        except OSError:
            return None
        return value

    def put(self, key: str, value: bytes, seconds: float | None) -> None:
        if len(value) > self._size // 4:
            self.discard(key)
            return
        hashed = _hash(key)
        until = math.inf if seconds is None else self._clock() + seconds
        head = _HEAD.pack(_MAGIC, hashed, until, len(value), zlib.crc32(value))
        with suppress(OSError):
            self._folder.write(f"{self._folder.path}/{hashed.hex()}", head, value)
        self._written += _weight(len(value))
        if self._written > self._size // _PART and self._sweeping.acquire(blocking=False):
            self._written = 0
            try:
                self._background(self._swept)
            except RuntimeError:  # no thread is to be had
                self._sweeping.release()

    def discard(self, key: str) -> None:
        with suppress(OSError):
            os.unlink(f"{self._folder.path}/{_hash(key).hex()}")

    def sweep(self) -> None:
        """Remove what was used least recently, where there is too much, until an eighth is free.

        The folder is read twice: to hold tens of thousands of paths took more memory than all else.
        """
        uses = array("Q", (_use(status) for _, status in self._folder.entries()))
        excess = sum(map(_blocks, uses)) * _BLOCK - self._size
        if excess <= 0:
            return
        excess += self._size // 8
        oldest = 0
        for use in sorted(uses):
            if excess <= 0:
                break
            oldest = use
            excess -= _blocks(use) * _BLOCK
        for path, status in self._folder.entries():
            if _use(status) <= oldest:
                with suppress(OSError):
                    os.unlink(path)

    def _swept(self) -> None:
        try:
            self.sweep()
        finally:
            self._sweeping.release()


def _hash(key: str) -> bytes:
    return hashlib.blake2b(encoded(key), digest_size=32).digest()


def _use(status: os.stat_result) -> int:
    """When a file was last used, in milliseconds, and how much room it takes, in one number of 64 bits."""
    when = min(max(status.st_mtime_ns // 1_000_000, 0), 2**47)
    return when << 16 | min(_weight(status.st_size) // _BLOCK, _BLOCKS)


def _blocks(use: int) -> int:
    return use & _BLOCKS


def _weight(size: int) -> int:
    return (size // _BLOCK + 1) * _BLOCK


def _value(content: bytes, hashed: bytes, now: float) -> bytes | None:
    if len(content) < _HEAD.size:
        return None
    magic, key, until, size, checksum = _HEAD.unpack_from(content)
    value = content[_HEAD.size :]
    whole = magic == _MAGIC and key == hashed and len(value) == size and zlib.crc32(value) == checksum
    return value if whole and now < until else None
