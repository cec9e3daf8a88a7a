"""Messages: Call and Body are sent, Answer and Stream come back. Users need not know the requests library."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from pyoci.errors import InvalidRequest
from pyoci.net.addresses import Reach
from pyoci.request_scope import Host

SEND_PIECE = 256 * 1024  # bytes; pieces of 64 KiB cost three times the processor time
READ_PIECE = 1024 * 1024  # bytes
ERROR_LIMIT = 64 * 1024  # bytes of a refusal's body that are read


class Body(Protocol):
    """A request's body in pieces. Its length is known before the first piece, because the request needs a
    Content-Length: without one, Google's registry answers 411.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class BodyFailed(Exception):
    """The source of a body has failed, not the connection that it is sent over.

    This is not an OSError: urllib3 would attribute that to the connection, and wait for an answer to a
    partial request.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__("the body's source has failed")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body read from a seekable file. Each iteration begins at the start of the file."""

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
            # Without an error, the registry would wait for the missing bytes.
            raise InvalidRequest(f"the file ended {left} bytes before its size of {self.size}")


@dataclass(frozen=True, slots=True)
class PacedBody:
    """A body whose source may be slow. `waiting` is entered around each read of the source, and `ended` is
    called after the last piece. Iteration raises BodyFailed for every exception of the source.
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
    """One HTTP request. The URL may contain a signature, the headers credentials: neither is in the repr."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    body: bytes | Body = field(repr=False, default=b"")
    reach: Reach = Reach.PUBLIC
    repeatable: bool = True  # whether it may be sent again after a failure
    name: str = ""  # of the host in messages; empty: the host itself
    operation: str = ""  # the kind of call (`manifest`), for telemetry

    @property
    def label(self) -> str:
        """The host's name in messages, which must not reveal internal addresses."""
        return self.name or self.host

    @property
    def host(self) -> str:
        """The URL's host and port, without credentials."""
        netloc = urlsplit(self.url).netloc.rpartition("@")[2]
        return (netloc or "the registry").encode("ascii", "replace").decode()

    @property
    def asked_host(self) -> Host | None:
        """The host that bulkheads count the call for; None for the registry in this process."""
        if self.reach is Reach.EMBEDDED:
            return None
        return Host(self.host, self.label, is_listed=self.reach is not Reach.PUBLIC)

    @property
    def origin(self) -> str:
        return f"{urlsplit(self.url).scheme}://{self.host}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response with its whole body. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Stream:
    """A response whose body is still to be read. Iterate over it to the end, or close it."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    # `pieces`: the body in pieces of at most the given size. `head`: its first bytes, for the text of an
    # error.
    pieces: Callable[[int], Generator[bytes]] = field(repr=False)
    head: Callable[[int], bytes] = field(repr=False)
    close: Callable[[], None] = field(repr=False)
