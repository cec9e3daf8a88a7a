"""EmbeddedRegistry: what the registry does, apart from HTTP. Pushing and deleting documents live here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pyoci.embedded.blobs import Blobs
from pyoci.embedded.contents import Contents, Entry
from pyoci.embedded.disk import Disk
from pyoci.embedded.documents import Documents
from pyoci.embedded.errors import Refusal
from pyoci.embedded.layout import Folder, Layout
from pyoci.embedded.lock import LOCK_LIMIT
from pyoci.embedded.manifests import Child, Document
from pyoci.embedded.uploads import Uploads
from pyoci.oci.references import Digest, Reference, Tag

BLOB_LIMIT = 16 * 1024**3  # bytes


@dataclass(frozen=True, slots=True)
class EmbeddedRegistry:
    """The repositories below one directory. Several processes may serve the same."""

    layout: Layout
    disk: Disk
    documents: Documents
    blobs: Blobs
    uploads: Uploads
    blob_limit: int  # bytes

    @classmethod
    def open(
        cls,
        directory: Path,
        disk: Disk | None = None,
        blob_limit: int = BLOB_LIMIT,
        lock_limit: float = LOCK_LIMIT,
    ) -> Self:
        """Raises OSError where `directory` can't be made. Only its owner may look into a new one."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk = disk or Disk()
        blobs = Blobs(disk)
        return cls(
            Layout(directory, lock_limit), disk, Documents(disk), blobs, Uploads(disk, blobs), blob_limit
        )

    def contents(self, folder: Folder) -> Contents:
        """What a repository lists. Raises Refusal where it doesn't exist."""
        contents = self.documents.contents(folder)
        if contents is None:
            raise Refusal(
                "NAME_UNKNOWN", f"there is no repository {folder.name}", detail={"name": folder.name}
            )
        return contents

    def entry(self, folder: Folder, reference: Reference) -> Entry:
        """The document behind a tag or digest. Raises Refusal where there is none."""
        contents = self.contents(folder)
        known = contents.tags if isinstance(reference, Tag) else contents.documents
        entry = known.get(str(reference))
        if entry is None:
            raise Refusal("MANIFEST_UNKNOWN", f"there is no document {reference} in {folder.name}")
        return entry

    def push(self, folder: Folder, body: bytes, document: Document, digest: Digest, tag: str | None) -> None:
        """Store a document, and let `tag` name it. Raises Refusal where it needs what isn't there; Busy."""
        if document.children and not folder.path.is_dir():
            raise _unknown(document.children[0])
        self.disk.make_folder(folder.staging)
        subject = None if document.subject is None else str(document.subject)
        entry = Entry.make(digest, document.media_type, len(body), tag, subject)
        with folder.lock():
            before = self.documents.contents(folder) or Contents()
            for child in document.children:
                self._check(folder, before, child)
            # Written even where it exists: that makes it young, and whole where it was torn.
            self.blobs.put(folder, body, digest)
            self._keep_a_while(folder, before, tag)
            self.documents.change(folder, lambda contents: contents.with_document(entry))

    def delete(self, folder: Folder, reference: Reference) -> None:
        """Remove a tag, or a document and all its tags. Raises Refusal where there is none; Busy."""
        entry = self.entry(folder, reference)
        with folder.lock():
            if isinstance(reference, Tag):
                self._keep_a_while(folder, self.contents(folder), reference.value)
                self.documents.change(folder, lambda contents: contents.without_tag(reference.value))
            else:
                gone = frozenset({str(entry.digest)})
                self.documents.change(folder, lambda contents: contents.without_documents(gone))

    def promise(self, folder: Folder, entry: Entry) -> None:
        """A client that was told that a document exists relies on it: see `Blobs.promise`."""
        self.blobs.promise(folder, entry.digest)

    def _check(self, folder: Folder, contents: Contents, child: Child) -> None:
        if child.is_document and str(child.digest) not in contents.documents:
            raise _unknown(child)
        blob = self.blobs.find(folder, child.digest)
        if blob is None:
            raise _unknown(child)
        if blob.size == child.size:
            return
        if self.blobs.is_torn(blob, child.digest):
            self.disk.remove(blob.path)  # its next upload starts from nothing
            raise _unknown(child)
        raise Refusal(
            "MANIFEST_INVALID",
            f"the document says that {child.digest} has {child.size} bytes; it has {blob.size}",
        )

    def _keep_a_while(self, folder: Folder, contents: Contents, tag: str | None) -> None:
        """What loses its tag now may just have been found by it: the garbage collection waits an hour."""
        entry = contents.tags.get(tag or "")
        if entry is not None and self.blobs.find(folder, entry.digest) is not None:
            self.disk.touch(folder.blob(entry.digest))


def _unknown(child: Child) -> Refusal:
    kind = "document" if child.is_document else "blob"
    message = f"the document needs the {kind} {child.digest}, which the repository lacks; push that first"
    return Refusal("MANIFEST_BLOB_UNKNOWN", message, detail={"digest": str(child.digest)})
