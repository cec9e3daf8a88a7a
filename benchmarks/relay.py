"""A relay in front of a registry, in its own process: it passes bytes on, delayed or slowed if configured,
and counts requests. It reads only the first line of each request, to take little of the shared cores. Each
request begins in a new piece: pipelined requests would be counted wrong, but no client of a registry sends
them.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.environments import CHECKOUT

_TIMEOUT = 30.0  # seconds
_PIECE = 64 * 1024
_WINDOW = 4 * 1024 * 1024  # bytes on their way in one direction; a sender waits from there on
_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) ([^ ?]+)[^ ]* HTTP/1\.1\r\n")
# What a request asks for, in the order in which it is looked at.
_KINDS = {
    "tags": re.compile(r"^GET /v2/.+/tags/list$"),
    "documents": re.compile(r"^(?:GET|HEAD) /v2/.+/manifests/[^/]+$"),
    "blobs": re.compile(r"^(?:GET|HEAD) /v2/.+/blobs/[^/]+$"),
}


class Relay:
    """A running relay: its URL, and what has passed since `reset`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{self._told()}"

    def counts(self) -> dict[str, int]:
        """The number of requests by their kind."""
        self._tell("counts")
        found: dict[str, int] = json.loads(self._told())
        return found

    def repeated(self) -> int:
        """How many requests asked for a document or blob that had been asked for."""
        self._tell("repeated")
        return int(self._told())

    def reset(self) -> None:
        self._tell("reset")
        self._told()

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def _told(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def relay_to(registry: str, *, delay: float = 0.0, rate: float = 0.0, redirect: str = "") -> Iterator[Relay]:
    """Listen on a free port of this machine, and pass on to the registry at that URL. `delay`: seconds that
    are added to each round trip, half of them in each direction. `rate`: bytes a second in each direction,
    for all connections together; 0 is no limit. `redirect`: where a GET of a blob is redirected.
    """
    target = urlsplit(registry).netloc
    command = [sys.executable, "-m", "benchmarks.relay", target, str(delay), str(rate), redirect]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as process:
        try:
            yield Relay(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # that ends it
            process.wait(_TIMEOUT)


@dataclass(slots=True)
class _Line:
    """One direction of the connection: the delay of its bytes, their rate, and when it is free again."""

    delay: float
    rate: float
    free: float = 0.0

    def due(self, size: int) -> float:
        """When the last of `size` bytes arrives that are sent now."""
        now = time.monotonic()
        if self.rate:
            self.free = max(self.free, now) + size / self.rate
        return max(now, self.free) + self.delay


@dataclass(slots=True, eq=False)
class _End:
    """One socket, and the bytes that are to be sent through it; b"" means that the other side has closed."""

    socket: socket.socket
    line: _Line
    faces_client: bool
    leaving: deque[tuple[float, bytes]] = field(default_factory=deque)
    held: int = 0
    blocked: bool = False  # whether the socket takes no more for now
    reads: bool = True
    other: _End = field(init=False)

    def take(self, data: bytes) -> float:
        """Queue bytes to be sent when they are due; returns that time."""
        due = self.line.due(len(data))
        self.leaving.append((due, data))
        self.held += len(data)
        return due

    def send(self) -> bool:
        """Send what is due. Returns whether that was everything from the other side."""
        self.blocked = False
        while self.leaving and self.leaving[0][0] <= time.monotonic():
            due, data = self.leaving.popleft()
            if not data:
                self.socket.shutdown(socket.SHUT_WR)
                return True
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            self.held -= sent
            if sent < len(data):
                self.leaving.appendleft((due, data[sent:]))
                self.blocked = True
                break
        return False

    def events(self) -> int:
        reading = selectors.EVENT_READ if self.reads and self.other.held < _WINDOW else 0
        return reading | (selectors.EVENT_WRITE if self.blocked else 0)


class _Loop:
    """The relay's process: one thread for all connections."""

    def __init__(self, target: str, delay: float, rate: float, redirect: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._redirect = redirect
        self._there, self._back = _Line(delay / 2, rate), _Line(delay / 2, rate)
        self._counts: Counter[str] = Counter()
        self._paths: Counter[str] = Counter()  # of documents and blobs
        self._due: list[tuple[float, int, _End]] = []
        self._numbers = itertools.count()
        # Not epoll: that rounds each wait up to a millisecond.
        self._selector = selectors.SelectSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def run(self) -> None:
        """Serve until standard input ends."""
        print(self._listener.getsockname()[1], flush=True)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ, "commands")
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, events in self._selector.select(wait):
                if key.data == "commands":
                    if not self._obey(sys.stdin.readline().strip()):
                        return
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._serve(key.data, events)
            while self._due and self._due[0][0] <= time.monotonic():
                self._sent(heapq.heappop(self._due)[2])

    def _obey(self, command: str) -> bool:
        if command == "counts":
            print(json.dumps(self._counts), flush=True)
        elif command == "repeated":
            print(self._paths.total() - len(self._paths), flush=True)
        elif command == "reset":
            self._counts.clear()
            self._paths.clear()
            print(flush=True)
        return bool(command)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        registry = socket.create_connection(self._target, _TIMEOUT)
        ends = _End(client, self._back, faces_client=True), _End(registry, self._there, faces_client=False)
        ends[0].other, ends[1].other = ends[1], ends[0]
        for end in ends:
            end.socket.setblocking(False)
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _serve(self, end: _End, events: int) -> None:
        if end.socket.fileno() < 0:
            return
        if events & selectors.EVENT_WRITE:
            self._sent(end)
        if events & selectors.EVENT_READ and end.socket.fileno() >= 0:
            self._read(end)

    def _read(self, end: _End) -> None:
        try:
            data = end.socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._close(end)
            return
        end.reads = bool(data)
        answer = self._noted(data) if end.faces_client else None
        to = end if answer else end.other
        due = to.take(answer or data)
        heapq.heappush(self._due, (due, next(self._numbers), to))
        self._watch(end)

    def _noted(self, data: bytes) -> bytes | None:
        """Count a request; returns the relay's own answer to it, if any."""
        found = _REQUEST.match(data)
        if found is None:
            return None
        method, path = found[1].decode(), found[2].decode()
        request = f"{method} {path}"
        kind = next((name for name, pattern in _KINDS.items() if pattern.match(request)), request)
        self._counts[kind] += 1
        if kind in {"documents", "blobs"}:
            self._paths[path] += 1
        if self._redirect and kind == "blobs" and method == "GET":
            location = f"{self._redirect}{path}"
            return (
                f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            ).encode()
        return None

    def _sent(self, end: _End) -> None:
        if end.socket.fileno() < 0:
            return
        try:
            over = end.send() and not end.reads
        except OSError:
            over = True
        if over:
            self._close(end)
            return
        self._watch(end)
        self._watch(end.other)

    def _watch(self, end: _End) -> None:
        """Register the events that an end is waiting for."""
        if end.socket.fileno() < 0:
            return
        events = end.events()
        known = end.socket in self._selector.get_map()
        if events and known:
            self._selector.modify(end.socket, events, end)
        elif events:
            self._selector.register(end.socket, events, end)
        elif known:
            self._selector.unregister(end.socket)

    def _close(self, end: _End) -> None:
        for side in (end, end.other):
            if side.socket.fileno() >= 0:
                if side.socket in self._selector.get_map():
                    self._selector.unregister(side.socket)
                side.socket.close()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("delay", type=float)
    parser.add_argument("rate", type=float)
    parser.add_argument("redirect")
    chosen = parser.parse_args()
    _Loop(chosen.target, chosen.delay, chosen.rate, chosen.redirect).run()


if __name__ == "__main__":
    _main()
