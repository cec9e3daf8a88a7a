"""Packs: many documents of one repository, kept as one value. Pure.

A value for each of a thousand documents would take as long to write as the registry takes to send them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from pyoci.oci.models import Document
from pyoci.oci.references import Digest

_SIZE = 4 * 1024 * 1024  # bytes of a pack, unless one document is larger
_HEAD = re.compile(rb"(sha256|sha512):([0-9a-f]{64,128}) ([!-~]{0,200}) ([0-9]{1,9})\n")


def packed(documents: Iterable[tuple[Digest, Document]]) -> Iterator[bytes]:
    """The documents as packs of some MiB: before each its digest, media type and size."""
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
    """The documents of a pack whose bytes have their digest; it ends where something else begins."""
    position = 0
    while (head := _HEAD.match(pack, position)) is not None:
        position = head.end() + int(head[4])
        body = pack[head.end() : position]
        digest = Digest(head[1].decode(), head[2].decode())
        if hashlib.new(digest.algorithm, body).hexdigest() == digest.hex:
            yield digest, Document(head[3].decode(), body)
