"""Hundreds of clients that send, read or stay silent slowly, and reconnect when they are cut."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.builders import make_wheel
from tests.live.servers import Server
from tests.live.sockets import make_head
from tests.waiting import until

LIMIT = 60  # seconds until all are connected, or have their answer
_PAUSE = 0.2  # seconds between two turns of a client
_TOGETHER = 5  # clients whose turns follow each other without a wait, which costs more than a turn
_FORM = "Content-Type: multipart/form-data; boundary=b"
NUMBER = "@NUMBER@"
_ALL = 65536  # bytes; whatever has come
_SOON = 5  # turns
_numbers = itertools.count()
_WINDOW = 4096  # bytes that the kernel takes in for a slow reader


@dataclass(frozen=True, slots=True)
class Kind:
    """The behaviour of a client: it sends `opening`, and in each turn sends `drip` and reads a number of
    bytes. A client that `is_answered` counts when its answer has begun.
    """

    opening: bytes
    drip: bytes = b""
    reads: int = 0
    is_answered: bool = False
    leaves: int | None = None


def slow_kinds(path: str, file: str, project: str = "hello-world") -> dict[str, Kind]:
    """The kinds of slow clients for the index at `path`, from which `file` of `project` can be downloaded."""
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


def registry_kinds(names: Sequence[str]) -> dict[str, Kind]:
    """The kinds of clients that have PyOCI ask the hostile registry, which it knows by these names."""
    large, manifests = (make_page_request(names[0], kind) for kind in ("large", "children"))
    kinds = {
        "large documents": Kind(large, reads=_ALL),
        "large documents, left": Kind(large, reads=_ALL, leaves=_SOON),
        "manifests without end": Kind(manifests, reads=_ALL),
        "manifests without end, left": Kind(manifests, reads=_ALL, leaves=_SOON),
        "uploads that hang, left": Kind(make_upload_request(names[0]), reads=_ALL, leaves=_SOON),
    }
    slow = {f"slow registry {name}": Kind(make_page_request(name, "slow"), reads=_ALL) for name in names}
    return kinds | slow


def upstream_kinds(path: str) -> dict[str, Kind]:
    """The kinds of clients that have PyOCI ask the hostile package index; the index at `path` has nothing."""
    heads = {
        kind: make_head(f"GET {path}{kind}-{NUMBER}/ HTTP/1.1", "Connection: close")
        for kind in ("bomb", "values", "links")
    }
    return {f"upstream {kind}": Kind(head, reads=_ALL) for kind, head in heads.items()}


def reader_kinds(path: str) -> dict[str, Kind]:
    """Callers who may only read, and try to yank a version of the index at `path`."""
    token = b64encode(b"reader:password").decode()
    body = '{"yanked": true}'
    head = make_head(
        f"PATCH {path}hello-world/1.0 HTTP/1.1",
        f"Authorization: Basic {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return {"readers that write": Kind(head + body.encode(), reads=_ALL)}


def make_page_request(registry: str, kind: str) -> bytes:
    return make_head(f"GET /{registry}/{kind}/n{NUMBER}/hello-world/ HTTP/1.1", "Connection: close")


def make_upload_request(registry: str) -> bytes:
    filename, content = make_wheel()
    fields = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    parts = [f'form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f'form-data; name="content"; filename="{filename}"\r\n\r\n')
    body = "".join(f"--b\r\nContent-Disposition: {part}\r\n" for part in parts)[:-2].encode()
    body += content + b"\r\n--b--\r\n"
    line = f"POST /{registry}/slow/n{NUMBER}/ HTTP/1.1"
    return make_head(line, _FORM, f"Content-Length: {len(body)}", "Connection: close") + body


class Attack:
    """A number of clients of one kind, half of them from another address. They run in the block."""

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
        """How many are connected, and have the beginning of an answer if their kind requires that."""
        return sum(client.is_holding for client in self._clients)

    @property
    def returns(self) -> int:
        """How often a client has reconnected."""
        return sum(client.returns for client in self._clients)

    def _run(self) -> None:
        together = min(self._count, _TOGETHER)  # few at a time, for the sake of who measures beside this
        pause = _PAUSE * together / max(self._count, 1)
        turns = itertools.cycle(self._clients)
        while not self._over.wait(pause):
            for client in itertools.islice(turns, together):
                client.take_turn()


class _Client:
    def __init__(self, address: tuple[str, int], source: str, kind: Kind) -> None:
        self._address, self._source, self._kind = address, source, kind
        self._number = next(_numbers)
        self.is_holding = False
        self.returns = self._turns = 0
        self._connect()

    def take_turn(self) -> None:
        """Send and read a little. Reconnect at once if the server has closed the connection."""
        self._turns += 1
        try:
            if self._kind.drip:
                self._socket.send(self._kind.drip)
            is_open = self._read()
        except BlockingIOError:
            is_open = True
        except OSError:
            is_open = False
        if self._kind.leaves is not None and self._turns >= self._kind.leaves:
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
        number, self._turns = f"{self._number}-{self.returns}", 0
        with suppress(OSError):  # the next turn will see it
            self._socket.sendall(self._kind.opening.replace(NUMBER.encode(), number.encode()))
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
    """An attack for the time of the block. All of its clients are still there at the end."""
    with Attack(server.url, kind, count) as attack:
        yield attack
        until(lambda: attack.holding == count, "all slow clients to be there still", seconds=LIMIT)
