"""Documents: the documents and small blobs of a repository, remembered by digest.

The documents of a page are stored in packs, which have many documents in one value of the cache. Writing a
thousand documents one by one would take as long as reading them from the registry.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pyoci.cache.backend import Backend
from pyoci.oci.models import Document
from pyoci.oci.references import Digest
from pyoci.store.state import State

_SIZE = 4 * 1024 * 1024  # bytes of a pack, unless one document is larger
_HEAD = re.compile(rb"(sha256|sha512):([0-9a-f]{64,128}) ([!-~]{0,200}) ([0-9]{1,9})\n")
_PACKS = 64  # of one repository; each write adds one
_KEPT = 8 * 1024 * 1024  # bytes of the documents that one request has read and keeps in memory
_UNPACKED = 16 * 1024 * 1024  # bytes of packs that one request may read; each refresh adds _KEPT at most


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one repository, each verified by its digest. `repository` is its key in the cache."""

    backend: Backend
    repository: str

    def unpack(
        self, packs: Iterable[str], wanted: Collection[Digest] | None = None
    ) -> dict[Digest, Document]:
        """The documents in those packs that are still there, or those of them that are `wanted`. The newest
        packs are read first, and the oldest are left out if all of them are too large for one request.
        """
        found: dict[Digest, Document] = {}
        left = _UNPACKED
        for name in reversed(tuple(packs)):
            pack = self.backend.get(f"pack\0{self.repository}\0{name}")
            left -= len(pack or b"")
            if left < 0:
                break
            documents = unpacked(pack or b"")
            found.update(each for each in documents if wanted is None or each[0] in wanted)
        return found

    def pack(self, documents: Mapping[Digest, Document], state: State) -> tuple[str, ...]:
        """Store documents in new packs, and return the names of the state's packs and the new ones. If these
        are too many, the documents that the state still needs are packed again.
        """
        if not documents:
            return state.packs
        packs = state.packs
        if len(packs) > _PACKS:
            wanted = {tag_state.digest for tag_state in state.tag_states.values()}
            documents = {**self.unpack(packs, wanted), **documents}
            packs = ()
        for pack in packed(documents.items()):
            name = hashlib.sha256(pack).hexdigest()[:32]
            self.backend.put(f"pack\0{self.repository}\0{name}", pack)
            packs = (*packs, name)
        return packs

    def document(self, digest: Digest) -> Document | None:
        value = self.backend.get(f"document\0{self.repository}\0{digest}")
        if value is None:
            return None
        media_type, _, body = value.partition(b"\n")
        return Document(media_type.decode("utf-8", "replace"), body) if _matches(body, digest) else None

    def put_document(self, digest: Digest, document: Document) -> None:
        value = b"\n".join((document.media_type.encode(), document.body))
        self.backend.put(f"document\0{self.repository}\0{digest}", value)

    def blob(self, digest: Digest) -> bytes | None:
        value = self.backend.get(f"blob\0{self.repository}\0{digest}")
        return value if value is not None and _matches(value, digest) else None

    def put_blob(self, digest: Digest, content: bytes) -> None:
        self.backend.put(f"blob\0{self.repository}\0{digest}", content)


class DocumentsRead:
    """The documents that one request has read from the registry, by their digests. Those that were read last
    are kept in memory, up to a number of bytes, and the others in the cache.
    """

    def __init__(self, size: int = _KEPT) -> None:
        self._guard = threading.Lock()
        self._kept: dict[Digest, Document] = {}
        self._sizes: dict[Digest, int] = {}
        self._left = size

    def add(self, digest: Digest, document: Document, stored: Documents) -> None:
        """Add a document. `stored` gets those that are not kept any more."""
        moved = []
        with self._guard:
            if digest in self._sizes:
                return
            self._kept[digest], self._sizes[digest] = document, len(document.body)
            self._left -= len(document.body)
            while self._left < 0 and len(self._kept) > 1:
                oldest = next(iter(self._kept))
                moved.append((oldest, self._kept.pop(oldest)))
                self._left += self._sizes[oldest]
        for digest, document in moved:
            stored.put_document(digest, document)

    def get(self, digest: Digest) -> Document | None:
        """The document, if it is in memory."""
        return self._kept.get(digest)

    def size(self, digest: Digest) -> int | None:
        """The size in bytes of a document that was read; None for any other."""
        return self._sizes.get(digest)

    def in_memory(self) -> dict[Digest, Document]:
        with self._guard:
            return dict(self._kept)


def packed(documents: Iterable[tuple[Digest, Document]]) -> Iterator[bytes]:
    """The documents as packs of some MiB. A line with digest, media type and size precedes each document."""
    parts: list[bytes] = []
    size = 0
    for digest, document in documents:
        head = f"{digest} {document.media_type} {len(document.body)}\n".encode("ascii", "replace")
        if parts and size + len(head) + len(document.body) > _SIZE:
            yield b"".join(parts)
            parts, size = [], 0
        parts += (head, document.body)
        size += len(head) + len(document.body)
    if parts:
        yield b"".join(parts)


def unpacked(pack: bytes) -> Iterator[tuple[Digest, Document]]:
    """The documents of a pack that match their digests, up to the first bytes that aren't a document."""
    position = 0
    while (head := _HEAD.match(pack, position)) is not None:
        position = head.end() + int(head[4])
        body = pack[head.end() : position]
        digest = Digest(head[1].decode(), head[2].decode())
        if _matches(body, digest):
            yield digest, Document(head[3].decode(), body)


def _matches(content: bytes, digest: Digest) -> bool:
    return hashlib.new(digest.algorithm, content).hexdigest() == digest.hex
