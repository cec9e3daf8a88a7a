"""FileBackend: a cache in a directory, which the workers of one machine share; and ValueFiles, its values."""

from __future__ import annotations

import hashlib
import math
import os
import struct
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyoci.cache.backend import Position
from pyoci.cache.directory import PrivateDirectory, ServerDirectory, opened
from pyoci.cache.journals import JournalFiles
from pyoci.cache.locks import DirectoryLocks, LocalLocks, Polling, RecordLocks, byte_of, encoded

SIZE = 256 * 1024 * 1024  # bytes on the disk
# Magic, hash of the key, time of expiry in seconds since 1970, size, CRC-32.
_HEAD = struct.Struct("<8s32sdQI")
_MAGIC = b"pyoci-1\n"
_BLOCK = 4096  # bytes that a file occupies at least
_BLOCKS = 0xFFFF  # blocks of a file that are counted, at most
_USED = 60.0  # seconds; the precision of the time at which a value was last used
_PART = 32  # a process sweeps after it has written this fraction of the size


class FileBackend:
    """Values, journals and locks in `directory`, or by default in a temporary directory that is removed with
    the server.

    Several servers may share a directory if they run as the same user. It may be deleted at any time, and the
    next write creates it again. When the disk is full, values stay unchanged, and a journal that can't be
    written begins a new epoch. Create one object for a directory in each process, before the server forks.
    Raises OSError if the temporary directory can't be created; an unusable `directory` stores nothing.
    """

    def __init__(
        self, directory: Path | None = None, size: int = SIZE, clock: Callable[[], float] = time.time
    ) -> None:
        self._own = ServerDirectory() if directory is None else None
        self.directory = directory if self._own is None else self._own.path
        assert self.directory is not None
        self._directory = PrivateDirectory(self.directory)
        self._values = ValueFiles(self.directory / "values", size, clock)
        self._journals = JournalFiles(self.directory / "journals")
        self._polling = Polling()
        self._local = LocalLocks(self._polling)
        self._shared = DirectoryLocks(str(self.directory / "locks"))
        self._journals.remove_stale()

    def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        self._values.put(key, value, seconds)

    def discard(self, key: str) -> None:
        self._values.discard(key)

    def position(self, name: str) -> Position | None:
        return self._journals.position(name)

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        return self._journals.since(name, position)

    def record(self, name: str, entry: str) -> None:
        self._journals.record(name, entry)

    @contextmanager
    def lock(self, name: str, seconds: float) -> Iterator[bool]:
        deadline = self._polling.clock() + seconds
        with self._local.held(name, deadline) as held:
            taken: list[RecordLocks | None] = []  # None if the directory can't be used: only a local lock
            byte = byte_of(name)

            def attempt() -> bool:
                try:
                    locks = self._try_lock(byte)
                except OSError:
                    taken.append(None)
                else:
                    taken.extend([] if locks is None else [locks])
                return bool(taken)

            try:
                yield held and self._polling.until(deadline, attempt)
            finally:
                for locks in taken:
                    if locks is not None:
                        with suppress(OSError):
                            locks.unlock(byte)

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def _try_lock(self, byte: int) -> RecordLocks | None:
        try:
            return self._shared.try_lock(byte)
        except FileNotFoundError:
            self._directory.make()
            return self._shared.try_lock(byte)


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="cache-sweep", daemon=True).start()


class ValueFiles:
    """One file for each value. Its name is the hash of the key, its head has the time of expiry, and its
    modification time says when it was last used.

    Incomplete files, and files of other programs, count as missing. Each process sweeps after it has written
    a 32nd of `size` bytes, so the directory may exceed `size` by that much for each process. An expired value
    is removed when it is requested, or when it is among the least recently used.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        clock: Callable[[], float] = time.time,
        background: Callable[[Callable[[], None]], None] = _in_background,
    ) -> None:
        self._directory = PrivateDirectory(path, clock)
        self._size = size
        self._clock = clock
        self._background = background
        self._sweeping = threading.Lock()
        self._written = size  # so that the first write sweeps what former servers left

    def get(self, key: str) -> bytes | None:
        hashed = _hash(key)
        path = f"{self._directory.path}/{hashed.hex()}"
        try:
            with opened(path) as descriptor:
                found = os.fstat(descriptor)
                if not self._directory.is_ours(found) or found.st_size > self._size:
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
        expiry = math.inf if seconds is None else self._clock() + seconds
        head = _HEAD.pack(_MAGIC, hashed, expiry, len(value), zlib.crc32(value))
        with suppress(OSError):
            self._directory.write(f"{self._directory.path}/{hashed.hex()}", head, value)
        self._written += _occupied(len(value))
        if self._written > self._size // _PART and self._sweeping.acquire(blocking=False):
            self._written = 0
            try:
                self._background(self._sweep_and_release)
            except RuntimeError:  # no thread can be started
                self._sweeping.release()

    def discard(self, key: str) -> None:
        with suppress(OSError):
            os.unlink(f"{self._directory.path}/{_hash(key).hex()}")

    def sweep(self) -> None:
        """If there is more than `size`, remove the least recently used files until an eighth of it is free.

        The directory is read twice, because a list of tens of thousands of paths took more memory than
        everything else.
        """
        uses = array("Q", (_use(status) for _, status in self._directory.entries()))
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
        for path, status in self._directory.entries():
            if _use(status) <= oldest:
                with suppress(OSError):
                    os.unlink(path)

    def _sweep_and_release(self) -> None:
        try:
            self.sweep()
        finally:
            self._sweeping.release()


def _hash(key: str) -> bytes:
    return hashlib.blake2b(encoded(key), digest_size=32).digest()


def _use(status: os.stat_result) -> int:
    """The time at which a file was last used, in milliseconds, and its size in blocks, in one integer."""
    when = min(max(status.st_mtime_ns // 1_000_000, 0), 2**47)
    return when << 16 | min(_occupied(status.st_size) // _BLOCK, _BLOCKS)


def _blocks(use: int) -> int:
    return use & _BLOCKS


def _occupied(size: int) -> int:
    """Bytes of the disk that a file of `size` bytes occupies."""
    return (size // _BLOCK + 1) * _BLOCK


def _value(content: bytes, hashed: bytes, now: float) -> bytes | None:
    """The value in a file's content; None if the file is incomplete, has another key's value, or has
    expired.
    """
    if len(content) < _HEAD.size:
        return None
    magic, key, expiry, size, checksum = _HEAD.unpack_from(content)
    value = content[_HEAD.size :]
    whole = magic == _MAGIC and key == hashed and len(value) == size and zlib.crc32(value) == checksum
    return value if whole and now < expiry else None
