"""Blobs of the repositories, and the uploads that they arrive by."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from errno import EACCES, EPERM, EROFS, EXDEV
from pathlib import Path
from typing import BinaryIO

from pyoci.embedded.errors import Refusal
from pyoci.embedded.storage import PIECE, Disk, RepositoryFolder, temporary_path, try_lock
from pyoci.oci.references import Digest

# Seconds. A client relies on a blob that the registry has confirmed, so each answer renews the blob's time of
# modification unless it is newer than this. Well under the hour that the garbage collection leaves alone.
RENEW_AFTER = 15 * 60
_SESSION_ID = re.compile(r"[0-9a-f]{32}")
_RECOUNT = 64 * 1024 * 1024  # bytes after which an upload adds up all unfinished uploads again


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in one repository; `size` in bytes, `modified` in seconds since 1970."""

    path: Path
    size: int
    modified: float


class Blobs:
    """The blobs of every repository."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def find(self, folder: RepositoryFolder, digest: Digest) -> Blob | None:
        """The blob, or None. A file that lost all its bytes in a crash counts as missing."""
        path = folder.blob(digest)
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        if not found.st_size and hashlib.new(digest.algorithm).hexdigest() != digest.hex:
            return None
        return Blob(path, found.st_size, found.st_mtime)

    def find_and_renew(self, folder: RepositoryFolder, digest: Digest) -> Blob | None:
        """Like `find`, and protects the blob from garbage collection for another hour. Raises Busy."""
        blob = self.find(folder, digest)
        if blob is None or self._disk.clock() - blob.modified < RENEW_AFTER:
            return blob
        try:
            with folder.lock():
                blob = self.find(folder, digest)
                if blob is not None:
                    self._disk.touch(blob.path)
        except FileNotFoundError:  # an operator has removed the repository
            return None
        except OSError as error:
            if error.errno not in {EROFS, EACCES, EPERM}:  # in a read-only directory nothing is collected
                raise
        return blob

    def store(self, folder: RepositoryFolder, staged: Path, digest: Digest) -> None:
        """Move the verified file `staged`, which is flushed to the disk, to its final path. Raises Busy."""
        target = folder.blob(digest)
        self._disk.make_folder(target.parent)
        try:
            self._rename(folder, staged, target)
        except OSError as error:
            if error.errno != EXDEV:
                raise
            # The repository's folder is a mount point or a link to another file system.
            self._disk.make_folder(folder.staging)
            copied = temporary_path(folder.staging)
            self._disk.link_or_copy(staged, copied)
            self._rename(folder, copied, target)
            self._disk.remove(staged)

    def put(self, folder: RepositoryFolder, content: bytes, digest: Digest) -> None:
        """Store the bytes of a manifest. The caller holds the lock."""
        target = folder.blob(digest)
        self._disk.make_folder(target.parent)
        self._disk.put(target, content, folder.staging)

    def mount(self, source: RepositoryFolder, target: RepositoryFolder, digest: Digest) -> bool:
        """Make a blob of `source` available in `target`; False if `source` lacks it. Raises Busy."""
        blob = self.find_and_renew(source, digest)
        if blob is None:
            return False
        if self.find_and_renew(target, digest) is not None:
            return True
        self._disk.make_folder(target.staging)
        staged = temporary_path(target.staging)
        try:
            self._disk.link_or_copy(blob.path, staged)
        except FileNotFoundError:  # deleted by another request
            return False
        self.store(target, staged, digest)
        return True

    def is_torn(self, blob: Blob, digest: Digest) -> bool:
        """Whether the bytes differ from their digest. Reads them all."""
        with blob.path.open("rb") as file:
            return hashlib.file_digest(file, digest.algorithm).hexdigest() != digest.hex

    def delete(self, folder: RepositoryFolder, digest: Digest) -> bool:
        """Remove a blob; False if there is none. Raises Busy."""
        if self.find(folder, digest) is None:
            return False
        try:
            with folder.lock():
                self._disk.remove(folder.blob(digest))
        except FileNotFoundError:  # an operator has removed the repository
            return False
        return True

    def _rename(self, folder: RepositoryFolder, staged: Path, target: Path) -> None:
        with folder.lock():
            self._disk.touch(staged)
            self._disk.replace(staged, target)


@dataclass(slots=True)
class UploadSession:
    """An open upload session; `size` is the number of bytes that have arrived."""

    folder: RepositoryFolder
    session_id: str
    path: Path
    file: BinaryIO = field(repr=False)
    size: int = 0


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """The limits of unfinished uploads: their number, their total size in bytes, and their age in seconds."""

    sessions: int = 1000
    total_bytes: int = 64 * 1024**3
    seconds: float = 3600.0  # since the last bytes arrived


UPLOAD_LIMITS = UploadLimits()


@dataclass(frozen=True, slots=True)
class UnfinishedUploads:
    """The sizes in bytes of the unfinished uploads, and of those that had expired and were removed."""

    sizes: list[int] = field(default_factory=list)
    expired: list[int] = field(default_factory=list)


class UploadSessions:
    """The upload sessions of every repository: files in `folder` that hold the bytes that have arrived.

    Processes that serve the same directory count the same files. Requests that arrive at the same time may
    exceed a limit slightly, each by one session or `_RECOUNT` bytes.
    """

    def __init__(self, folder: Path, disk: Disk, blobs: Blobs, limits: UploadLimits) -> None:
        self._folder = folder
        self._disk = disk
        self._blobs = blobs
        self._limits = limits

    def begin(self, folder: RepositoryFolder) -> str:
        """Open a session; returns its id. Raises Refusal if there are too many."""
        limit = self._limits.sessions
        if len(self.remove_expired().sizes) >= limit:
            message = f"there may be {limit} unfinished uploads at a time; finish or cancel some of them"
            raise Refusal("TOOMANYREQUESTS", message, headers={"Retry-After": "60"})
        session_id = secrets.token_hex(16)
        self._disk.make_folder(self._folder)
        path = self._path(folder, session_id)
        self._disk.create(path)
        self._disk.touch(path)
        return session_id

    def remove_expired(self) -> UnfinishedUploads:
        """Remove the sessions that have received nothing for too long; count them and the others."""
        found = UnfinishedUploads()
        for path in self._folder.glob("*"):
            try:
                size = path.stat().st_size
                (found.expired if self._remove_if_expired(path) else found.sizes).append(size)
            except FileNotFoundError:  # finished or cancelled by another request
                continue
        return found

    @contextmanager
    def opened(self, folder: RepositoryFolder, session_id: str) -> Iterator[UploadSession]:
        """The session, for one request at a time. Raises Refusal if it is unknown or in use."""
        path = self._path(folder, session_id)
        unknown = Refusal(
            "BLOB_UPLOAD_UNKNOWN", "there is no such upload; it may be complete, cancelled or too old"
        )
        if not _SESSION_ID.fullmatch(session_id):
            raise unknown
        try:
            file = path.open("r+b", buffering=0)
        except FileNotFoundError as error:
            raise unknown from error
        with file:
            if not try_lock(file.fileno()):
                raise Refusal("BLOB_UPLOAD_INVALID", "another request is writing to this upload", status=409)
            if not _is_same_file(path, file):
                raise unknown
            if self._is_expired(path):
                self._disk.remove(path)
                raise unknown
            yield UploadSession(folder, session_id, path, file, file.seek(0, os.SEEK_END))

    def append(
        self,
        upload: UploadSession,
        pieces: Iterable[bytes],
        length: int | None = None,
        hasher: hashlib._Hash | None = None,
    ) -> None:
        """Add `pieces`. Discards all of them if they end early or are not `length` bytes in total."""
        size = upload.size
        try:
            for piece in self._limited(pieces):
                self._write(upload, piece)
                if hasher is not None:
                    hasher.update(piece)
            if length is not None and upload.size - size != length:
                message = f"the Content-Range announced {length} bytes; {upload.size - size} arrived"
                raise Refusal("SIZE_INVALID", message)
            self._disk.touch(upload.path)
        except BaseException:
            with suppress(OSError):  # on a broken disk the session is left to the garbage collection
                self._disk.truncate(upload.file, size, upload.path)
            upload.size = size
            raise

    def finish(
        self, upload: UploadSession, digest: Digest, pieces: Iterable[bytes], length: int | None = None
    ) -> None:
        """Add the last pieces and store everything as a blob, if it has this digest. Raises Refusal, Busy."""
        hasher = hashlib.new(digest.algorithm)
        upload.file.seek(0)
        while piece := upload.file.read(PIECE):
            hasher.update(piece)
        try:
            self.append(upload, pieces, length, hasher)
        except OSError:
            if upload.size == 0:  # there is nothing to continue
                with suppress(OSError):
                    self.cancel(upload)
            raise
        if hasher.hexdigest() != digest.hex:
            self.cancel(upload)
            raise Refusal("DIGEST_INVALID", f"the content's digest is not {digest}; nothing was stored")
        self._disk.sync(upload.file, upload.path)
        self._blobs.store(upload.folder, upload.path, digest)

    def cancel(self, upload: UploadSession) -> None:
        self._disk.remove(upload.path)

    def _path(self, folder: RepositoryFolder, session_id: str) -> Path:
        """The file of a session, which belongs to one repository."""
        return self._folder / f"{session_id}-{hashlib.sha256(folder.name.encode()).hexdigest()[:32]}"

    def _is_expired(self, path: Path) -> bool:
        return self._disk.age(path) >= self._limits.seconds

    def _remove_if_expired(self, path: Path) -> bool:
        if not self._is_expired(path):
            return False
        with path.open("rb") as file:
            if not try_lock(file.fileno()) or not self._is_expired(path):  # a request is using it
                return False
            self._disk.remove(path)
        return True

    def _limited(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """`pieces`, as long as all unfinished uploads together stay within the limit. Raises Refusal."""
        counted = 0  # bytes that may arrive before the next count
        for piece in pieces:
            if len(piece) > counted:
                free = self._limits.total_bytes - sum(self.remove_expired().sizes)
                if len(piece) > free:
                    limit = f"{self._limits.total_bytes} bytes"
                    message = (
                        f"all unfinished uploads may have {limit} together; finish or cancel some of them"
                    )
                    raise Refusal("TOOMANYREQUESTS", message, status=507)
                counted = min(free, _RECOUNT)
            counted -= len(piece)
            yield piece

    def _write(self, upload: UploadSession, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            self._disk.write(upload.file, view, upload.path)
            written = upload.file.tell() - upload.size
            upload.size += written
            view = view[written:]


def _is_same_file(path: Path, file: BinaryIO) -> bool:
    """Whether `path` still names the open file; another request may have finished the upload."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
