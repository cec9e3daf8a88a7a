"""Blobs on their way in: sessions that take bytes piece by piece, and end in a verified blob or nothing."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pyoci.embedded.blobs import Blobs
from pyoci.embedded.disk import Disk
from pyoci.embedded.errors import Refusal
from pyoci.embedded.layout import Folder
from pyoci.embedded.lock import try_lock
from pyoci.oci.references import Digest

_PIECE = 1024 * 1024  # bytes
_SESSION = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class Upload:
    """An open session. `size` is what has arrived, in bytes."""

    folder: Folder
    session: str
    path: Path
    file: BinaryIO = field(repr=False)
    size: int = 0


class Uploads:
    """The upload sessions of every repository. The file of a session holds what has arrived."""

    def __init__(self, disk: Disk, blobs: Blobs) -> None:
        self._disk = disk
        self._blobs = blobs

    def begin(self, folder: Folder) -> str:
        """Open a session; returns its name."""
        session = uuid.uuid4().hex
        self._disk.make_folder(folder.staging)
        self._disk.create(folder.staging / session)
        return session

    @contextmanager
    def opened(self, folder: Folder, session: str) -> Iterator[Upload]:
        """The session, for one request at a time. Raises Refusal where it is unknown or taken."""
        path = folder.staging / session
        unknown = Refusal(
            "BLOB_UPLOAD_UNKNOWN", "there is no such upload; it may be complete, cancelled or too old"
        )
        if not _SESSION.fullmatch(session):
            raise unknown
        try:
            file = path.open("r+b", buffering=0)
        except FileNotFoundError as error:
            raise unknown from error
        with file:
            if not try_lock(file.fileno()):
                raise Refusal("BLOB_UPLOAD_INVALID", "another request is writing to this upload", status=409)
            if not _is_still(path, file):
                raise unknown
            size = file.seek(0, os.SEEK_END)
            yield Upload(folder, session, path, file, size)

    def size(self, folder: Folder, session: str) -> int:
        """How much has arrived, in bytes."""
        with self.opened(folder, session) as upload:
            return upload.size

    def finish(
        self, upload: Upload, digest: Digest, pieces: Iterable[bytes], length: int | None = None
    ) -> None:
        """Take the last pieces and make a blob of everything, if it has this digest. Raises Refusal, Busy."""
        hasher = hashlib.new(digest.algorithm)
        upload.file.seek(0)
        while piece := upload.file.read(_PIECE):
            hasher.update(piece)
        self.append(upload, pieces, length, hasher)
        if hasher.hexdigest() != digest.hex:
            self.cancel(upload)
            raise Refusal(
                "DIGEST_INVALID", f"the content has another digest than {digest}; nothing was stored"
            )
        self._disk.sync(upload.file, upload.path)
        self._blobs.store(upload.folder, upload.path, digest)

    def cancel(self, upload: Upload) -> None:
        self._disk.remove(upload.path)

    def append(
        self,
        upload: Upload,
        pieces: Iterable[bytes],
        length: int | None = None,
        hasher: hashlib._Hash | None = None,
    ) -> None:
        """Take `pieces`; none of them stays where they end early or aren't `length` bytes in all."""
        size = upload.size
        try:
            for piece in pieces:
                self._write(upload, piece)
                if hasher is not None:
                    hasher.update(piece)
            if length is not None and upload.size - size != length:
                raise Refusal(
                    "SIZE_INVALID", f"the Content-Range promised {length} bytes, {upload.size - size} came"
                )
        except BaseException:
            # The disk may be full or gone: then the garbage collection takes the session away.
            with suppress(OSError):
                self._disk.truncate(upload.file, size, upload.path)
            upload.size = size
            raise

    def _write(self, upload: Upload, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            self._disk.write(upload.file, view, upload.path)
            written = upload.file.tell() - upload.size
            upload.size += written
            view = view[written:]


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Whether `path` still names the open file: meanwhile another request may have finished it."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
