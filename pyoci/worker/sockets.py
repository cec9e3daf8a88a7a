"""ClientSocket: a client's connection, with what has arrived of its request, what is still to be sent of its
answer, and its pace.
"""

from __future__ import annotations

import errno
import html
import os
import re
import select
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any

from pyoci.worker.pace import Pace
from pyoci.worker.spool import Spool

HEAD_LIMIT = 64 * 1024  # bytes
HEAD_END = b"\r\n\r\n"
_UNSENT = 256 * 1024  # bytes of an answer that the kernel buffers for a slow reader
_AT_ONCE = 64  # pieces in one call
_PIECE = 8 * 1024  # bytes of a head that are read at once; most heads are shorter
# A client has to take something in this time, or to send something if no other timeout is set.
STALL_SECONDS = 60


class ClientSocket(socket.socket):
    """A client's connection. The worker's loop and one thread at a time use it in turns.

    `recv` returns first what was gathered, then what is in the `spool`, then what arrives. Sending never
    waits: bytes that the client doesn't take at once stay in `outgoing` until `flush` or `send_waiting`.
    While `is_corked` is set, all bytes stay there, so that an answer's head and body are sent together.

    The socket itself stays blocking, and `settimeout` applies only to `recv`. Changing the mode is a system
    call, and a thread loses the interpreter's lock at each.
    """

    def __init__(self, accepted: socket.socket, seconds: int = STALL_SECONDS) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        # The kernel's timeout starts again whenever bytes arrive; Python's is for the whole call.
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and self.family != socket.AF_UNIX:
            # Limits the bytes that aren't sent yet. Those in flight may be as many as the connection carries.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        self.gathered = bytearray()
        self.spool: Spool | None = None
        self.outgoing: deque[memoryview] = deque()
        self.is_corked = False
        self.sent = 0  # bytes
        self._answering = threading.Lock()
        self._seconds: float | None = None
        self.begin_request()

    def begin_request(self) -> None:
        """Forget what is known of the last request. Bytes that arrived after it are kept."""
        self.pace = Pace()
        self.limit_passed: int | None = None  # the limit of a body that is over it
        self.continued = False  # whether "100 Continue" has been sent
        self.unread = False  # whether a part of the body will not be read
        self.is_answered = False  # whether a part of the answer was given to this socket
        self.was_cut = False
        self.was_probed = False  # whether it was sent an interim answer, to see if the client is there
        if self.spool is not None:
            while piece := self.spool.take(HEAD_LIMIT):
                self.gathered += piece
            self.spool.close()
            self.spool = None

    def gather(self, size: int = _PIECE) -> int:
        """Read what has arrived into `gathered`. Returns the count of bytes, 0 at the end. Raises OSError."""
        piece = super().recv(size, socket.MSG_DONTWAIT)
        try:
            self.gathered += piece
        except MemoryError:  # the piece is lost, so the request can't go on
            raise OSError(errno.ENOMEM, "no memory left for a head") from None
        return len(piece)

    def receive(self, size: int) -> bytes:
        """Read what has arrived, without what was gathered before; b"" at the end. Raises OSError."""
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
            # gunicorn logs no traceback for a reset.
            raise ConnectionResetError(errno.ECONNRESET, "the client sends nothing any more") from exc
        finally:
            self.pace.moved(count)
        return piece

    def setblocking(self, flag: bool, /) -> None:
        """Only removes the timeout: the mode doesn't change."""
        self._seconds = None

    def settimeout(self, value: float | None, /) -> None:
        self._seconds = value

    def gettimeout(self) -> float | None:
        return self._seconds

    def send(self, data: Any, flags: int = 0, /) -> int:
        return super().send(data, flags | socket.MSG_DONTWAIT)

    def send_interim(self, answer: bytes) -> None:
        """Send an interim answer (RFC 9110, section 15.2) from the loop while a thread works on the answer;
        nothing if that has begun. Raises OSError.
        """
        with self._answering:
            if not self.is_answered:
                self.send(answer)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        with self._answering:
            self.is_answered = True
        self.outgoing.append(memoryview(data))
        if not self.is_corked:
            self.send_waiting()

    def send_waiting(self) -> bool:
        """Send as much of `outgoing` as the client takes at once. Returns whether it is empty now. Raises
        OSError.
        """
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
        """Send `outgoing`, waiting at most `seconds` each time that the client takes nothing. Returns whether
        it is empty now. Raises OSError.
        """
        while not self.send_waiting():
            if not self.is_writable(seconds):
                return False
        return True

    def is_writable(self, seconds: float) -> bool:
        """Whether the client takes something within `seconds`."""
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def send_file(self, file: int, offset: int, count: int) -> int:
        """Send as much of a part of a file as the client takes at once. Returns the number of bytes. Raises
        OSError.
        """
        super().setblocking(False)
        try:
            return os.sendfile(self.fileno(), file, offset, count)
        except BlockingIOError:
            return 0
        finally:
            super().setblocking(True)

    def cut(self, how: int) -> None:
        """Shut the connection down in one direction. A thread that waits for the client then continues."""
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
    """A socket that sends an answer of HTML as plain text."""

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
