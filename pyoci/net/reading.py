"""Reading the body of an answer as it comes: in pieces, at a pace. Decoded only for who asked for gzip."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from pyoci.errors import AnswerTooLong, ProtocolError
from pyoci.net.messages import Answer, Call

_SLOWEST = 1024.0  # bytes a second, over the time without progress that is allowed
_FIRST_PIECE = 256 * 1024
_QUICK = 0.1  # seconds
_GATHERING = 1.0  # seconds after which a piece goes on as it is: pip waits 15 for its next byte


def gathered(response: requests.Response, size: int) -> bytes:
    """The next piece of the body: `size` bytes, or what came within a second; none at its end."""
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


def whole(response: requests.Response, limit: int) -> bytes:
    """All of the body, or its first `limit` bytes.

    Read until nothing comes: only then does a body that is shorter than it should be raise, and http.client
    learns that an answer to HEAD has none, so that its connection is kept.
    """
    body = b""
    while len(body) < limit and (piece := response.raw.read(limit - len(body), decode_content=False)):
        body += piece
    return body


def is_encoded(response: requests.Response) -> bool:
    """Whether the body is compressed, though only `identity` was asked for."""
    return response.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}


def decoded(answer: Answer, limit: int, name: str) -> bytes:
    """The body of an answer to a call that takes gzip, at most `limit` bytes. Raises ProtocolError, which
    says `name`. Of several members of a gzip the first counts: nobody sends more.
    """
    coding = answer.headers.get("content-encoding", "").strip().lower()
    if coding in {"", "identity"}:
        body, at_end = answer.body, True
    elif coding in {"gzip", "x-gzip"}:
        body, at_end = _unzipped(answer.body, limit + 1)
    else:
        raise ProtocolError(f"{name} sent an answer compressed as nobody asked for; expected gzip")
    if len(body) > limit:
        raise ProtocolError(f"{name} sent more than {limit} bytes, unpacked")
    if not at_end:
        raise ProtocolError(f"{name} sent gzip that can't be unpacked")
    return body


def _unzipped(body: bytes, limit: int) -> tuple[bytes, bool]:
    unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        return unpacking.decompress(body, limit), unpacking.eof
    except zlib.error as exc:
        if str(exc).startswith("Error -4 "):  # Z_MEM_ERROR
            raise MemoryError(str(exc)) from None
        return b"", False


def whole_answer(call: Call, response: requests.Response, limit: int) -> Answer:
    """The answer with all of its body, or AnswerTooLong where that is more than `limit` bytes."""
    try:
        if is_encoded(response) and call.method != "HEAD" and "Accept-Encoding" not in call.headers:
            raise ProtocolError(f"{call.label} sent a compressed answer where nobody asked for one")
        body = whole(response, limit + 1)
    finally:
        # Read to its end the connection went back to the pool; otherwise this drops it.
        response.close()
    if len(body) > limit:
        raise AnswerTooLong(f"{call.label} sent more than {limit} bytes where a document was expected")
    return Answer(response.status_code, headers_of(response), body)


def headers_of(response: requests.Response) -> dict[str, str]:
    """The headers of an answer, their names in lower case."""
    return {name.lower(): value for name, value in response.headers.items()}


class Pace:
    """Whether the bytes of a body come at all: a byte a minute is no progress.

    Only the time spent reading counts. A slow reader on our other side is not the registry's fault.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._count = 0
        self._spent = 0.0
        self.too_slow = False

    def kept(self, read: Callable[[], bytes]) -> bytes:
        """What `read` gives. `too_slow` is set when a stretch of time has ended that brought too little."""
        begun = time.monotonic()
        piece = read()
        self._spent += time.monotonic() - begun
        self._count += len(piece)
        if self._spent >= self._seconds:
            self.too_slow = self._count < _SLOWEST * self._spent
            self._count, self._spent = 0, 0.0
        return piece


class PieceSize:
    """How many bytes to read at once: few for a slow reader, for whom they wait in memory, and up to `most`
    for one that has taken much in little time.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._taken = 0  # bytes, each piece at once
        self.size = min(_FIRST_PIECE, most)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The block takes as long as the reader with one piece."""
        begun = self._clock()
        yield
        quick = self._clock() - begun < _QUICK
        self._taken = self._taken + self.size if quick else 0
        # Buffers on the way take the first megabytes at once for anybody.
        self.size = min(max(_FIRST_PIECE, self._taken // 16), self._most)
