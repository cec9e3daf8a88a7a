"""Blobs as they lie on the disk: found, kept young for the garbage collection, mounted, deleted."""

from __future__ import annotations

import errno
import hashlib
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyoci.embedded.disk import Disk
from pyoci.embedded.layout import Folder
from pyoci.oci.references import Digest

# Seconds. A client that was told that a blob exists relies on it from then on: it is made young again, but
# not at every question. Well under the hour that the garbage collection leaves alone.
FRESH = 15 * 60


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in one repository; `size` in bytes."""

    path: Path
    size: int


class Blobs:
    """The blobs of every repository."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def find(self, folder: Folder, digest: Digest) -> Blob | None:
        """The blob, if `folder` has it. An empty file under the digest of something else was torn."""
        path = folder.blob(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        return Blob(path, size) if size or _is_of_nothing(digest) else None

    def promise(self, folder: Folder, digest: Digest) -> Blob | None:
        """As `find`, and the garbage collection will spare what was found for an hour. Raises Busy."""
        blob = self.find(folder, digest)
        if blob is None or self._disk.age(blob.path) < FRESH:
            return blob
        with folder.lock():
            blob = self.find(folder, digest)
            if blob is not None:
                self._touch(blob.path)
        return blob

    def store(self, folder: Folder, staged: Path, digest: Digest) -> None:
        """Give the verified file `staged`, which lies on the disk, its place. Raises Busy."""
        target = folder.blob(digest)
        self._disk.make_folder(target.parent)
        with folder.lock():
            self._disk.touch(staged)
            self._disk.replace(staged, target)

    def put(self, folder: Folder, content: bytes, digest: Digest) -> None:
        """Store a document's bytes. The caller holds the lock."""
        target = folder.blob(digest)
        self._disk.make_folder(target.parent)
        self._disk.put(target, content, folder.staging)

    def mount(self, source: Folder, target: Folder, digest: Digest) -> bool:
        """Let `target` have the blob of `source` too; False where that has none. Raises Busy."""
        blob = self.promise(source, digest)
        if blob is None:
            return False
        if self.promise(target, digest) is not None:
            return True
        self._disk.make_folder(target.blob(digest).parent)
        self._disk.make_folder(target.staging)
        staged = target.staging / f"tmp-{uuid.uuid4().hex}"
        try:
            self._copy(blob.path, staged)
        except FileNotFoundError:  # deleted meanwhile
            return False
        self.store(target, staged, digest)
        return True

    def is_torn(self, blob: Blob, digest: Digest) -> bool:
        """Whether the bytes differ from their digest. Reads them all."""
        with blob.path.open("rb") as file:
            return hashlib.file_digest(file, digest.algorithm).hexdigest() != digest.hex

    def delete(self, folder: Folder, digest: Digest) -> bool:
        """Remove a blob; False where there is none. Raises Busy."""
        if self.find(folder, digest) is None:
            return False
        with folder.lock():
            self._disk.remove(folder.blob(digest))
        return True

    def _copy(self, source: Path, target: Path) -> None:
        try:
            self._disk.link(source, target)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
                raise
            self._disk.create(target)
            with source.open("rb") as read, target.open("r+b") as written:
                shutil.copyfileobj(read, written, 1024 * 1024)
                self._disk.sync(written, target)

    def _touch(self, path: Path) -> None:
        with suppress(PermissionError):  # on a disk that can't be written to, nothing is collected either
            try:
                self._disk.touch(path)
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise


def _is_of_nothing(digest: Digest) -> bool:
    return hashlib.new(digest.algorithm).hexdigest() == digest.hex
