"""BlobStream: the bytes of a blob or of a range of it, verified while they are read. blob_size: its size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from pyoci.errors import ProtocolError
from pyoci.net.messages import READ_PIECE, Stream
from pyoci.net.reading import content_length
from pyoci.oci.challenges import Scope
from pyoci.oci.errors import RegistryNotFound, is_absence
from pyoci.oci.references import Digest
from pyoci.oci.wire import REDIRECTED, Wire


@dataclass(slots=True)
class BlobStream:
    """A blob, or the range of it that was requested. Iterate over `pieces` to the end, or call `close`.

    A whole blob is verified: iteration raises ProtocolError before the last piece if the bytes don't match
    the digest or the size.
    """

    size: int | None  # of the whole blob, in bytes; None if the registry doesn't send it
    pieces: Iterator[bytes] = field(repr=False)
    close: Callable[[], None] = field(repr=False)
    partial: bool = False  # whether the registry sent only the range; false if it doesn't support ranges


def whole_blob(stream: Stream, digest: Digest, expected: int | None = None) -> BlobStream:
    """A whole blob from an answer 200. `expected` is its size in bytes, if it is known in advance."""
    size = content_length(stream.headers)
    limit = size if expected is None else expected
    pieces = _verified(stream.pieces(READ_PIECE), digest, limit)
    return BlobStream(size, _closing(stream, pieces), stream.close)


def blob_span(stream: Stream, span: range) -> BlobStream:
    """The offsets `span` of a blob, from a 206, or from a 200 of a registry without ranges."""
    if stream.status == 206:
        first, size = _content_range(stream)
        if first != span.start:
            stream.close()
            raise ProtocolError("the registry sent another range of the blob than was asked for")
    else:
        first, size = 0, content_length(stream.headers)
    pieces = _cut(stream.pieces(READ_PIECE), span.start - first, len(span))
    return BlobStream(size, _closing(stream, pieces), stream.close, partial=stream.status == 206)


def blob_tail(stream: Stream, digest: Digest, count: int) -> BlobStream:
    """The last `count` bytes of a blob, from a 206; or the whole blob from a 200."""
    if stream.status != 206:
        return whole_blob(stream, digest)
    first, size = _content_range(stream)
    if size is None or first != max(size - count, 0):
        stream.close()
        raise ProtocolError("the registry sent another range of the blob than was asked for")
    pieces = _cut(stream.pieces(READ_PIECE), 0, size - first)
    return BlobStream(size, _closing(stream, pieces), stream.close, partial=True)


def blob_size(wire: Wire, url: str, scope: Scope) -> int | None:
    """The size of the blob at `url` in bytes; None if it doesn't exist."""
    call = wire.call("HEAD", url)
    with wire.transport.shared_deadline():
        answer = wire.send(call, scope, wire.transport.document)
    if is_absence(call, answer):
        return None
    size = content_length(answer.headers) if answer.status == 200 else None
    if size is not None:
        return size
    if answer.status not in {200, *REDIRECTED}:
        raise wire.refusal("look at a blob", call, answer)
    # A signed URL is often valid for GET only. The answer to a GET of one byte has the size in Content-Range.
    try:
        stream = wire.open(replace(call, method="GET", headers={"Range": "bytes=0-0"}), scope)
    except RegistryNotFound:
        return None
    stream.close()
    size = _total_size(stream)
    if size is None:
        raise ProtocolError(f"{wire.registry} doesn't report the size of a blob")
    return size


def _total_size(stream: Stream) -> int | None:
    """The size of the whole blob in bytes, from an answer 200 or 206."""
    if stream.status == 206:
        return _content_range(stream)[1]
    return content_length(stream.headers)


def _content_range(stream: Stream) -> tuple[int, int | None]:
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", stream.headers.get("content-range", ""))
    if found is None:
        stream.close()
        raise ProtocolError("the registry sent part of a blob without saying which")
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _verified(pieces: Iterator[bytes], digest: Digest, size: int | None) -> Iterator[bytes]:
    """The pieces. The last piece is yielded only after all of them have been verified.

    If the size is known, only the last piece is held back, so that a slow client's download keeps one piece
    in memory.
    """
    seen = hashlib.new(digest.algorithm)
    count, held = 0, b""
    for piece in pieces:
        if held:
            yield held
            held = b""
        seen.update(piece)
        count += len(piece)
        if size is not None and count < size:
            yield piece
            continue
        held = piece
        if size is not None and count > size:
            break  # the body may be endless
    if seen.hexdigest() != digest.hex or size not in {None, count}:
        raise ProtocolError(f"the registry sent bytes that don't match {digest}")
    if held:
        yield held


def _cut(pieces: Iterator[bytes], skip: int, count: int) -> Iterator[bytes]:
    for piece in pieces:
        part = piece[skip : skip + count]
        skip = max(skip - len(piece), 0)
        count -= len(part)
        if part:
            yield part
        if not count:
            return
    if count:
        raise ProtocolError("the registry sent fewer bytes than the range holds")


def _closing(stream: Stream, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    finally:
        stream.close()
