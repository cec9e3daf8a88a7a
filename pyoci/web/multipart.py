"""multipart/form-data as a stream: the parts of a body, piece by piece, in constant memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from pyoci.errors import InvalidRequest, TooLarge
from pyoci.web.body import PIECE, RequestBody

PARTS_LIMIT = 10_000
BOUNDARY_LIMIT = 200  # characters; RFC 2046 allows 70
# The decoder buffers what it can't parse yet: a part's headers, or other data where a boundary should be.
_HELD_LIMIT = PIECE + 64 * 1024
# The server waits until a piece is complete, so pieces from a slow client have to be small.
_SMALL = 32 * 1024
_QUICK = 0.5  # seconds for a piece, after which the next one is larger
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2, "token"

Event = Field | File | Data


class Parts:
    """The parts of a body: for each part a Field or a File, then its Data. The last Data has `more_data`
    false.

    Reads up to `limit` bytes. Iteration raises InvalidRequest for an invalid or incomplete form, TooLarge
    (which names PYOCI_MAX_BODY) above the limit, and the errors of reading the body.
    """

    def __init__(
        self,
        body: RequestBody,
        content_type: str,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._body, self._limit = body, limit
        self._boundary = _boundary(content_type)
        self._decoder = MultipartDecoder(self._boundary, _HELD_LIMIT)
        self._clock, self._size = clock, _SMALL

    def __iter__(self) -> Iterator[Event]:
        parts = 0
        for event in self._events():
            if isinstance(event, (Field, File)):
                parts += 1
                if parts > PARTS_LIMIT:
                    raise TooLarge(f"the form has more than {PARTS_LIMIT} parts, which is the limit")
                _check(event)
            yield event

    def last_size(self) -> int | None:
        """The size in bytes of the part whose Field or File was just yielded, if it is the last part and the
        form has the usual end; None if the body's length is unknown.
        """
        if self._body.length is None:
            return None
        begun = self._body.taken - len(self._decoder.buffer) + len(b"\r\n")  # the end of the headers
        return self._body.length - begun - len(b"\r\n--" + self._boundary + b"--\r\n")

    def _events(self) -> Iterator[Event]:
        try:
            while True:
                event = self._decoder.next_event()
                match event:
                    case NeedData():
                        self._decoder.receive_data(self._piece())
                    case Field() | File() | Data():
                        yield event
                    case Epilogue():
                        return
        except RequestEntityTooLarge as exc:
            raise InvalidRequest(
                "the form can't be read; expected parts with short headers between boundaries"
            ) from exc
        except ValueError as exc:  # the body is cut off, or isn't UTF-8
            raise InvalidRequest(
                "the form is cut off or invalid; expected parts that end with a last boundary"
            ) from exc

    def _piece(self) -> bytes | None:
        if self._body.length is not None and self._body.length > self._limit:
            raise too_large(self._body.length, self._limit)
        if self._body.limit_passed is not None:
            raise too_large(None, self._limit)
        begun = self._clock()
        data = self._body.read(self._size)
        quick = self._clock() - begun < _QUICK
        self._size = min(2 * self._size, PIECE) if quick else max(self._size // 2, _SMALL)
        if self._body.taken > self._limit:
            raise too_large(None, self._limit)
        return data or None


def too_large(length: int | None, limit: int) -> TooLarge:
    """The refusal of a body over the limit. `length` is None if it is unknown."""
    size = f"{length} bytes" if length is not None else f"more than {limit} bytes"
    return TooLarge(f"the upload has {size}; the limit is {limit} bytes (PYOCI_MAX_BODY)")


def _boundary(content_type: str) -> bytes:
    media_type, options = parse_options_header(content_type)
    if media_type != "multipart/form-data":
        raise InvalidRequest(
            f"{media_type[:100]!a} is not an upload form's type; expected multipart/form-data"
        )
    boundary = options.get("boundary", "")
    if not boundary:
        raise InvalidRequest("the form's type names no boundary; expected multipart/form-data; boundary=...")
    if len(boundary) > BOUNDARY_LIMIT or not boundary.isascii():
        raise InvalidRequest("the form's boundary can't be used; expected at most 70 ASCII characters")
    return boundary.encode("ascii")


def _check(part: Field | File) -> None:
    """Refuse a part with malformed headers, for example because of a line break in a name."""
    if not all(_HEADER_NAME.fullmatch(name) for name, _ in part.headers):
        raise InvalidRequest("the headers of a part can't be parsed; expected no line break inside one")
    if not part.name:
        raise InvalidRequest('a part has no name; expected Content-Disposition: form-data; name="..."')
