"""Relays of raw bytes, in front of PyOCI or its registry. They act after a number of bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.net.servers import Connection, Server

_PIECE = 65536

Turn = Callable[[Connection], bool]  # what happens at the mark; False: no byte is passed on after it


class Relay:
    """Passes bytes on to the server at `url`. When a request has more than `mark` bytes, `turn` is called,
    once each time that it is set.
    """

    def __init__(self, url: str, mark: int, turn: Turn | None = None) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 80)
        self.mark, self.turn = mark, turn
        self.turned = threading.Event()
        self.ended = threading.Event()  # the connection of that request has ended
        self._server = Server(self._handle)

    def __enter__(self) -> Relay:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    @property
    def url(self) -> str:
        return self._server.url

    def _handle(self, connection: Connection) -> None:
        with socket.create_connection(self._target) as server:
            request = _Request()
            back = threading.Thread(target=_answer, args=(server, connection.sock, request), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                self._forward(connection, server, request)
            _end(server)
            _end(connection.sock)
            if request.turned:
                self.ended.set()
            back.join(10)

    def _forward(self, connection: Connection, server: socket.socket, request: _Request) -> None:
        while data := connection.sock.recv(_PIECE):
            request.size += len(data)
            if request.size > self.mark and self.turn is not None:
                turn, self.turn, request.turned = self.turn, None, True
                self.turned.set()
                if not turn(connection):
                    return
            server.sendall(data)


@dataclass
class _Request:
    """The number of bytes of the present request, and whether it has reached the mark."""

    size: int = 0
    turned: bool = False


def go_on(_connection: Connection) -> bool:
    """Pass the bytes on; only `turned` is set."""
    return True


def close(connection: Connection) -> bool:
    """Close the connection without an answer."""
    connection.reset()
    return False


def say(reply: bytes) -> Turn:
    """Answer in the middle of the request, and read no more of it."""

    def turn(connection: Connection) -> bool:
        connection.send(reply)
        connection.hang(2)
        return False

    return turn


def wait_for(event: threading.Event, seconds: float = 30.0) -> Turn:
    """Pass nothing on until something has happened elsewhere."""
    return lambda _connection: event.wait(seconds)


def _answer(server: socket.socket, client: socket.socket, request: _Request) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(_PIECE):
            request.size = 0  # whatever follows an answer is another request
            client.sendall(data)
    _end(client)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
