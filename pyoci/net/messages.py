"""What goes out and what comes back: Call, FileBody, Answer, Stream. Nothing of requests shows in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from pyoci.errors import InvalidRequest
from pyoci.net.addresses import Reach

SEND_PIECE = 256 * 1024  # 64 KiB pieces cost three times the processor time
READ_PIECE = 1024 * 1024
ERROR_LIMIT = 64 * 1024  # bytes of a refusal's body that are read


@dataclass(frozen=True, slots=True)
class FileBody:
    """A request body read from a seekable file, from its start, each time it is iterated.

    It has a length, so the request has a Content-Length (Google's registry answers 411 without).
    """

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
            # The registry would wait for the rest. No OSError: urllib3 would take one for its own.
            raise InvalidRequest(f"the file ended {left} bytes before its size of {self.size}")


@dataclass(frozen=True, slots=True)
class PacedBody:
    """A body that tells when bytes of it move, and when the last has gone."""

    body: FileBody
    moved: Callable[[], None] = field(repr=False)
    ended: Callable[[], None] = field(repr=False)

    def __len__(self) -> int:
        return self.body.size

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.body:
            self.moved()
            yield piece
        self.ended()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request. The URL may carry a signed query, the headers credentials: neither is in the repr."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    body: bytes | FileBody = field(repr=False, default=b"")
    reach: Reach = Reach.PUBLIC
    repeatable: bool = True  # may be sent again, some seconds later, with the same bytes
    name: str = ""  # what messages call the host; empty: by its own name


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
