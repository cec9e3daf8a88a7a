"""What goes out and what comes back: Call, Body, Answer, Stream. Nothing of requests shows in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from pyoci.errors import InvalidRequest
from pyoci.net.addresses import Reach

SEND_PIECE = 256 * 1024  # 64 KiB pieces cost three times the processor time
READ_PIECE = 1024 * 1024
ERROR_LIMIT = 64 * 1024  # bytes of a refusal's body that are read


class Body(Protocol):
    """The bytes of a request's body, in pieces. Its length is known before the first of them, so the request
    has a Content-Length (Google's registry answers 411 without).
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class BodyFailed(Exception):
    """Where the bytes of a body come from has failed, and not the connection that they go to.

    No OSError: urllib3 would take one for the connection's, and wait for an answer to half a request.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__("the body's source has failed")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class FileBody:
    """A request body read from a seekable file, from its start, each time it is iterated."""

    file: BinaryIO = field(repr=False)
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(0)
        left = self.size
        while left and (piece := self.file.read(min(SEND_PIECE, left))):
            left -= len(piece)
            yield piece
        if left:
            # The registry would wait for the rest.
            raise InvalidRequest(f"the file ended {left} bytes before its size of {self.size}")


@dataclass(frozen=True, slots=True)
class PacedBody:
    """A body on its way: who watches the call is told when its source is waited for, and when the last byte
    has gone. Iteration raises BodyFailed, whatever the source raises.
    """

    body: Body
    waiting: Callable[[], AbstractContextManager[None]] = field(repr=False)
    ended: Callable[[], None] = field(repr=False)

    def __len__(self) -> int:
        return len(self.body)

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self.body)
        while (piece := self._next(pieces)) is not None:
            yield piece
        self.ended()

    def _next(self, pieces: Iterator[bytes]) -> bytes | None:
        with self.waiting():
            try:
                return next(pieces, None)
            except Exception as exc:
                raise BodyFailed(exc) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request. The URL may carry a signed query, the headers credentials: neither is in the repr."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    body: bytes | Body = field(repr=False, default=b"")
    reach: Reach = Reach.PUBLIC
    repeatable: bool = True  # may be sent again, some seconds later, with the same bytes
    name: str = ""  # what messages call the host; empty: by its own name
    operation: str = ""  # what it is about, in one word of few (`manifest`), for who counts calls

    @property
    def label(self) -> str:
        """What callers may know the host by: no internal address reaches them."""
        return self.name or self.host

    @property
    def host(self) -> str:
        """The URL's host and port, without credentials."""
        netloc = urlsplit(self.url).netloc.rpartition("@")[2]
        return (netloc or "the registry").encode("ascii", "replace").decode()

    @property
    def origin(self) -> str:
        return f"{urlsplit(self.url).scheme}://{self.host}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Stream:
    """A response whose body is still to come. Iterate to the end or close."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    pieces: Callable[[int], Iterator[bytes]] = field(
        repr=False
    )  # the body in pieces of at most so many bytes
    head: Callable[[int], bytes] = field(repr=False)  # the first so many bytes, for an error's text
    close: Callable[[], None] = field(repr=False)
