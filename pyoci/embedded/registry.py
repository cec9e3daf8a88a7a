"""What the registry stores, apart from HTTP: its manifests, beside the blobs and uploads of `blobs`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypedDict

from cachetools import LRUCache

from pyoci.embedded.blobs import UPLOAD_LIMITS, Blobs, UploadLimits, UploadSessions
from pyoci.embedded.errors import Damaged, Refusal
from pyoci.embedded.manifests import Child, IndexEntry, Manifest, RepositoryIndex
from pyoci.embedded.storage import LOCK_LIMIT, Disk, FileStamp, Layout, RepositoryFolder, file_stamp
from pyoci.net.transport import DOCUMENT_LIMIT
from pyoci.oci.references import Digest, Reference, Tag

BLOB_LIMIT = 16 * 1024**3  # bytes
_INDEX_LIMIT = 64 * 1024 * 1024  # bytes of one index.json: some 200,000 manifests
_INDEXES_IN_MEMORY = 64
_OCI_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}\n'


class Manifests:
    """The manifests and tags of every repository: read at any time, changed by one writer at a time."""

    def __init__(self, disk: Disk, blobs: Blobs) -> None:
        self._disk = disk
        self._blobs = blobs
        self._guard = threading.Lock()
        self._indexes: LRUCache[Path, tuple[FileStamp, RepositoryIndex]] = LRUCache(_INDEXES_IN_MEMORY)

    def find_index(self, folder: RepositoryFolder) -> RepositoryIndex | None:
        """The index of a repository; None if the repository doesn't exist. Raises Damaged, OSError."""
        stamp = _stamp_or_none(folder.index)
        if stamp is None:
            return None
        with self._guard:
            cached = self._indexes.get(folder.index)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        try:
            content = folder.index.read_bytes()
        except FileNotFoundError:  # the repository was removed at this moment
            return None
        index = RepositoryIndex.parse(content)
        # A file that was replaced before it was read is a right answer, but doesn't belong to this stamp.
        if _stamp_or_none(folder.index) == stamp:
            self._cache(folder, stamp, index)
        return index

    def index(self, folder: RepositoryFolder) -> RepositoryIndex:
        """As `find_index`. Raises Refusal if the repository doesn't exist."""
        index = self.find_index(folder)
        if index is None:
            raise Refusal(
                "NAME_UNKNOWN", f"there is no repository {folder.name}", detail={"name": folder.name}
            )
        return index

    def entry(self, folder: RepositoryFolder, reference: Reference) -> IndexEntry:
        """The manifest behind a tag or digest. Raises Refusal if there is none."""
        index = self.index(folder)
        entry = (index.tags if isinstance(reference, Tag) else index.manifests).get(str(reference))
        if entry is None:
            raise _unknown(folder, reference)
        return entry

    def read(self, folder: RepositoryFolder, entry: IndexEntry) -> bytes:
        """The bytes of a manifest, verified. Raises Refusal if it has been deleted since its entry was read,
        and Damaged if its bytes are missing or changed.
        """
        try:
            with folder.blob(entry.digest).open("rb") as file:
                body = file.read(DOCUMENT_LIMIT + 1)
        except FileNotFoundError as error:
            index = self.find_index(folder)
            if index is None or str(entry.digest) not in index.manifests:
                raise _unknown(folder, entry.digest) from error
            raise Damaged(f"the file of the manifest {entry.digest} is missing") from error
        if len(body) > DOCUMENT_LIMIT:
            raise Damaged(f"the manifest {entry.digest} has more than {DOCUMENT_LIMIT} bytes")
        if digest_of(body, entry.digest.algorithm) != entry.digest:
            raise Damaged(f"the bytes of the manifest {entry.digest} don't match its digest")
        return body

    def push(
        self, folder: RepositoryFolder, body: bytes, manifest: Manifest, digest: Digest, tag: str | None
    ) -> None:
        """Store a manifest, under `tag` if given.

        Raises Refusal if the repository lacks a blob or manifest that it needs; Busy.
        """
        if manifest.children and not folder.path.is_dir():
            raise _missing(manifest.children[0])
        self._disk.make_folder(folder.path)
        entry = IndexEntry.of(manifest, digest, len(body), tag)
        with folder.lock():
            before = self.find_index(folder) or RepositoryIndex()
            for child in manifest.children:
                self._check(folder, before, child)
            # An existing file is written again, which renews it, and repairs it if it was torn.
            self._blobs.put(folder, body, digest)
            self._renew_tagged(folder, before, tag)
            self.update_index(folder, lambda index: index.with_manifest(entry))

    def delete(self, folder: RepositoryFolder, reference: Reference) -> Digest:
        """Remove a tag, or a manifest and all its tags. Returns the digest of the manifest. Raises Refusal if
        there is none; Busy.
        """
        entry = self.entry(folder, reference)
        try:
            with folder.lock():
                index = self.index(folder)
                if isinstance(reference, Tag):
                    self._renew_tagged(folder, index, reference.value)
                    self.update_index(folder, lambda index: index.without_tag(reference.value))
                else:
                    removed = frozenset({str(entry.digest)})
                    self.update_index(folder, lambda index: index.without_manifests(removed))
        except FileNotFoundError as error:  # an operator has removed the repository
            raise _unknown(folder, reference) from error
        return entry.digest

    def update_index(
        self, folder: RepositoryFolder, update: Callable[[RepositoryIndex], RepositoryIndex]
    ) -> None:
        """Replace the index of a repository by what `update` returns. The caller holds the folder's lock."""
        before = self.find_index(folder) or RepositoryIndex()
        after = update(before)
        if after is before and folder.index.exists():
            return
        text = after.serialise()
        if len(text) > _INDEX_LIMIT:
            raise Refusal("SIZE_INVALID", "the repository has too many manifests for the embedded registry")
        if not folder.marker.exists():
            self._disk.put(folder.marker, _OCI_LAYOUT, folder.staging)
        self._disk.put(folder.index, text, folder.staging, modified=self._next_modified(folder))
        stamp = _stamp_or_none(folder.index)
        if stamp is not None:
            self._cache(folder, stamp, after)

    def _check(self, folder: RepositoryFolder, index: RepositoryIndex, child: Child) -> None:
        blob = self._blobs.find(folder, child.digest)
        if blob is None or (child.is_manifest and str(child.digest) not in index.manifests):
            raise _missing(child)
        if blob.size == child.size:
            return
        if self._blobs.is_torn(blob, child.digest):
            self._disk.remove(blob.path)  # so that its next upload isn't skipped
            raise _missing(child)
        message = f"the manifest gives {child.digest} a size of {child.size} bytes; it has {blob.size}"
        raise Refusal("MANIFEST_INVALID", message)

    def _renew_tagged(self, folder: RepositoryFolder, index: RepositoryIndex, tag: str | None) -> None:
        """Keep the manifest that loses its tag for another hour, since a client may have just looked
        it up.
        """
        entry = index.tags.get(tag or "")
        if entry is not None and self._blobs.find(folder, entry.digest) is not None:
            self._disk.touch(folder.blob(entry.digest))

    def _cache(self, folder: RepositoryFolder, stamp: FileStamp, index: RepositoryIndex) -> None:
        with self._guard:
            self._indexes[folder.index] = (stamp, index)

    def _next_modified(self, folder: RepositoryFolder) -> int:
        """A time of modification that the index never had: a file system's clock may be too coarse to tell
        two writes apart, and the inode of a removed file is used again.
        """
        now = int(self._disk.clock() * 1e9)
        before = _stamp_or_none(folder.index)
        return now if before is None else max(now, before[1] + 1000)


class Options(TypedDict, total=False):
    """The optional arguments of `EmbeddedRegistry.open`; `blob_limit` in bytes, `lock_limit` in seconds."""

    disk: Disk
    blob_limit: int
    lock_limit: float
    upload_limits: UploadLimits


@dataclass(frozen=True, slots=True)
class EmbeddedRegistry:
    """The repositories below one directory. Several processes may serve the same directory."""

    layout: Layout
    blobs: Blobs
    uploads: UploadSessions
    manifests: Manifests
    blob_limit: int  # bytes

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        disk: Disk | None = None,
        blob_limit: int = BLOB_LIMIT,
        lock_limit: float = LOCK_LIMIT,
        upload_limits: UploadLimits = UPLOAD_LIMITS,
    ) -> Self:
        """Open the registry in `directory`, which is created for its owner alone. Raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout, disk = Layout(directory, lock_limit), disk or Disk()
        blobs = Blobs(disk)
        uploads = UploadSessions(layout.uploads, disk, blobs, upload_limits)
        return cls(layout, blobs, uploads, Manifests(disk, blobs), blob_limit)


def digest_of(body: bytes, algorithm: str) -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, body).hexdigest())


def _stamp_or_none(path: Path) -> FileStamp | None:
    try:
        return file_stamp(path)
    except FileNotFoundError:
        return None


def _unknown(folder: RepositoryFolder, reference: Reference) -> Refusal:
    return Refusal("MANIFEST_UNKNOWN", f"there is no manifest {reference} in {folder.name}")


def _missing(child: Child) -> Refusal:
    kind = "manifest" if child.is_manifest else "blob"
    message = f"the manifest needs the {kind} {child.digest}, which the repository lacks; push that first"
    return Refusal("MANIFEST_BLOB_UNKNOWN", message, detail={"digest": str(child.digest)})
