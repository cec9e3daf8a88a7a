"""Documents and tags as they lie on the disk: read at any time, changed by one writer at a time."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from pyoci.embedded.contents import Contents, Entry
from pyoci.embedded.disk import Disk
from pyoci.embedded.errors import Damaged, Refusal
from pyoci.embedded.layout import OCI_LAYOUT, Folder
from pyoci.embedded.manifests import DOCUMENT_LIMIT
from pyoci.oci.references import Digest

_CONTENTS_LIMIT = 64 * 1024 * 1024  # bytes of one index.json: some 200,000 documents
_REMEMBERED = 64  # repositories whose list of documents stays in memory

_Stamp = tuple[int, int, int]


class Documents:
    """The documents and tags of every repository."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._guard = threading.Lock()
        self._remembered: OrderedDict[Path, tuple[_Stamp, Contents]] = OrderedDict()

    def contents(self, folder: Folder) -> Contents | None:
        """What `folder` lists; None where the repository doesn't exist. Raises Damaged, OSError."""
        stamp = _stamp(folder.contents)
        if stamp is None:
            return None
        with self._guard:
            remembered = self._remembered.get(folder.contents)
        if remembered is not None and remembered[0] == stamp:
            return remembered[1]
        contents = Contents.parse(folder.contents.read_bytes())
        # Replaced between the look at its stamp and the reading: what was read is right, and not remembered.
        if _stamp(folder.contents) == stamp:
            self._remember(folder, stamp, contents)
        return contents

    def change(self, folder: Folder, change: Callable[[Contents], Contents]) -> None:
        """Replace the list of documents by what `change` makes of it. The caller holds the folder's lock."""
        before = self.contents(folder) or Contents()
        after = change(before)
        if after is before and folder.contents.exists():
            return
        text = after.serialise()
        if len(text) > _CONTENTS_LIMIT:
            raise Refusal("SIZE_INVALID", "the repository has too many documents for the embedded registry")
        if not folder.marker.exists():
            self._disk.put(folder.marker, OCI_LAYOUT, folder.staging)
        self._disk.put(folder.contents, text, folder.staging, self._next_stamp(folder))
        stamp = _stamp(folder.contents)
        if stamp is not None:
            self._remember(folder, stamp, after)

    def read(self, folder: Folder, entry: Entry) -> bytes:
        """The bytes of a document, verified. Raises Damaged where they are lost or changed."""
        try:
            with folder.blob(entry.digest).open("rb") as file:
                body = file.read(DOCUMENT_LIMIT + 1)
        except FileNotFoundError as error:
            raise Damaged(f"the document {entry.digest} is lost") from error
        if len(body) > DOCUMENT_LIMIT:
            raise Damaged(f"the document {entry.digest} has more than {DOCUMENT_LIMIT} bytes")
        if digest_of(body, entry.digest.algorithm) != entry.digest:
            raise Damaged(f"the bytes of the document {entry.digest} don't match its digest")
        return body

    def _remember(self, folder: Folder, stamp: _Stamp, contents: Contents) -> None:
        with self._guard:
            self._remembered[folder.contents] = (stamp, contents)
            self._remembered.move_to_end(folder.contents)
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)

    def _next_stamp(self, folder: Folder) -> int:
        """A time of modification that this file never had: the clock's own ticks may be too coarse to tell
        two writes apart, and a removed file's inode is given away again."""
        now = int(self._disk.clock() * 1e9)
        before = _stamp(folder.contents)
        return now if before is None else max(now, before[1] + 1000)


def digest_of(body: bytes, algorithm: str) -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, body).hexdigest())


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)
