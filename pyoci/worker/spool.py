"""Spool: keeps the bytes of a body in memory, or in a temporary file if there are many. All files together
have a limit.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from typing import BinaryIO

IN_MEMORY = 128 * 1024  # bytes of one body that are kept without a file
_PIECE = 256 * 1024


class NoRoom(Exception):
    """The limit is reached, or the disk is full, so no more bytes can be kept."""


class Allowance:
    """How many bytes the files of all bodies together may still take. Threads share it."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Reserve `count` bytes. False if fewer are left."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def has(self, count: int) -> bool:
        return count <= self._left

    def give_back(self, count: int) -> None:
        with self._lock:
            self._left += count


class Spool:
    """A queue of bytes. Only the loop, or the thread that has the connection, uses it."""

    def __init__(self, allowance: Allowance, make_file: Callable[[], BinaryIO] | None = None) -> None:
        self._allowance = allowance
        self._make_file = make_file or (lambda: tempfile.TemporaryFile(buffering=0, prefix="pyoci-body-"))  # noqa: SIM115
        self._memory = bytearray()
        self._held = bytearray()  # the bytes after those in the file, which the disk didn't take
        self._file: BinaryIO | None = None
        self._read = self.on_disk = 0

    def __len__(self) -> int:
        return len(self._memory) + self.on_disk - self._read + len(self._held)

    def can_take(self, size: int) -> bool:
        """Whether `size` bytes more can be kept. Bytes held in memory must be written to the disk first."""
        if self._held:
            try:
                self.append(b"")
            except NoRoom:
                return False
        return self._fits_in_memory(size) or self._allowance.has(size)

    def append(self, piece: bytes) -> None:
        """Add bytes at the end. Raises NoRoom if the disk takes none. Then they are held in memory, and no
        more must be added until there is room again.
        """
        if self._fits_in_memory(len(piece)):
            self._memory += piece
            return
        self._held += piece
        if not self._allowance.take(len(self._held)):
            raise NoRoom
        try:
            self._write(self._held)
        except OSError as exc:
            self._allowance.give_back(len(self._held))
            raise NoRoom from exc
        self._held.clear()

    def _fits_in_memory(self, size: int) -> bool:
        return self._file is None and not self._held and len(self._memory) + size <= IN_MEMORY

    def take(self, size: int) -> bytes:
        """Remove and return up to `size` bytes from the beginning; b"" if the spool is empty."""
        if self._memory:
            piece = bytes(self._memory[:size])
            del self._memory[:size]
            return piece
        if self._file is None or self._read == self.on_disk:
            piece = bytes(self._held[:size])
            del self._held[:size]
            return piece
        self._file.seek(self._read)
        piece = self._file.read(min(size, self.on_disk - self._read, _PIECE))
        if not piece:
            raise OSError("the temporary file of a body ended too soon")
        self._read += len(piece)
        return piece

    def close(self) -> None:
        """Discard what is left."""
        self._memory.clear()
        self._held.clear()
        file, self._file = self._file, None
        if file is not None:
            file.close()
        self._allowance.give_back(self.on_disk)
        self._read = self.on_disk = 0

    def _write(self, piece: bytes | bytearray) -> None:
        if self._file is None:
            self._file = self._make_file()
        self._file.seek(self.on_disk)
        view = memoryview(bytes(piece))
        while view:
            view = view[self._file.write(view) :]
        self.on_disk += len(piece)
