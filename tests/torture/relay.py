"""A relay of raw sockets between PyOCI and its registry, which can disturb each exchange like a network. It
parses only as much of HTTP as it needs to find the ends of messages.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_TIMEOUT = 60.0  # seconds
_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # l_onoff 1, l_linger 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that came to the relay. `number` counts from 0."""

    number: int
    line: str  # method and path, without the query
    message: bytes = field(repr=False)


class Way:
    """The possible actions of a fault in one exchange: ask the registry, and answer."""

    def __init__(
        self, client: socket.socket, registry: str, exchange: Exchange, hold: threading.Event
    ) -> None:
        self._client, self._registry, self._hold = client, registry, hold
        self.exchange = exchange

    def ask(self, message: bytes = b"") -> bytes:
        """The registry's whole answer to the request, or to another `message`."""
        host, _, port = self._registry.partition(":")
        with socket.create_connection((host, int(port)), _TIMEOUT) as upstream:
            upstream.sendall(message or self.exchange.message)
            is_head = self.exchange.line.startswith("HEAD ") and not message
            return _message(upstream, has_body=not is_head)

    def answer(self, message: bytes) -> None:
        self._client.sendall(message)

    def reset(self) -> None:
        """End the connection with a reset."""
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._client.close()

    def stall(self) -> None:
        """Send nothing until the relay ends or the client disconnects."""
        self._client.settimeout(0.05)
        while not self._hold.is_set():
            try:
                if not self._client.recv(1):
                    break
            except TimeoutError:
                continue
        self._client.close()


Fault = Callable[[Way], None]


def pass_on(way: Way) -> None:
    """No fault."""
    way.answer(way.ask())


def reset_before(way: Way) -> None:
    """The request doesn't reach the registry."""
    way.reset()


def reset_after(way: Way) -> None:
    """The registry gets the request, and the answer is lost."""
    way.ask()
    way.reset()


def stall_before(way: Way) -> None:
    way.stall()


def stall_after(way: Way) -> None:
    way.ask()
    way.stall()


def truncate(way: Way) -> None:
    """Half of the answer, then the connection is closed."""
    answer = way.ask()
    way.answer(answer[: len(answer) // 2])
    way.reset()


def duplicate(way: Way) -> None:
    """The registry gets the request twice; the second answer is passed on."""
    way.ask()
    way.answer(way.ask())


def delay(way: Way) -> None:
    time.sleep(0.3)
    pass_on(way)


def status(number: int, *headers: str) -> Fault:
    """A proxy answers instead of the registry."""

    def answer(way: Way) -> None:
        body = b"<html>busy</html>"
        lines = [
            f"HTTP/1.1 {number} Busy",
            "Content-Type: text/html",
            f"Content-Length: {len(body)}",
            *headers,
        ]
        if way.exchange.line.startswith("HEAD"):
            body = b""
        way.answer("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return answer


FAULTS: dict[str, Fault] = {
    "reset before": reset_before,
    "reset after": reset_after,
    "stall before": stall_before,
    "stall after": stall_after,
    "truncate": truncate,
    "duplicate": duplicate,
    "delay": delay,
    "429": status(429, "Retry-After: 1"),
    "429 for long": status(429, "Retry-After: 60"),
    "500": status(500),
    "502": status(502),
    "503": status(503),
}


class Relay:
    """A running relay: its URL, what has passed since `reset`, and its fault. `choose` returns the fault for
    an exchange, or None.
    """

    def __init__(self, url: str, target: str) -> None:
        self.url = url
        self._target = target
        self._lock = threading.Lock()
        self._hold = threading.Event()
        self.lines: list[str] = []
        self.choose: Callable[[Exchange], Fault | None] = lambda _exchange: None

    def reset(self, choose: Callable[[Exchange], Fault | None] = lambda _exchange: None) -> None:
        """Count from zero, and use other faults from now on. Stalled exchanges end."""
        with self._lock:
            self._hold.set()
            self._hold = threading.Event()
            self.lines, self.choose = [], choose

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        with client, suppress(OSError, ValueError):
            client.settimeout(_TIMEOUT)
            while message := _message(client, has_body=True):
                method, path, _ = message.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                line = f"{method} {urlsplit(path).path}"
                with self._lock:
                    exchange = Exchange(len(self.lines), line, message)
                    self.lines.append(line)
                    fault, hold = self.choose(exchange) or pass_on, self._hold
                fault(Way(client, self._target, exchange, hold))


@contextmanager
def relay_to(registry: str) -> Iterator[Relay]:
    """Listen on a free port of this machine, and pass on to the registry at that URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        relay = Relay(f"http://127.0.0.1:{listener.getsockname()[1]}", urlsplit(registry).netloc)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=relay.serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield relay
        finally:
            relay.reset()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _message(sock: socket.socket, *, has_body: bool) -> bytes:
    """One HTTP message, whole: by its Content-Length or its chunks. b"" if the other side has gone."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(65536)
        if not piece:
            return b""
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    if not has_body or re.match(rb"HTTP/1\.[01] (1..|204|304)", head):
        return head
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    chunked = re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head)
    if length is None and chunked is None:
        return head + body
    while len(body) < int(length[1]) if length else not body.endswith(b"0\r\n\r\n"):
        piece = sock.recv(65536)
        if not piece:
            break
        body += piece
    return head + body
