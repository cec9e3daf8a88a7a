"""A server with raw sockets: the test decides each byte that it sends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Connection:
    """One connection, as the server sees it. `number` counts from 1."""

    sock: socket.socket
    number: int
    closing: threading.Event

    def request(self) -> bytes:
        """The head of the next request; b"" if the client has gone. What follows it stays in the socket."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self._up_to_the_end_of(head)
            if not piece:
                return b""
            head += piece
        return head

    def _up_to_the_end_of(self, head: bytes) -> bytes:
        """Some bytes that follow `head`, and none that follow its end. TLS has no way to look ahead."""
        if isinstance(self.sock, ssl.SSLSocket):
            return self.sock.recv(1)
        seen = head + self.sock.recv(65536, socket.MSG_PEEK)
        end = seen.find(b"\r\n\r\n")
        return self.sock.recv((len(seen) if end < 0 else end + 4) - len(head))

    def body(self, head: bytes) -> bytes:
        """The body of the request with this head."""
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        received = b""
        while len(received) < length:
            piece = self.sock.recv(65536)
            if not piece:
                break
            received += piece
        return received

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.sock.sendall(piece)

    def trickle(self, data: bytes, pause: float = 0.02) -> None:
        """Send one byte at a time."""
        for byte in data:
            if self.closing.wait(pause):
                return
            self.sock.sendall(bytes([byte]))

    def flood(self, piece: bytes = b"x" * 65536) -> None:
        """Send without end."""
        while not self.closing.is_set():
            self.sock.sendall(piece)

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.sock.close()

    def hang(self, seconds: float = 600) -> None:
        """Say nothing until the server closes. By default longer than a test may take, so that only a client
        that gives up comes to its end.
        """
        self.closing.wait(seconds)


def after_request(reply: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """A handler that reads one request and then calls `reply`."""

    def handle(connection: Connection) -> None:
        connection.request()
        reply(connection)

    return handle


def answer(
    body: bytes = b"", status: str = "200 OK", *headers: str, length: int | None = None, kind: str = ""
) -> bytes:
    """An HTTP response as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def always(*pieces: bytes) -> Callable[[Connection], None]:
    """A handler that answers every request of a connection with the same bytes."""

    def handle(connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            connection.send(*pieces)

    return handle


@dataclass
class Server:
    """Listens on a free port of a loopback address. `handle` gets each connection, in a thread."""

    handle: Callable[[Connection], None]
    tls: ssl.SSLContext | None = None
    address: str = "127.0.0.1"
    connections: int = 0
    _closing: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Server:
        self._listener = socket.create_server((self.address, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, number: int) -> None:
        # A client that hangs up is what most of these tests are about.
        with contextlib.suppress(OSError):
            if self.tls is not None:
                sock.getpeername()  # wrap_socket leaves an open socket behind where the client has gone
                sock = self.tls.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            self.handle(Connection(sock, number, self._closing))
        sock.close()
