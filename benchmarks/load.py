"""Clients that ask for one page again and again: one thread, sockets of its own, kept alive.

http.client in threads would measure itself: on two cores the clients share them with the servers. Here a
request costs some 20 microseconds on this side.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.results import Missed

TIMEOUT = 60.0  # seconds that one answer may take
_PIECE = 256 * 1024
# What pip sends. Each server answers it as it answers pip.
_HEADERS = (
    "Accept: application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1,"
    " text/html; q=0.01\r\nAccept-Encoding: gzip, deflate\r\nCache-Control: max-age=0\r\n"
    "Connection: keep-alive\r\nUser-Agent: pyoci-bench\r\n"
)


@dataclass(frozen=True, slots=True)
class Load:
    """What some clients got in one go; `latencies` in seconds, one an answer."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def median(self) -> float:
        return median(self.latencies)


def ask(address: tuple[str, int], path: str, *, clients: int, seconds: float) -> Load:
    """Let `clients` ask for `path` for some seconds, each as soon as it has its answer.

    Raises Missed for any answer but a 200 that tells its length.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n{_HEADERS}\r\n".encode()
    waiting = [_Client(address, request) for _ in range(clients)]
    try:
        return _loop(waiting, seconds)
    finally:
        for client in waiting:
            client.close()


def _loop(clients: list[_Client], seconds: float) -> Load:
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        started = ended = time.perf_counter()
        for client in clients:
            client.ask()
            selector.register(client.socket, selectors.EVENT_READ, client)
        while selector.get_map():
            ready = selector.select(TIMEOUT)
            if not ready:
                raise Missed(f"a page took more than {TIMEOUT:.0f} seconds")
            for key, _ in ready:
                asking: _Client = key.data
                if not asking.take():
                    continue
                ended = time.perf_counter()
                latencies.append(ended - asking.asked)
                selector.unregister(asking.socket)
                if ended - started < seconds:
                    asking.ask()
                    selector.register(asking.socket, selectors.EVENT_READ, asking)
        return Load(ended - started, tuple(latencies))


class _Client:
    """One connection, one request at a time; connects anew where the server closed."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address = address
        self._request = request
        self.socket = self._connected()
        self.asked = 0.0
        self._head = b""
        self._left: int | None = None  # bytes of the body; None while the head is arriving
        self._closes = False

    def ask(self) -> None:
        if self._closes:
            self.socket.close()
            self.socket = self._connected()
        self._head, self._left, self._closes = b"", None, False
        self.asked = time.perf_counter()
        self.socket.sendall(self._request)

    def take(self) -> bool:
        """Read what is there; whether the answer is complete."""
        data = self.socket.recv(_PIECE)
        if not data:
            raise Missed("a server closed the connection instead of answering")
        if self._left is None:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            self._left = self._length(head) - len(body)
        else:
            self._left -= len(data)
        return self._left <= 0

    def close(self) -> None:
        self.socket.close()

    def _length(self, head: bytes) -> int:
        status = head.partition(b"\r\n")[0]
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if not re.match(rb"HTTP/1\.1 200 ", status) or found is None:
            raise Missed(f"a page was answered with {status!r}; expected 200 and a Content-Length")
        self._closes = re.search(rb"\r\nconnection: *close", head, re.IGNORECASE) is not None
        return int(found[1])

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(self._address, TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
