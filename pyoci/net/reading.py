"""Reading an answer: its headers, and its body in pieces or as a whole. A body is decoded only for callers
that accept gzip.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, Self

from requests.utils import parse_header_links
from urllib3 import BaseHTTPResponse

from pyoci.errors import AnswerTooLong, ProtocolError
from pyoci.net.messages import Answer, Call
from pyoci.pauses import Pauses

_SLOWEST = 1024.0  # bytes a second, averaged over the time that a stall may take
_PIECE = 256 * 1024  # bytes that are decompressed at once
_GZIP = 16 + zlib.MAX_WBITS
_RESERVED = 0xE0  # flags in the fourth byte of gzip
_PACKED_PIECE = 64 * 1024  # bytes of gzip that are decompressed at once
_FIRST_PIECE = 256 * 1024  # bytes
_QUICK = 0.1  # seconds in which a fast reader takes a piece
_GATHERING = 1.0  # seconds after which an incomplete piece is passed on: pip's timeout is 15
_LINK_LIMIT = 16 * 1024  # characters of a Link header that are parsed
_URL_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Received:
    """An answer whose body is still to be read from `raw`. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    raw: BaseHTTPResponse = field(repr=False)

    @classmethod
    def of(cls, raw: BaseHTTPResponse) -> Self:
        return cls(raw.status, {name.lower(): value for name, value in raw.headers.itermerged()}, raw)

    def close(self) -> None:
        """Close the connection, unless the body was read completely: then it is used again."""
        self.raw.close()
        self.raw.release_conn()


def gathered(response: Received, size: int) -> bytes:
    """The next piece of the body: `size` bytes, or what arrived within a second; b"" at its end."""
    parts, count, begun = [], 0, time.monotonic()
    while count < size:
        part = response.raw.read1(size - count, decode_content=False)
        if not part:
            break
        parts.append(part)
        count += len(part)
        if time.monotonic() - begun > _GATHERING:
            break
    return b"".join(parts)


def whole(response: Received, limit: int) -> bytes:
    """The body, or its first `limit` bytes.

    It is read until a read returns nothing. Only then is a body that is too short reported, and only then
    does http.client release the connection of an answer to HEAD, which has no body.
    """
    body = b""
    while len(body) < limit and (piece := response.raw.read(limit - len(body), decode_content=False)):
        body += piece
    return body


def is_encoded(response: Received) -> bool:
    """Whether the body has a content coding other than `identity`."""
    return response.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}


class Decoded(NamedTuple):
    """The decoded body of an answer, and the same in gzip if it was sent so, as a single member."""

    body: bytes
    gzip: bytes | None = None


def decoded(
    answer: Answer, limit: int, name: str, watch: Callable[[bytes], None] = lambda _piece: None
) -> Decoded:
    """The decoded body of an answer to a call that accepts gzip, at most `limit` bytes. Of several gzip
    members only the first is read. Raises ProtocolError with `name` in its message, AnswerTooLong for a
    longer one, and what `watch` raises, which gets each piece that was decompressed, or the beginning of a
    body that is too long.
    """
    coding = answer.headers.get("content-encoding", "").strip().lower()
    found, at_end = Decoded(answer.body), True
    if coding in {"gzip", "x-gzip"}:
        found, at_end = _unzipped(answer.body, limit + 1, watch)
    elif coding not in {"", "identity"}:
        raise ProtocolError(f"{name} sent an answer with an unrequested compression; expected gzip")
    elif len(found.body) > limit:
        watch(found.body[: limit + 1])
    if len(found.body) > limit:
        raise AnswerTooLong(f"{name} sent more than {limit} bytes, decompressed")
    if not at_end:
        raise ProtocolError(f"{name} sent gzip that can't be decompressed")
    return found


def _unzipped(body: bytes, limit: int, watch: Callable[[bytes], None]) -> tuple[Decoded, bool]:
    """The body, decompressed up to `limit` bytes, and whether that is all of it. It is decompressed in
    pieces, since no other thread would compute while zlib puts a large result together.
    """
    if int.from_bytes(body[3:4], "big") & _RESERVED:  # an error by RFC 1952, which ISA-L ignores
        return Decoded(b""), False
    library = _decompression()
    unpacking, pause = library.decompressobj(_GZIP), Pauses()
    packed = memoryview(body)
    parts: list[bytes] = []
    try:
        while limit > 0 and not unpacking.eof:
            piece: bytes | memoryview = unpacking.unconsumed_tail
            if not piece:
                piece, packed = packed[:_PACKED_PIECE], packed[_PACKED_PIECE:]
            parts.append(unpacking.decompress(piece, min(limit, _PIECE)))
            if not (piece or parts[-1]):
                break
            watch(parts[-1])
            limit -= len(parts[-1])
            pause()
    except library.error as exc:
        if library is zlib and str(exc).startswith("Error -4 "):  # Z_MEM_ERROR
            raise MemoryError(str(exc)) from None
        return Decoded(b""), False
    has_more = unpacking.unused_data or packed
    return Decoded(b"".join(parts), None if has_more else body), unpacking.eof


@cache
def _decompression() -> Any:
    """What decompresses gzip: ISA-L if it is installed, which takes half of the time, or else zlib."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    return isal_zlib


def whole_answer(call: Call, response: Received, limit: int, grow: Callable[[], int] | None = None) -> Answer:
    """The answer with its whole body. Raises AnswerTooLong if that has more than `limit` bytes. `grow` is
    called before a body is read that announces more, and returns the limit for it.
    """
    announced = response.raw.length_remaining or 0  # 0 for an answer to HEAD, and for 304
    try:
        if grow is not None and announced > limit:
            limit = grow()
        if is_encoded(response) and call.method != "HEAD" and "Accept-Encoding" not in call.headers:
            raise ProtocolError(f"{call.label} sent a compressed answer without being asked to")
        body = whole(response, limit + 1) if announced <= limit else b""
    finally:
        # If the body was read completely, the connection is back in the pool; otherwise this closes it.
        response.close()
    if max(len(body), announced) > limit:
        raise AnswerTooLong(f"{call.label} sent more than {limit} bytes where a document was expected")
    return Answer(response.status, response.headers, body)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Content-Length in bytes; None if it is missing or not a number."""
    text = headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def next_link(header: str) -> str | None:
    """The URL with `rel=next` in a Link header (RFC 8288)."""
    if not header.lstrip().startswith("<"):
        return None  # the parser would also accept a URL without brackets
    for link in parse_header_links(header[:_LINK_LIMIT]):
        relations = {key.lower(): value for key, value in link.items()}.get("rel", "")
        if "next" in relations.lower().split() and 0 < len(link["url"]) <= _URL_LIMIT:
            return link["url"]
    return None


class Pace:
    """Detects a body that arrives too slowly, such as a byte a minute.

    Only the time of reading counts, not the time that a slow client takes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._count = 0
        self._spent = 0.0
        self.is_too_slow = False

    def measured(self, read: Callable[[], bytes]) -> bytes:
        """The result of `read`. Sets `is_too_slow` when too few bytes arrived in the last period."""
        begun = time.monotonic()
        piece = read()
        self._spent += time.monotonic() - begun
        self._count += len(piece)
        if self._spent >= self._seconds:
            self.is_too_slow = self._count < _SLOWEST * self._spent
            self._count, self._spent = 0, 0.0
        return piece


class PieceSize:
    """How many bytes to read at once: few for a slow client, since they are buffered in memory, and up to
    `most` for one that has taken many bytes quickly.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._taken = 0  # bytes in consecutive pieces that were taken quickly
        self.size = min(_FIRST_PIECE, most)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Measure how long the reader takes for one piece, which is the duration of the block."""
        begun = self._clock()
        yield
        is_quick = self._clock() - begun < _QUICK
        self._taken = self._taken + self.size if is_quick else 0
        # The buffers on the way to the reader take the first megabytes quickly.
        self.size = min(max(_FIRST_PIECE, self._taken // 16), self._most)
