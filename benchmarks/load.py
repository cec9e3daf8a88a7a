"""Clients that request one page repeatedly: one thread with kept connections. http.client in threads would
measure itself, because on two cores the clients share them with the servers. Here a request takes some 20
microseconds of the client.
"""

from __future__ import annotations

import math
import re
import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

from benchmarks.results import Missed

TIMEOUT = 60.0  # seconds that one answer may take
_PIECE = 256 * 1024
_CHUNKED = -1
_LAST_CHUNK = b"0\r\n\r\n"
# What pip sends. Each server answers it as it answers pip.
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
_HEADERS = (
    "Accept-Encoding: gzip, deflate\r\nCache-Control: max-age=0\r\n"
    "Connection: keep-alive\r\nUser-Agent: pyoci-bench\r\n"
)


@dataclass(frozen=True, slots=True)
class Load:
    """The result of some clients; `latencies` are in seconds, one for each answer."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def median(self) -> float:
        return median(self.latencies)

    @property
    def slowest(self) -> float:
        """The 99th percentile."""
        ordered = sorted(self.latencies)
        return ordered[math.ceil(len(ordered) * 0.99) - 1]


def ask(
    address: tuple[str, int],
    path: str,
    *,
    clients: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
    patience: float = TIMEOUT,
) -> Load:
    """Let `clients` ask for `path` for some seconds, each as soon as it has its answer; with 0 seconds once.

    Raises Missed for any other status, and where no answer comes for `patience` seconds.
    """
    asked = {"Accept": ACCEPT} | dict(headers or {})
    more = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    request = f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n{_HEADERS}{more}\r\n".encode()
    waiting = [_Client(address, request, status) for _ in range(clients)]
    try:
        return _loop(waiting, seconds, patience)
    finally:
        for client in waiting:
            client.close()


def _loop(clients: list[_Client], seconds: float, patience: float) -> Load:
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        started = ended = time.perf_counter()
        for client in clients:
            awaited = client.ask()
            selector.register(client.socket, awaited, client)
        while selector.get_map():
            ready = selector.select(patience)
            if not ready:
                raise Missed(f"a page took more than {patience:.0f} seconds")
            for key, events in ready:
                asking: _Client = key.data
                if events & selectors.EVENT_WRITE:
                    asking.send()
                    selector.modify(asking.socket, selectors.EVENT_READ, asking)
                    continue
                if asking.lost():
                    selector.unregister(asking.socket)
                    awaited = asking.connect()
                    selector.register(asking.socket, awaited, asking)
                    continue
                if not asking.take():
                    continue
                ended = time.perf_counter()
                latencies.append(ended - asking.asked)
                selector.unregister(asking.socket)
                if ended - started < seconds:
                    awaited = asking.ask()
                    selector.register(asking.socket, awaited, asking)
        return Load(ended - started, tuple(latencies))


class _Client:
    """One connection with one request at a time. It connects again if the server has
    closed the connection.
    """

    def __init__(self, address: tuple[str, int], request: bytes, status: int) -> None:
        self._address = address
        self._request = request
        self._status = status
        self.socket = socket.socket()
        self.asked = 0.0
        self._head = b""
        self._left: int | None = None  # bytes of the body; None while the head is arriving
        self._tail = b""  # the last bytes of a chunked body
        self._connected = False
        self._kept = False  # whether the request went out on a connection that had carried others

    def ask(self) -> int:
        """Send the request, or connect first; returns the event to wait for. Connecting doesn't block: a
        server that handles one client at a time would then wait for the others.
        """
        self._head, self._left = b"", None
        self.asked = time.perf_counter()
        if self._connected:
            self._kept = True
            with suppress(OSError):  # lost, as it will turn out
                self.socket.sendall(self._request)
            return selectors.EVENT_READ
        return self.connect()

    def connect(self) -> int:
        """Begin a new connection; returns the event to wait for."""
        self._kept = False
        self.socket.close()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(self._address)
        return selectors.EVENT_WRITE

    def send(self) -> None:
        self._connected = True
        self.socket.sendall(self._request)

    def lost(self) -> bool:
        """Whether a kept connection was closed during the request because a worker ended. pip would send it
        again.
        """
        if not self._kept or self._head:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def take(self) -> bool:
        """Read what has arrived. Returns whether the answer is complete."""
        data = self.socket.recv(_PIECE)
        if not data:
            raise Missed("a server closed the connection before its answer was complete")
        if self._left is None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            self._left = self._length(head)
        if self._left == _CHUNKED:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
            return self._tail == _LAST_CHUNK
        self._left -= len(data)
        return self._left <= 0

    def close(self) -> None:
        self.socket.close()

    def _length(self, head: bytes) -> int:
        """The length of the body; _CHUNKED if its end has to be searched for."""
        protocol, status, *_ = head.split(b" ", 2)
        if int(status) != self._status:
            raise Missed(f"a page was answered with {head[:80]!r}; expected {self._status}")
        kept = re.search(rb"\r\nconnection: *keep-alive", head, re.IGNORECASE) is not None
        closes = re.search(rb"\r\nconnection: *close", head, re.IGNORECASE) is not None
        self._connected = not closes and (protocol != b"HTTP/1.0" or kept)
        self._tail = b""
        if self._status == 304:
            return 0
        if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
            return _CHUNKED
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if found is None:
            raise Missed("a page was answered without its length")
        return int(found[1])
