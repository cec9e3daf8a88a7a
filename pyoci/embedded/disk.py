"""The disk, step by step: every change that the embedded registry makes to its directory is made here.

A file comes into being whole or not at all: it is written under a temporary name, brought to the disk with
fsync, renamed, and its folder brought to the disk too. `step` is told before each operation; it is where
tests end the process, or make the disk full.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

Step = Callable[[str, Path], None]


def _go_on(operation: str, path: Path) -> None:
    """The default step."""


class Disk:
    """Changes files and folders. `clock` gives seconds since 1970, as time.time does."""

    def __init__(self, step: Step = _go_on, clock: Callable[[], float] = time.time) -> None:
        self._step = step
        self.clock = clock

    def make_folder(self, folder: Path) -> None:
        """Make `folder` and what is missing above it; others may be making the same."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            self._step("mkdir", path)
            path.mkdir(exist_ok=True)
            self._sync_folder(path.parent)

    def create(self, path: Path) -> None:
        """Make an empty file; FileExistsError where there is one."""
        self._step("create", path)
        path.open("xb").close()

    def write(self, file: BinaryIO, piece: bytes | memoryview, path: Path) -> None:
        self._step("write", path)
        file.write(piece)

    def sync(self, file: BinaryIO, path: Path) -> None:
        file.flush()
        self._step("sync", path)
        os.fsync(file.fileno())

    def truncate(self, file: BinaryIO, size: int, path: Path) -> None:
        self._step("truncate", path)
        file.truncate(size)
        file.seek(size)

    def replace(self, source: Path, target: Path) -> None:
        """Give `source` its final name, in place of what bears it."""
        self._step("rename", target)
        source.replace(target)
        self._sync_folder(target.parent)

    def link(self, source: Path, target: Path) -> None:
        """Let `target` be another name of the file `source`."""
        self._step("link", target)
        os.link(source, target)
        self._sync_folder(target.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        self._step("remove", path)
        path.unlink(missing_ok=True)

    def touch(self, path: Path) -> None:
        """Make `path` as young as now."""
        self._step("touch", path)
        now = int(self.clock() * 1e9)
        os.utime(path, ns=(now, now))

    def age(self, path: Path) -> float:
        """Seconds since `path` was written or touched."""
        return self.clock() - path.stat().st_mtime

    def put(self, target: Path, content: bytes, staging: Path, modified: int | None = None) -> None:
        """Write `content` into the file `target`, by way of the folder `staging` on the same file system.

        `modified` is the time of modification that the file gets, in nanoseconds since 1970.
        """
        temporary = staging / f"tmp-{uuid.uuid4().hex}"
        try:
            self.create(temporary)
            with temporary.open("r+b") as file:
                self.write(file, content, temporary)
                self.sync(file, temporary)
            if modified is not None:
                os.utime(temporary, ns=(modified, modified))
            self.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _sync_folder(self, folder: Path) -> None:
        self._step("sync folder", folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
