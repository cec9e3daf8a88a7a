"""A client's socket: what has come of its request, what is still to be sent of an answer, and its pace."""

from __future__ import annotations

import errno
import html
import os
import re
import select
import socket
import struct
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any

from pyoci.worker.pace import Pace
from pyoci.worker.spool import Spool

HEAD_LIMIT = 64 * 1024  # bytes
HEAD_END = b"\r\n\r\n"
_UNSENT = 256 * 1024  # bytes of an answer that the kernel takes ahead of a slow reader
_AT_ONCE = 64  # pieces in one call
_PIECE = 8 * 1024  # bytes that are taken at once of a head; most are shorter
STALL_SECONDS = (
    60  # in which a client has to take something, or send something where nobody has set a timeout
)


class ClientSocket(socket.socket):
    """A client's connection. The worker's loop and one thread at a time use it in turns.

    Receiving gives what has been gathered first, then what waits in the `spool`, then what comes. Sending
    never waits: what the client doesn't take at once is `outgoing`, until `flush` or `send_waiting`. What is
    sent while `is_corked` is set waits for one of these, so that an answer's head and body go out together.

    The socket itself stays blocking, and `settimeout` applies to `recv` alone: each change of the mode would
    be a system call, and threads lose the interpreter's lock at each.
    """

    def __init__(self, accepted: socket.socket, seconds: int = STALL_SECONDS) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        # The kernel's own timeout starts again when bytes move; Python's would be for all of them together.
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and self.family != socket.AF_UNIX:
            # As much may be in flight as the connection carries, and no more than this waits behind it.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        self.gathered = bytearray()
        self.spool: Spool | None = None
        self.outgoing: deque[memoryview] = deque()
        self.is_corked = False
        self.sent = 0  # bytes
        self._seconds: float | None = None
        self.begin_request()

    def begin_request(self) -> None:
        """Forget what is known of the last request. What has come after it, stays."""
        self.pace = Pace()
        self.limit_passed: int | None = None  # the limit of a body that is over it
        self.continued = False  # whether "100 Continue" has been sent
        self.unread = False  # whether a part of the body will not be read
        self.was_cut = False
        if self.spool is not None:
            while piece := self.spool.take(HEAD_LIMIT):
                self.gathered += piece
            self.spool.close()
            self.spool = None

    def gather(self, size: int = _PIECE) -> int:
        """Take what has come; how many bytes that was, 0 at the end. Raises OSError."""
        piece = super().recv(size, socket.MSG_DONTWAIT)
        try:
            self.gathered += piece
        except MemoryError:  # a request with a gap would be another one
            raise OSError(errno.ENOMEM, "no memory left for a head") from None
        return len(piece)

    def receive(self, size: int) -> bytes:
        """What has come, past everything that was gathered; nothing at the end. Raises OSError."""
        return super().recv(size, socket.MSG_DONTWAIT)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.gathered:
            piece = bytes(self.gathered[:size])
            del self.gathered[:size]
            return piece
        if self.spool and (piece := self.spool.take(size)):
            return piece
        self.pace.wait()
        count = 0
        try:
            piece = self._receive_within(size, flags)
            count = len(piece)
        except BlockingIOError as exc:
            raise _gone("sends") from exc
        finally:
            self.pace.moved(count)
        return piece

    def setblocking(self, flag: bool, /) -> None:
        """Which calls wait is fixed; this only ends a timeout."""
        self._seconds = None

    def settimeout(self, value: float | None, /) -> None:
        self._seconds = value

    def gettimeout(self) -> float | None:
        return self._seconds

    def send(self, data: Any, flags: int = 0, /) -> int:
        return super().send(data, flags | socket.MSG_DONTWAIT)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self.outgoing.append(memoryview(data))
        if not self.is_corked:
            self.send_waiting()

    def send_waiting(self) -> bool:
        """Send what the client takes of `outgoing` at once; whether that is all of it. Raises OSError."""
        while self.outgoing:
            try:
                sent = super().sendmsg(islice(self.outgoing, _AT_ONCE), (), socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            self.sent += sent
            while self.outgoing and sent >= len(self.outgoing[0]):
                sent -= len(self.outgoing.popleft())
            if self.outgoing:
                self.outgoing[0] = self.outgoing[0][sent:]
        return True

    def flush(self, seconds: float) -> bool:
        """Send `outgoing`, and wait at most so many seconds between two bytes. Whether that was all of it.
        Raises OSError.
        """
        while not self.send_waiting():
            if not self.is_writable(seconds):
                return False
        return True

    def is_writable(self, seconds: float) -> bool:
        """Whether the client takes something within so many seconds."""
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def send_file(self, file: int, offset: int, count: int) -> int:
        """Send a part of a file, as much as the client takes at once; how many bytes. Raises OSError."""
        super().setblocking(False)
        try:
            return os.sendfile(self.fileno(), file, offset, count)
        except BlockingIOError:
            return 0
        finally:
            super().setblocking(True)

    def cut(self, how: int) -> None:
        """End the connection in that direction; whichever thread waits for the client goes on."""
        self.was_cut = True
        with suppress(OSError):  # the client may have gone already
            self.shutdown(how)

    def close(self) -> None:
        if self.spool is not None:
            self.spool.close()
        self.outgoing.clear()
        super().close()

    def _receive_within(self, size: int, flags: int) -> bytes:
        if self._seconds is None:
            return super().recv(size, flags)
        super().settimeout(self._seconds)
        try:
            return super().recv(size, flags)
        finally:
            super().settimeout(None)


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
