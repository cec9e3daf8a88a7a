"""Answers: what a thread sends, what waits for a slow reader, and how each answer ends."""

from __future__ import annotations

import contextvars
import socket
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from gunicorn import http  # type: ignore[import-untyped]
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http.wsgi import FileWrapper  # type: ignore[import-untyped]

from pyoci.worker.answers import _TURN_SECONDS, Answer, Readers, with_server_facts
from pyoci.worker.pace import SLOW_READER
from pyoci.worker.sockets import STALL_SECONDS
from tests.worker.doubles import Connection, Connections, listening

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

PIECE = b"x" * 1_000_000
COUNT = 16  # pieces; more than the buffers of both sides take
SIZE = str(COUNT * len(PIECE))
_caller = contextvars.ContextVar("_caller", default="")


@dataclass
class Log:
    """gunicorn's log: the lines of the access log, and the reported errors."""

    accesses: list[tuple[str, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def access(self, response: Any, request: Any, _environ: Any, _took: Any) -> None:
        self.accesses.append((request.path, response.status_code))

    def debug(self, *_: object) -> None:
        """Ignored."""

    def exception(self, message: str) -> None:
        self.errors.append(message)


@dataclass
class Worker:
    """The attributes of the worker that an answer uses."""

    wsgi: WSGIApplication
    cfg: Any = field(default_factory=Config)
    log: Log = field(default_factory=Log)
    nr: int = 0
    alive: bool = True
    max_keepalived: int = 10
    keepalived_conns: deque[Any] = field(default_factory=deque)


@dataclass
class Body:
    """The pieces that an application returns. Records whether it was closed."""

    pieces: Iterable[bytes]
    closed: int = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def connections() -> Iterator[Connections]:
    with listening() as connections:
        yield connections


def make_application(body: Iterable[bytes], *headers: tuple[str, str]) -> WSGIApplication:
    def application(_environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(headers))
        return body

    return application


def ask(
    connections: Connections,
    application: WSGIApplication,
    head: bytes = b"GET /a HTTP/1.1",
    patience: float = 0.0,
) -> tuple[Answer, Worker, Connection]:
    """A request that a thread is about to answer."""
    conn: Any = connections.connect()
    conn.sock.setblocking(True)
    worker = Worker(application)
    conn.client.sendall(head + b"\r\nHost: localhost\r\n\r\n")
    conn.server = ("127.0.0.1", 80)
    parser = http.get_parser(worker.cfg, conn.sock, ("127.0.0.1", 1234))
    request, ours = next(parser), GunicornConnection(conn.sock, ("127.0.0.1", 1234), conn.server)
    return Answer(worker, request, ours, lambda: patience), worker, conn


@dataclass
class GunicornConnection:
    """The attributes of gunicorn's connection that an answer uses."""

    sock: Any
    client: tuple[str, int]
    server: tuple[str, int]


def take(conn: Connection, answer: Answer, finished: bool) -> bytes:
    """Read the whole answer, while a thread continues it."""
    taken = bytearray()
    while not finished:
        taken += conn.client.recv(1_000_000)
        finished = answer.resume()
    conn.sock.shutdown(socket.SHUT_WR)
    while piece := conn.client.recv(1_000_000):
        taken += piece
    return bytes(taken.partition(b"\r\n\r\n")[2])


def test_short_answer(connections: Connections) -> None:
    """It is sent, logged and closed at once, and the connection is kept."""
    body = Body([b"hello"])
    answer, worker, conn = ask(connections, make_application(body, ("Content-Length", "5")))
    assert answer.begin()
    assert not answer.should_close()
    assert (body.closed, worker.log.accesses, worker.nr) == (1, [("/a", 200)], 1)
    assert conn.client.recv(1000).endswith(b"\r\n\r\nhello")
    answer.end()
    assert (body.closed, len(worker.log.accesses)) == (1, 1)


@pytest.mark.parametrize("change", [{"alive": False}, {"max_keepalived": 0}], ids=str)
def test_connection_is_closed_after_an_answer(connections: Connections, change: dict[str, Any]) -> None:
    """If the worker stops, or already keeps its maximum of connections."""
    answer, worker, conn = ask(connections, make_application([b"hello"], ("Content-Length", "5")))
    for name, value in change.items():
        setattr(worker, name, value)
    assert answer.begin()
    assert answer.should_close()
    assert b"\r\nConnection: close\r\n" in conn.client.recv(1000)


def test_slow_reader(connections: Connections) -> None:
    """The answer is suspended when the reader takes no more, and is complete in the end."""
    body = Body(PIECE for _ in range(COUNT))
    answer, worker, conn = ask(connections, make_application(body, ("Content-Length", SIZE)))
    assert not answer.begin()
    assert (body.closed, worker.log.accesses) == (0, [])
    assert take(conn, answer, finished=False) == PIECE * COUNT
    assert (body.closed, worker.log.accesses) == (1, [("/a", 200)])


def test_context_is_kept_across_threads(connections: Connections) -> None:
    """The application sees its context variables in every thread that continues the answer."""
    seen = []

    def pieces() -> Iterator[bytes]:
        _caller.set("somebody")
        for _ in range(COUNT):
            seen.append(_caller.get())
            yield PIECE

    answer, _worker, conn = ask(connections, make_application(pieces(), ("Content-Length", SIZE)))
    _caller.set("")
    take(conn, answer, answer.begin())
    assert (set(seen), _caller.get()) == ({"somebody"}, "")


def test_reader_that_resets(connections: Connections) -> None:
    """The error is raised to the caller. The application has been closed by then."""
    body = Body(PIECE for _ in range(COUNT))
    answer, worker, conn = ask(connections, make_application(body, ("Content-Length", SIZE)))
    assert not answer.begin()
    connections.reset(conn)
    with pytest.raises(ConnectionError):
        answer.resume()
    assert (body.closed, len(worker.log.accesses)) == (1, 1)


def test_failure_before_the_head(connections: Connections) -> None:
    """It is raised, so that the client gets an error."""

    def application(_environ: dict[str, Any], _start_response: StartResponse) -> Iterable[bytes]:
        raise ValueError("broken")

    answer, worker, _conn = ask(connections, application)
    with pytest.raises(ValueError, match="broken"):
        answer.begin()
    assert worker.log.errors == []


def test_failure_within_the_body(connections: Connections) -> None:
    """The answer is cut off, because its head has been sent."""

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("broken")

    answer, worker, conn = ask(connections, make_application(pieces(), ("Content-Length", "8")))
    with pytest.raises(StopIteration):
        answer.begin()
    assert worker.log.errors == ["Error handling request"]
    assert conn.client.recv(1000).endswith(b"half")


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        for _ in range(COUNT):
            file.write(PIECE)
        file.seek(0)
        yield file


def test_file(connections: Connections, file: BinaryIO) -> None:
    """The system sends it, as much as the reader takes."""
    answer, worker, conn = ask(connections, make_application(FileWrapper(file), ("Content-Length", SIZE)))
    finished = answer.begin()
    assert not finished
    assert take(conn, answer, finished) == PIECE * COUNT
    assert worker.log.accesses == [("/a", 200)]


def test_file_that_is_too_short(connections: Connections, file: BinaryIO) -> None:
    """The connection is closed, because the Content-Length has been sent."""
    length = ("Content-Length", str(2 * COUNT * len(PIECE)))
    answer, _worker, conn = ask(connections, make_application(FileWrapper(file), length))
    finished = answer.begin()
    assert not finished
    with pytest.raises(OSError, match="become shorter"):
        take(conn, answer, finished)


@dataclass
class Suspended:
    """The worker's loop for slow readers."""

    connections: Connections
    resumed: list[Connection] = field(default_factory=list)
    given_up: list[tuple[Connection, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.readers = Readers(
            watch=self.connections.watched.add,
            unwatch=self.connections.watched.discard,
            resume=self.resumed.append,
            give_up=lambda conn, reason: self.given_up.append((conn, reason)),
            clock=self.connections.clock,
        )

    def begin(self) -> Connection:
        conn = self.connections.connect()
        conn.sock.sendall(PIECE * COUNT)
        self.readers.begin(conn)
        return conn


@pytest.fixture
def suspended(connections: Connections) -> Suspended:
    return Suspended(connections)


def test_reader_takes_all(suspended: Suspended) -> None:
    """Then the answer continues."""
    conn, taken = suspended.begin(), 0
    while conn in suspended.connections.watched:
        taken += len(conn.client.recv(1_000_000))
        suspended.readers.on_writable(conn)
    assert (suspended.resumed, suspended.given_up) == ([conn], [])
    while taken < COUNT * len(PIECE):
        taken += len(conn.client.recv(1_000_000))


def test_reader_stalls(suspended: Suspended) -> None:
    """The time since the reader last took a byte counts."""
    conn = suspended.begin()
    suspended.connections.clock.now += STALL_SECONDS - 1
    conn.client.recv(1_000_000)
    suspended.readers.on_writable(conn)
    suspended.connections.clock.now += STALL_SECONDS - 1
    suspended.readers.tick()
    assert suspended.given_up == []
    suspended.connections.clock.now += 1
    suspended.readers.tick()
    assert suspended.given_up == [(conn, SLOW_READER)]
    assert suspended.connections.watched == set()


def test_suspended_reader_resets(suspended: Suspended) -> None:
    """It doesn't count as a slow reader, so nothing is reported. The others are kept."""
    conn, other = suspended.begin(), suspended.begin()
    suspended.connections.reset(conn)
    suspended.readers.on_writable(conn)
    assert suspended.given_up == [(conn, None)]
    assert suspended.connections.watched == {other}


def test_slowest_reader(suspended: Suspended) -> None:
    fast, slow = suspended.begin(), suspended.begin()
    suspended.connections.clock.now += 1
    for conn, pieces in ((fast, 4), (slow, 1)):
        conn.sock.pace.moved(pieces * len(PIECE))
    found = suspended.readers.slowest()
    assert found is not None
    assert found[1] is slow
    suspended.readers.end(slow)
    assert suspended.given_up == [(slow, SLOW_READER)]


def facts_of(connections: Connections, *, stopping: bool, limit: int | None) -> dict[str, Any]:
    """The facts about the server in the environ of one request."""
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        seen.update(environ)
        start_response("413 Content Too Large", [("Connection", "close"), ("Content-Length", "0")])
        return []

    answer, _worker, conn = ask(connections, with_server_facts(application, lambda: stopping))
    conn.sock.limit_passed = limit
    assert answer.begin()
    assert (answer.should_close(), conn.sock.unread) == (True, True)
    assert seen.pop("server.thread") is answer.thread
    return {name: seen[name] for name in seen if name.startswith("server.")}


@pytest.mark.parametrize(("stopping", "limit"), [(False, None), (True, 5)])
def test_server_facts(connections: Connections, stopping: bool, limit: int | None) -> None:
    """`Connection: close` closes the connection, because the body may not have been read."""
    assert facts_of(connections, stopping=stopping, limit=limit) == {
        "server.stopping": stopping,
        "server.body_limit": limit,
        "server.ends_slow_clients": True,
    }


@pytest.mark.parametrize("patience", [0.0, 0.1])
def test_many_pieces(connections: Connections, patience: float) -> None:
    """A thread that others wait for is given back between two pieces, though the reader takes them at once;
    the answer goes on with another one.
    """
    started: list[float] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            answer.thread.since -= _TURN_SECONDS  # type: ignore[operator]  # it has a thread
            yield b"x"

    application = make_application(pieces(), ("Content-Length", "3"))
    answer, _worker, conn = ask(connections, application, patience=patience)
    finished = answer.begin()
    while not finished:
        assert answer.thread.since is None
        started.append(patience)
        finished = answer.resume()
    assert len(started) == (0 if patience else 3)
    conn.sock.close()
    assert b"".join(iter(lambda: conn.client.recv(65536), b"")).endswith(b"xxx")
