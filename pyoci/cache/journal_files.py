"""JournalFiles: journals as files to which all who share a directory append."""

from __future__ import annotations

import os
import re
import secrets
import zlib
from pathlib import Path

from pyoci.cache.backend import Position
from pyoci.cache.folders import Folder, opened
from pyoci.cache.journals import Missed, mark_of, number_of

_LIMIT = 1024 * 1024  # bytes of one journal; then it is begun anew
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_EPOCH = re.compile(rb"[0-9a-f]{32}\n")
_EPOCH_SIZE = 33
_LINE = re.compile(rb"([0-9a-f]{8}) (([0-9a-f]{16}) ([ -~]*))")
_ATTEMPTS = 5


class JournalFiles:
    """The first line of a journal is its epoch, at random; each further one is an entry with a checksum.

    An entry is appended in one write, which the system keeps apart from those of others. How far a journal
    has come is its size: to ask that takes one stat(). Where an entry can't be written the journal is begun
    anew, or at least removed, so that no position equals one from before.
    """

    def __init__(self, path: Path, limit: int = _LIMIT) -> None:
        self._folder = Folder(path)
        self._limit = limit
        self._missed = Missed()
        self._seen: dict[int, tuple[int, int, Position]] = {}  # inode, when it changed, how far it had come

    def position(self, name: str) -> Position | None:
        number, path = self._place(name)
        if number in self._missed and not self._mend(number, path):
            return None
        try:
            found = os.lstat(path)
            seen = self._seen.get(number)
            if seen is not None:
                inode, changed, position = seen
                if (inode, changed, position.count) == (found.st_ino, found.st_mtime_ns, found.st_size):
                    return position
        except OSError:
            pass  # _read finds out
        return self._read(number, path)

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        number, path = self._place(name)
        if number in self._missed or position.count < _EPOCH_SIZE:
            return None
        try:
            with opened(path) as descriptor:
                epoch = os.pread(descriptor, _EPOCH_SIZE, 0)
                # From the line break before, which shows that a line begins at the position.
                lines = os.pread(descriptor, 2 * self._limit, position.count - 1)
        except OSError:
            return None
        if epoch != f"{position.epoch}\n".encode() or not lines.startswith(b"\n"):
            return None
        return _entries(lines[1:], mark_of(name).encode())

    def record(self, name: str, entry: str) -> None:
        number, path = self._place(name)
        text = f"{mark_of(name)} {entry.encode('unicode_escape').decode()}".encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        try:
            if any(self._append(path, line) for _ in range(_ATTEMPTS)):
                return
        except OSError:
            pass
        self._missed.add(number)
        self._mend(number, path)

    def tidy(self) -> None:
        """Remove temporary files that were left behind."""
        self._folder.tidy()

    def _place(self, name: str) -> tuple[int, str]:
        number = number_of(name)
        return number, f"{self._folder.path}/{number:03x}"

    def _append(self, path: str, line: bytes) -> bool:
        """Append a line; whether it stands in the journal that all see. Raises OSError."""
        try:
            with opened(path, _APPEND) as descriptor:
                found = os.fstat(descriptor)
                if not self._folder.is_ours(found) or found.st_size > self._limit:
                    self._begin(path)
                    return False
                if os.write(descriptor, line) != len(line):
                    raise OSError("the disk is full")
                return os.fstat(descriptor).st_nlink > 0
        except FileNotFoundError:
            self._begin(path, over=False)
            return False

    def _read(self, number: int, path: str) -> Position | None:
        """The position of a journal that has changed since it was last seen, or isn't there yet."""
        for attempt in range(2):
            there = True
            try:
                with opened(path) as descriptor:
                    found = os.fstat(descriptor)
                    epoch = os.pread(descriptor, _EPOCH_SIZE, 0)
                if self._folder.is_ours(found) and _EPOCH.fullmatch(epoch):
                    position = Position(epoch[:-1].decode(), found.st_size)
                    self._seen[number] = found.st_ino, found.st_mtime_ns, position
                    return position
            except FileNotFoundError:
                there = False
            except OSError:
                return None
            # Of all who miss it at once one makes it: with an epoch for each they would doubt each other.
            if attempt or not self._renew(path, over=there):
                break
        return None

    def _begin(self, path: str, *, over: bool = True) -> None:
        self._folder.write(path, f"{secrets.token_hex(16)}\n".encode(), over=over)

    def _mend(self, number: int, path: str) -> bool:
        return self._missed.mend(number, lambda: self._renew(path))

    def _renew(self, path: str, *, over: bool = True) -> bool:
        try:
            self._begin(path, over=over)
        except OSError:
            # A full disk still lets files be removed.
            try:
                os.unlink(path)
            except OSError:
                return False
        return True


def _entries(lines: bytes, mark: bytes) -> frozenset[str] | None:
    """The entries of one name; None where a line was torn. The end of the last may still be on its way."""
    found = set()
    for line in lines.split(b"\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None or int(match[1], 16) != zlib.crc32(match[2]):
            return None
        if match[3] == mark:
            found.add(match[4].decode("unicode_escape"))
    return frozenset(found)
