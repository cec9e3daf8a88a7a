"""Reading a request's body from the client, piece by piece, within a limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import get_input_stream

from pyoci.embedded.errors import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PIECE = 1024 * 1024  # bytes; smaller ones cost more processor time


def pieces(environ: WSGIEnvironment, limit: int) -> Iterator[bytes]:
    """The body in pieces. Raises Refusal where it ends early or passes `limit` bytes."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length and not length.isdecimal():
        raise Refusal("SIZE_INVALID", "the Content-Length is no number")
    if length and int(length) > limit:
        raise _too_large(limit)
    stream = get_input_stream(environ)
    taken = 0
    while piece := _read(stream):
        taken += len(piece)
        if taken > limit:
            raise _too_large(limit)
        yield piece


def document(environ: WSGIEnvironment, limit: int) -> bytes:
    """A body that is small enough for the memory."""
    return b"".join(pieces(environ, limit))


def _read(stream: object) -> bytes:
    """The client's failures must not be taken for the disk's, which are OSErrors too."""
    try:
        piece: bytes = stream.read(_PIECE)  # type: ignore[attr-defined]
    except (ClientDisconnected, OSError) as error:
        raise Refusal("SIZE_INVALID", "the request's body ended early; nothing was stored") from error
    return piece


def _too_large(limit: int) -> Refusal:
    return Refusal(
        "SIZE_INVALID", f"the content has more than {limit} bytes, the most that is taken here", status=413
    )
