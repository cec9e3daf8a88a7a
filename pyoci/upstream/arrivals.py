"""Arrivals: reads files in the folder, complete ones and those that another thread or process downloads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import FileIO

from pyoci.errors import ProtocolError, Unreachable
from pyoci.net.messages import READ_PIECE
from pyoci.request_scope import concern
from pyoci.upstream.file_source import Wanted, broken_off, verified
from pyoci.upstream.folder import DamagedCopy, Folder, is_arriving

PAUSE = 0.02  # seconds between two looks at a file that arrives
_STALL = 90.0  # seconds without a byte after which a reader gives up; the download itself gives up earlier
_COMPLETE = 300.0  # seconds that a caller waits for a whole file


class Arrivals:
    """Reads files in `folder`. One for the process."""

    def __init__(self, folder: Folder, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._folder = folder
        self._sleep, self._clock = sleep, clock

    def kept(self, wanted: Wanted) -> FileIO | None:
        """The complete file; None if there is none. One with another size is removed."""
        kept = self._folder.kept(wanted.sha256)
        if kept is not None:
            if wanted.size in {None, os.fstat(kept.fileno()).st_size}:
                concern(None)
                return kept
            kept.close()
            self._folder.remove(wanted.sha256)
        return None

    def has_begun(self, reader: FileIO) -> bool:
        """Wait for the first byte of a file that is downloaded for another request. False if it doesn't come,
        so that this request gets an answer of its own, and not one that breaks off.
        """
        deadline = self._clock() + _STALL
        while True:
            arriving = is_arriving(reader)  # before the look: what was written last is seen then
            status = os.fstat(reader.fileno())
            if status.st_size or not arriving:
                return bool(status.st_size or status.st_nlink)  # an empty file that was kept has its name
            if self._clock() > deadline:
                return False
            self._sleep(PAUSE)

    def complete(self, wanted: Wanted, file: FileIO) -> FileIO:
        """The complete and verified file. Waits while it arrives."""
        deadline = self._clock() + _COMPLETE
        with file:
            while True:
                arriving = is_arriving(file)
                kept = self.kept(wanted)
                if kept is not None:
                    return kept
                if not arriving:
                    raise broken_off(wanted)
                if self._clock() > deadline:
                    raise Unreachable(f"{wanted.filename} takes too long to arrive; try again later")
                self._sleep(PAUSE)

    def read(self, wanted: Wanted, size: int, file: FileIO) -> Iterator[bytes]:
        """The bytes of a file, of which the last piece is yielded after all have been verified. Closes the
        file. Raises DamagedCopy if the disk has changed it since it was complete, and removes it then.
        """
        with file:
            was_complete = self._folder.is_complete(wanted.sha256, file)
            try:
                yield from verified(self._arriving(wanted, size, file), wanted, size)
            except ProtocolError:
                if self._folder.is_complete(wanted.sha256, file):
                    self._folder.remove(wanted.sha256)
                elif not was_complete:  # else another request has removed it
                    raise
                raise DamagedCopy(wanted.filename) from None

    def _arriving(self, wanted: Wanted, size: int, file: FileIO) -> Iterator[bytes]:
        """The bytes of a file in the folder, while it arrives."""
        count, deadline = 0, self._clock() + _STALL
        while count < size:
            arriving = is_arriving(file)  # before the read: what was written last is read then
            piece = file.read(min(READ_PIECE, size - count)) or b""
            if piece:
                count += len(piece)
                yield piece
                deadline = self._clock() + _STALL
            elif not arriving:
                raise broken_off(wanted)
            elif self._clock() > deadline:
                raise Unreachable(f"{wanted.filename} stopped arriving; try again later")
            else:
                self._sleep(PAUSE)
