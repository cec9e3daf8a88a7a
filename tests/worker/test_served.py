"""Served: which clients have left while a thread works on their request, and what the application is told."""

from __future__ import annotations

import select
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyoci.worker.answers import ServerThread
from pyoci.worker.served import Served, take_reason
from tests.worker.doubles import Connection, Connections, listening


@dataclass
class Answer:
    """An answer that a thread works on."""

    takes_interim: bool = True
    thread: ServerThread = field(default_factory=lambda: ServerThread(since=1.0))


@dataclass
class Application:
    """Hears what it is told."""

    threads: list[Any] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)

    def tick(self, threads: Iterable[Any], waiting: Collection[str]) -> None:
        self.threads, self.waiting = list(threads), set(waiting)


@pytest.fixture
def connections() -> Iterator[Connections]:
    with listening() as connections:
        yield connections


def served_by(connections: Connections, **facts: Any) -> Any:
    """A connection whose request has a thread."""
    conn: Any = connections.connect()
    conn.answer = Answer(**facts)
    return conn


def look(*conns: Connection, waiting: Iterable[Any] = ()) -> Application:
    application = Application()
    Served(application.tick, lambda path: path.split("/")[1]).look(conns, waiting)
    return application


def wait_for_end(conn: Connection) -> None:
    """The server's system knows that the client has closed something."""
    poll = select.poll()
    poll.register(conn.sock, select.POLLRDHUP)
    assert poll.poll(30_000)


def wait_for_reset(conn: Connection) -> None:
    poll = select.poll()
    poll.register(conn.sock, 0)
    assert poll.poll(30_000)


def test_the_group_of_a_request(connections: Connections) -> None:
    """Its path tells, without the query."""
    conn: Any = connections.connect()
    conn.sock.gathered += b"GET /lab/acme/?x=/y HTTP/1.1\r\n"
    assert Served(group_of=str.upper).group(conn) == "/LAB/ACME/"


def test_a_client_that_waits(connections: Connections) -> None:
    """It is sent nothing."""
    conn = served_by(connections)
    assert look(conn).threads == [conn.answer.thread]
    assert not conn.answer.thread.client_has_left
    conn.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        conn.client.recv(1)


def test_a_client_that_has_closed(connections: Connections) -> None:
    """It is found out by the interim answer, one look later."""
    conn = served_by(connections)
    conn.client.close()
    wait_for_end(conn)
    look(conn)
    assert not conn.answer.thread.client_has_left
    wait_for_reset(conn)
    look(conn)
    assert conn.answer.thread.client_has_left


def test_a_client_that_has_reset(connections: Connections) -> None:
    conn = served_by(connections)
    connections.reset(conn)
    look(conn)
    assert conn.answer.thread.client_has_left


def test_a_half_closed_client(connections: Connections) -> None:
    """It gets one interim answer, and hasn't left."""
    conn = served_by(connections)
    conn.client.shutdown(socket.SHUT_WR)
    wait_for_end(conn)
    for _ in range(3):
        look(conn)
    assert not conn.answer.thread.client_has_left
    conn.sock.close()
    assert b"".join(iter(lambda: conn.client.recv(65536), b"")) == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("case", ["HTTP/1.0", "an answer that has begun", "a body that was cut"])
def test_who_gets_no_interim_answer(connections: Connections, case: str) -> None:
    """HTTP/1.0 has none, and after the beginning of an answer it would be a part of that."""
    conn = served_by(connections, takes_interim=case != "HTTP/1.0")
    if case == "an answer that has begun":
        conn.sock.sendall(b"HTTP")
    if case == "a body that was cut":
        conn.sock.cut(socket.SHUT_RD)
    else:
        conn.client.shutdown(socket.SHUT_WR)
    wait_for_end(conn)
    look(conn)
    assert not conn.answer.thread.client_has_left
    conn.sock.close()
    expected = b"HTTP" if case == "an answer that has begun" else b""
    assert b"".join(iter(lambda: conn.client.recv(65536), b"")) == expected


def test_connections_without_an_answer(connections: Connections) -> None:
    """A request that is being parsed, perhaps after one that was answered."""
    first, second = connections.connect(), served_by(connections)
    second.answer.thread.since = None
    assert look(first, second).threads == []
    assert (take_reason(first), take_reason(second)) == (None, None)


@pytest.mark.parametrize(
    ("head", "registry"),
    [
        (b"GET /lab/acme/?a=/b HTTP/1.1\r\nHost: x\r\n\r\n", "lab"),
        (b"\r\nPOST /other/ HTTP/1.1\r\n\r\n", "other"),
        (b"GET /" + b"x" * 5000, "x" * 4091),
    ],
)
def test_requests_that_wait(connections: Connections, head: bytes, registry: str) -> None:
    """The application is told their registries."""
    conn = connections.connect()
    conn.sock.gathered += head
    assert look(waiting=[conn]).waiting == {registry}


def test_the_reason_is_taken_once(connections: Connections) -> None:
    conn = served_by(connections)
    conn.answer.thread.ended_for = "bulkhead full"
    assert [take_reason(conn), take_reason(conn)] == ["bulkhead full", None]


class TestWhileItWaits:
    """A request that has no thread yet."""

    def waiting(self, connections: Connections, head: bytes = b"GET / HTTP/1.1\r\n\r\n") -> Connection:
        conn = connections.connect()
        conn.sock.gathered += head
        return conn

    def test_a_client_that_has_closed(self, connections: Connections) -> None:
        """It needs no thread any more."""
        conn = self.waiting(connections)
        conn.client.close()
        wait_for_end(conn)
        assert Served().departed([conn]) == []
        wait_for_reset(conn)
        assert Served().departed([conn]) == [conn]

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_a_half_closed_client(self, connections: Connections, version: str) -> None:
        """It still waits for the answer; with HTTP/1.0 it is sent nothing before that."""
        conn = self.waiting(connections, f"GET / HTTP/{version}\r\n\r\n".encode())
        conn.client.shutdown(socket.SHUT_WR)
        wait_for_end(conn)
        assert [Served().departed([conn]) for _ in range(3)] == [[], [], []]
        conn.sock.close()
        sent = b"".join(iter(lambda: conn.client.recv(65536), b""))
        assert sent == (b"HTTP/1.1 100 Continue\r\n\r\n" if version == "1.1" else b"")
