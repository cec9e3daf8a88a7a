"""A client's socket: what has been gathered of its request, how long it may do nothing, and an answer of
gunicorn's own on it.
"""

from __future__ import annotations

import errno
import html
import re
import socket
import struct
from typing import Any

HEAD_LIMIT = 64 * 1024  # bytes
HEAD_END = b"\r\n\r\n"
_PIECE = 8 * 1024  # bytes that are taken at once; most heads are shorter
_STALL_SECONDS = 60  # in which a reader has to take something; bodies have a stricter rule of their own
_LINGER_LIMIT = 1024 * 1024  # bytes


class ClientSocket(socket.socket):
    """A client's connection: no wait on it is longer than `seconds` without progress. What has been gathered
    of a request is received first.
    """

    def __init__(self, accepted: socket.socket, seconds: int = _STALL_SECONDS) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        # The kernel's own timeouts start again when bytes move; Python's would be for all of them together.
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))
        self.gathered = bytearray()
        self.discarded = 0

    def gather(self) -> int:
        """Take what has come; how many bytes that was, 0 at the end. Raises OSError."""
        piece = super().recv(_PIECE)
        self.gathered += piece
        return len(piece)

    def discard(self) -> bool:
        """Throw away what has come; False once there is no more of it to expect. Raises OSError."""
        piece = super().recv(HEAD_LIMIT)
        self.discarded += len(piece)
        return bool(piece) and self.discarded < _LINGER_LIMIT

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if not self.gathered:
            try:
                return super().recv(size, flags)
            except BlockingIOError as exc:
                raise _gone("sends") from exc
        piece = bytes(self.gathered[:size])
        del self.gathered[:size]
        return piece

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        try:
            super().sendall(data, flags)
        except BlockingIOError as exc:
            raise _gone("takes") from exc


class AsText:
    """A socket whose next answer, a page of HTML, goes out as the text that stands on it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, answer: bytes) -> None:
        head, _, page = answer.partition(HEAD_END)
        status = head.partition(b"\r\n")[0]
        body = page.partition(b"<body>")[2] or status.partition(b" ")[2]
        text = b" ".join(html.unescape(re.sub(r"<[^>]*>", " ", body.decode("latin-1"))).encode().split())
        self._sock.sendall(
            b"%s\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text)
        )


def _gone(verb: str) -> ConnectionResetError:
    """gunicorn knows a reset as the client's doing, and logs no traceback."""
    return ConnectionResetError(errno.ECONNRESET, f"the client {verb} nothing any more")
