"""Hundreds of clients that send, read or stay silent as they like, and come back when they are cut."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.live.servers import Server
from tests.live.sockets import make_head
from tests.waiting import until

LIMIT = 60  # seconds until all are connected, or have their answer
_PAUSE = 0.2  # seconds between two turns
_FORM = "Content-Type: multipart/form-data; boundary=b"
_WINDOW = 4096  # bytes that the kernel takes in for a slow reader


@dataclass(frozen=True, slots=True)
class Kind:
    """What each client does: it sends `opening`, and then in each turn `drip`, and reads so many bytes. One
    that `is_answered` counts when its answer has begun.
    """

    opening: bytes
    drip: bytes = b""
    reads: int = 0
    is_answered: bool = False


def slow_kinds(path: str, file: str, project: str = "hello-world") -> dict[str, Kind]:
    """The kinds of slow clients of the index at `path`, in which `file` of `project` can be downloaded."""
    post = f"POST {path} HTTP/1.1"
    return {
        "bodies": Kind(make_head(post, _FORM, "Content-Length: 50000000") + b"--b", b"x"),
        "chunked bodies": Kind(make_head(post, _FORM, "Transfer-Encoding: chunked") + b"ffff\r\n--b", b"x"),
        "bodies that are expected": Kind(
            make_head(post, _FORM, "Content-Length: 50000000", "Expect: 100-continue"), b"x", 1000
        ),
        "bodies of a page": Kind(make_head(f"GET {path}{project}/ HTTP/1.1", "Content-Length: 9000"), b"x"),
        "bodies of a probe": Kind(make_head("GET /health HTTP/1.1", "Content-Length: 1000"), b"x"),
        "yanks": Kind(make_head(f"PATCH {path}{project}/1.0 HTTP/1.1", "Content-Length: 60000"), b"x"),
        "readers": Kind(make_head(f"GET {path}{project}/{file} HTTP/1.1"), reads=500, is_answered=True),
        "readers that stop": Kind(make_head(f"GET {path}{project}/{file} HTTP/1.1"), is_answered=True),
    }


class Attack:
    """So many clients of one kind, half of them from an address of their own. They run in the block."""

    def __init__(self, url: str, kind: Kind, count: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._kind, self._count = kind, count
        self._clients: list[_Client] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        for number in range(self._count):
            source = f"127.1.{number // 250}.{number % 250 + 1}" if number % 2 else "127.0.0.1"
            self._clients.append(_Client(self._address, source, self._kind))
        self._thread.start()
        try:
            until(lambda: self.holding == self._count, f"{self._count} slow clients", seconds=LIMIT)
        except AssertionError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    @property
    def holding(self) -> int:
        """How many are connected, and have begun to be answered where their kind is."""
        return sum(client.is_holding for client in self._clients)

    @property
    def returns(self) -> int:
        """How often one has come back."""
        return sum(client.returns for client in self._clients)

    def _run(self) -> None:
        pause = _PAUSE / max(self._count, 1)  # one after the other, for the sake of who measures beside this
        for client in itertools.cycle(self._clients):
            if self._over.wait(pause):
                return
            client.take_turn()


class _Client:
    def __init__(self, address: tuple[str, int], source: str, kind: Kind) -> None:
        self._address, self._source, self._kind = address, source, kind
        self.is_holding = False
        self.returns = 0
        self._connect()

    def take_turn(self) -> None:
        """Send and read a little; come back at once where the server has ended this."""
        try:
            if self._kind.drip:
                self._socket.send(self._kind.drip)
            is_open = self._read()
        except BlockingIOError:
            is_open = True
        except OSError:
            is_open = False
        if not is_open:
            self.close()
            self.returns += 1
            self._connect()

    def close(self) -> None:
        self._socket.close()
        self.is_holding = False

    def _connect(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        self._socket.settimeout(LIMIT)
        self._socket.bind((self._source, 0))
        self._socket.connect(self._address)
        with suppress(OSError):  # the next turn will see it
            self._socket.sendall(self._kind.opening)
        self._socket.setblocking(False)
        self.is_holding = not self._kind.is_answered

    def _read(self) -> bool:
        """Whether the connection is still open."""
        if self._kind.reads:
            piece = self._socket.recv(self._kind.reads)
        else:
            piece = self._socket.recv(1, socket.MSG_PEEK)
        self.is_holding = bool(piece)
        return self.is_holding


@contextlib.contextmanager
def attacked(server: Server, kind: Kind, count: int) -> Iterator[Attack]:
    """An attack for the length of the block; all of its clients are still there at its end."""
    with Attack(server.url, kind, count) as attack:
        yield attack
        until(lambda: attack.holding == count, "all slow clients to be there still", seconds=LIMIT)
