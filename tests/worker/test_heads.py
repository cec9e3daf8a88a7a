"""Heads of requests: which are passed on, refused or closed, and when."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from pyoci.worker.heads import HEAD_SECONDS, Heads
from pyoci.worker.sockets import HEAD_LIMIT
from tests.worker.doubles import Connection, Connections, listening

IDLE_SECONDS = 75.0
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Loop:
    """The worker's loop for heads."""

    connections: Connections
    complete: list[tuple[Connection, int]] = field(default_factory=list)
    refused: list[tuple[Connection, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.heads = Heads(
            watch=self.connections.watched.add,
            unwatch=self.connections.watched.discard,
            complete=lambda conn, end: self.complete.append((conn, end)),
            refuse=lambda conn, status: self.refused.append((conn, status)),
            close=self.connections.closed.append,
            clock=self.connections.clock,
        )

    def accept(self) -> Connection:
        conn = self.connections.connect()
        self.heads.accept(conn, IDLE_SECONDS)
        return conn

    def send(self, conn: Connection, piece: bytes) -> None:
        """Let a client send these bytes, and the loop read them all."""
        conn.client.sendall(piece)
        before = len(conn.sock.gathered)
        while conn in self.connections.watched and len(conn.sock.gathered) < before + len(piece):
            self.heads.on_readable(conn)

    def pass_time(self, seconds: float, *, stopping: bool = False) -> None:
        self.connections.clock.now += seconds
        self.heads.tick(stopping=stopping)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with listening() as connections:
        yield Loop(connections)


def test_whole_head(loop: Loop) -> None:
    """It is passed on with its length. Bytes of the body after it are kept."""
    conn = loop.accept()
    loop.send(conn, HEAD + b"body")
    assert loop.complete == [(conn, len(HEAD))]
    assert conn.sock.gathered == HEAD + b"body"
    assert loop.connections.watched == set()


def test_head_in_pieces(loop: Loop) -> None:
    conn = loop.accept()
    for at in range(0, len(HEAD) - 1, 10):
        loop.send(conn, HEAD[at : min(at + 10, len(HEAD) - 1)])
    assert (loop.complete, loop.connections.watched) == ([], {conn})
    loop.send(conn, HEAD[-1:])
    assert loop.complete == [(conn, len(HEAD))]


@pytest.mark.parametrize("stopping", [False, True])
def test_what_arrived_while_the_loop_was_busy(loop: Loop, stopping: bool) -> None:
    """A request that was sent in time is read before its connection is given up."""
    whole, half, silent = loop.accept(), loop.accept(), loop.accept()
    loop.pass_time(0, stopping=stopping)
    whole.client.sendall(HEAD)
    half.client.sendall(HEAD[:20])
    for conn in (whole, half):
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        assert poll.poll(30_000)
    loop.pass_time(IDLE_SECONDS, stopping=stopping)
    assert loop.complete == [(whole, len(HEAD))]
    assert (loop.refused, loop.connections.closed) == ([], [silent])
    assert loop.connections.watched == {half}
    loop.pass_time(HEAD_SECONDS, stopping=stopping)
    assert loop.refused == [(half, "408 Request Timeout")]


def test_next_head_arrives_with_a_request(loop: Loop) -> None:
    """It may have arrived together with the last one."""
    conn = loop.connections.connect()
    conn.sock.gathered += HEAD
    loop.heads.begin(conn)
    assert loop.complete == [(conn, len(HEAD))]


def test_kept_connection(loop: Loop) -> None:
    """The loop watches it while its next head is incomplete."""
    conn = loop.connections.connect()
    loop.connections.watched.add(conn)
    conn.client.sendall(HEAD[:5])
    loop.heads.resume(conn)
    assert loop.connections.watched == {conn}
    loop.send(conn, HEAD[5:])
    assert loop.complete == [(conn, len(HEAD))]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_LIMIT, "431 Request Header Fields Too Large"),
        (b"GET / HTTP/1.1\nHost: x\n\n", "400 Bad Request"),
    ],
)
def test_refused(loop: Loop, head: bytes, status: str) -> None:
    conn = loop.accept()
    loop.send(conn, head)
    assert loop.refused == [(conn, status)]
    assert loop.connections.watched == set()


def test_slow_head(loop: Loop) -> None:
    """Its time begins with its first byte."""
    conn = loop.accept()
    loop.pass_time(IDLE_SECONDS - 1)
    loop.send(conn, HEAD[:1])
    loop.pass_time(HEAD_SECONDS - 1)
    loop.send(conn, HEAD[1:2])
    assert loop.refused == []
    loop.pass_time(1)
    assert loop.refused == [(conn, "408 Request Timeout")]


def test_silent(loop: Loop) -> None:
    """A connection without a byte is closed without an answer."""
    conn = loop.accept()
    loop.pass_time(IDLE_SECONDS)
    assert (loop.connections.closed, loop.refused) == ([conn], [])


def test_stopping(loop: Loop) -> None:
    """A worker that stops doesn't wait for long."""
    conn = loop.accept()
    loop.pass_time(0, stopping=True)
    assert loop.connections.closed == []
    loop.pass_time(2, stopping=True)
    assert loop.connections.closed == [conn]


@pytest.mark.parametrize("sent", [b"", HEAD[:9]], ids=["silent", "half a head"])
def test_reset(loop: Loop, sent: bytes) -> None:
    """A client that resets is closed, and the loop goes on."""
    conn, other = loop.accept(), loop.accept()
    if sent:
        loop.send(conn, sent)
    loop.connections.reset(conn)
    loop.heads.on_readable(conn)
    assert loop.connections.closed == [conn]
    assert loop.connections.watched == {other}


def test_end(loop: Loop) -> None:
    """A client that closes is closed."""
    conn = loop.accept()
    conn.client.shutdown(socket.SHUT_WR)
    loop.heads.on_readable(conn)
    assert loop.connections.closed == [conn]


def test_readable_without_a_byte(loop: Loop) -> None:
    """A system may report a socket as readable without one."""
    conn = loop.accept()
    loop.heads.on_readable(conn)
    assert (loop.connections.watched, loop.connections.closed) == ({conn}, [])


def test_oldest(loop: Loop) -> None:
    """Silent connections come first, then those whose heads have begun."""
    begun, first, second = loop.accept(), loop.accept(), loop.accept()
    loop.send(begun, HEAD[:5])
    assert loop.heads.idle_since() == loop.connections.clock.now
    assert [loop.heads.pop_oldest() for _ in range(4)] == [first, second, begun, None]
    assert (loop.heads.idle_since(), loop.connections.watched) == (None, set())
