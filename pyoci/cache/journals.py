"""The common parts of journals in files and in Redis, and JournalFiles, the journals in a directory.

All names share a fixed number of journals, so that requests for a million names don't create a million files.
A journal is created when its position is first read. The position of a name also changes when another name in
the same journal records an entry; `since` then returns nothing for it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import secrets
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

from pyoci.cache import directory, locks
from pyoci.cache.backend import Position

JOURNALS = 4096
_LIMIT = 1024 * 1024  # bytes of a journal file, after which a new epoch begins
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_EPOCH = re.compile(rb"[0-9a-f]{32}\n")
_EPOCH_SIZE = 33
_LINE = re.compile(rb"([0-9a-f]{8}) (([0-9a-f]{16}) ([ -~]*))")
_ATTEMPTS = 5


def journal_number(name: str) -> int:
    """The journal that records `name`."""
    return zlib.crc32(locks.encoded(name)) % JOURNALS


def name_hash(name: str) -> str:
    """The hash that identifies `name` among the others in its journal."""
    return hashlib.blake2b(locks.encoded(name), digest_size=8).hexdigest()


class Unrecorded:
    """The journals that lack an entry, because the cache failed when the entry was recorded.

    All workers that are forked after its creation share it. No worker can read the position of such a journal
    until it has begun a new epoch, which signals to every reader that anything may have changed.
    """

    def __init__(self) -> None:
        self._counts = mmap.mmap(-1, JOURNALS)
        self._threads = threading.Lock()
        self._processes = locks.RecordLocks()

    def __contains__(self, number: int) -> bool:
        return self._counts[number] != 0

    def add(self, number: int) -> None:
        with self._threads:
            self._processes.lock(0)
            try:
                self._counts[number] = self._counts[number] % 255 + 1
            finally:
                self._processes.unlock(0)

    def repair(self, number: int, begin: Callable[[], bool]) -> bool:
        """Call `begin`, which begins a new epoch, if an entry is missing. Returns whether no entry is missing
        now.
        """
        count = self._counts[number]
        if count == 0:
            return True
        if not begin():
            return False
        with self._threads:
            self._processes.lock(0)
            try:
                if self._counts[number] == count:  # otherwise another entry has been lost meanwhile
                    self._counts[number] = 0
            finally:
                self._processes.unlock(0)
        return self._counts[number] == 0

    def numbers(self) -> list[int]:
        """The journals that lack an entry."""
        counts = self._counts[:]
        return [number for number, count in enumerate(counts) if count] if any(counts) else []


class JournalFiles:
    """Journals as files, to which all processes that share a directory append. The first line of a journal is
    its random epoch; each further line is an entry with a checksum.

    An entry is appended by one write, which the system doesn't mix with other writes. A position is the size
    of the file, so one stat() reads it. If an entry can't be written, the journal begins a new epoch or is
    removed, so that no new position equals an old one.
    """

    def __init__(self, path: Path, limit: int = _LIMIT) -> None:
        self._directory = directory.PrivateDirectory(path)
        self._limit = limit
        self._unrecorded = Unrecorded()
        self._seen: dict[int, tuple[int, int, Position]] = {}  # inode, modification time, position

    def position(self, name: str) -> Position | None:
        number, path = self._file(name)
        if number in self._unrecorded and not self._repair(number, path):
            return None
        try:
            found = os.lstat(path)
            seen = self._seen.get(number)
            if seen is not None:
                inode, changed, position = seen
                if (inode, changed, position.count) == (found.st_ino, found.st_mtime_ns, found.st_size):
                    return position
        except OSError:
            pass  # _read handles it
        return self._read(number, path)

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        number, path = self._file(name)
        if number in self._unrecorded or position.count < _EPOCH_SIZE:
            return None
        try:
            with directory.opened(path) as descriptor:
                epoch = os.pread(descriptor, _EPOCH_SIZE, 0)
                # Includes the preceding line break, which shows that a line begins at the position.
                lines = os.pread(descriptor, 2 * self._limit, position.count - 1)
        except OSError:
            return None
        if epoch != f"{position.epoch}\n".encode() or not lines.startswith(b"\n"):
            return None
        return _entries(lines[1:], name_hash(name).encode())

    def record(self, name: str, entry: str) -> None:
        number, path = self._file(name)
        text = f"{name_hash(name)} {entry.encode('unicode_escape').decode()}".encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        try:
            if any(self._append(path, line) for _ in range(_ATTEMPTS)):
                return
        except OSError:
            pass
        self._unrecorded.add(number)
        self._repair(number, path)

    def remove_stale(self) -> None:
        """Remove stale temporary files."""
        self._directory.remove_stale()

    def _file(self, name: str) -> tuple[int, str]:
        number = journal_number(name)
        return number, f"{self._directory.path}/{number:03x}"

    def _append(self, path: str, line: bytes) -> bool:
        """Append a line. Returns whether the file is still the journal. Raises OSError."""
        try:
            with directory.opened(path, _APPEND) as descriptor:
                found = os.fstat(descriptor)
                if not self._directory.is_ours(found) or found.st_size > self._limit:
                    self._begin(path)
                    return False
                if os.write(descriptor, line) != len(line):
                    raise OSError("the disk is full")
                return os.fstat(descriptor).st_nlink > 0
        except FileNotFoundError:
            self._begin(path, overwrite=False)
            return False

    def _read(self, number: int, path: str) -> Position | None:
        """The position of a journal that has changed since it was last read, or doesn't exist yet."""
        for attempt in range(2):
            exists = True
            try:
                with directory.opened(path) as descriptor:
                    found = os.fstat(descriptor)
                    epoch = os.pread(descriptor, _EPOCH_SIZE, 0)
                if self._directory.is_ours(found) and _EPOCH.fullmatch(epoch):
                    position = Position(epoch[:-1].decode(), found.st_size)
                    self._seen[number] = found.st_ino, found.st_mtime_ns, position
                    return position
            except FileNotFoundError:
                exists = False
            except OSError:
                return None
            # If several processes find no journal, only one may create it. With several epochs, each
            # would take the positions of the others for lost.
            if attempt or not self._begin_or_remove(path, overwrite=exists):
                break
        return None

    def _begin(self, path: str, *, overwrite: bool = True) -> None:
        self._directory.write(path, f"{secrets.token_hex(16)}\n".encode(), overwrite=overwrite)

    def _repair(self, number: int, path: str) -> bool:
        return self._unrecorded.repair(number, lambda: self._begin_or_remove(path))

    def _begin_or_remove(self, path: str, *, overwrite: bool = True) -> bool:
        try:
            self._begin(path, overwrite=overwrite)
        except OSError:
            # Files can be removed from a full disk.
            try:
                os.unlink(path)
            except OSError:
                return False
        return True


def _entries(lines: bytes, hashed: bytes) -> frozenset[str] | None:
    """The entries of one name; None if a line is damaged. The last line may still be incomplete."""
    found = set()
    for line in lines.split(b"\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None or int(match[1], 16) != zlib.crc32(match[2]):
            return None
        if match[3] == hashed:
            found.add(match[4].decode("unicode_escape"))
    return frozenset(found)
