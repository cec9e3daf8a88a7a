"""FileBackend: bytes remembered in a directory, which the workers of one machine share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyoci.cache.backend import Position
from pyoci.cache.folders import Folder
from pyoci.cache.journal_files import JournalFiles
from pyoci.cache.locks import DirectoryLocks, LocalLocks, RecordLocks, Waiting, byte_of
from pyoci.cache.own_directory import OwnDirectory
from pyoci.cache.values import ValueFiles

SIZE = 256 * 1024 * 1024  # bytes of the disk


class FileBackend:
    """Values, journals and locks in one directory: `directory`, or else one of the server's own, which goes
    with it.

    Several servers may share it, as long as their users are the same. It may go at any time, and comes back
    when it is written to. A full disk keeps what it has, and a journal that can't be written to begins anew.
    One object in each process for a directory, made before the server forks. Raises OSError where
    no directory of its own is to be had; a `directory` that can't be used remembers nothing.
    """

    def __init__(
        self, directory: Path | None = None, size: int = SIZE, clock: Callable[[], float] = time.time
    ) -> None:
        self._own = OwnDirectory() if directory is None else None
        self.directory = directory if self._own is None else self._own.path
        assert self.directory is not None
        self._folder = Folder(self.directory)
        self._values = ValueFiles(self.directory / "values", size, clock)
        self._journals = JournalFiles(self.directory / "journals")
        self._waiting = Waiting()
        self._local = LocalLocks(self._waiting)
        self._shared = DirectoryLocks(str(self.directory / "locks"))
        self._journals.tidy()

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
        deadline = self._waiting.clock() + seconds
        with self._local.held(name, deadline) as held:
            taken: list[RecordLocks | None] = []  # None: by this server alone, for the directory fails
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
                yield held and self._waiting.until(deadline, attempt)
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
            self._folder.make()
            return self._shared.try_lock(byte)
