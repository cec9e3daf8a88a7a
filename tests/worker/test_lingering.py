"""Lingering: connections that the server has finished writing to, and how long they are read."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pyoci.worker.lingering import LIMIT, SECONDS, UNREAD_SECONDS, Lingering
from tests.worker.doubles import Connection, Connections, listening

PIECE = 64 * 1024  # bytes that a client sends at once


@dataclass
class Loop:
    """The worker's loop for lingering connections."""

    connections: Connections

    def __post_init__(self) -> None:
        self.lingering = Lingering(
            watch=self.connections.watched.add,
            unwatch=self.connections.watched.discard,
            close=self.connections.closed.append,
            clock=self.connections.clock,
        )

    def begin(self, *, unread: bool = False) -> Connection:
        conn = self.connections.connect()
        conn.sock.unread = unread
        self.lingering.begin(conn)
        return conn

    def send(self, conn: Connection, size: int) -> None:
        """Let a client send `count` bytes, as far as they are read."""
        for _ in range(size // PIECE):
            conn.client.sendall(b"x" * PIECE)
            while conn in self.connections.watched and is_readable(conn.sock):
                self.lingering.on_readable(conn)

    @property
    def closed(self) -> list[Connection]:
        return self.connections.closed


def is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


@pytest.fixture
def loop() -> Iterator[Loop]:
    with listening() as connections:
        yield Loop(connections)


def test_client_reads_the_end(loop: Loop) -> None:
    """The client sees at once that the answer is complete. The server waits for the client to close."""
    conn = loop.begin()
    assert conn.client.recv(1) == b""
    assert (loop.connections.watched, loop.closed) == ({conn}, [])
    conn.client.close()
    loop.lingering.on_readable(conn)
    assert (loop.connections.watched, loop.closed) == (set(), [conn])


def test_received_bytes_are_discarded(loop: Loop) -> None:
    """Up to a limit."""
    conn = loop.begin()
    loop.send(conn, LIMIT // 2)
    assert loop.closed == []
    loop.send(conn, LIMIT)
    assert loop.closed == [conn]


def test_time(loop: Loop) -> None:
    conn = loop.begin()
    loop.connections.clock.now += SECONDS - 0.1
    loop.lingering.tick()
    assert loop.closed == []
    loop.connections.clock.now += 0.1
    loop.lingering.tick()
    assert loop.closed == [conn]


def test_unread_body(loop: Loop) -> None:
    """A client that is still sending a body has more time, and may send more."""
    conn = loop.begin(unread=True)
    loop.send(conn, 2 * LIMIT)
    loop.connections.clock.now += UNREAD_SECONDS - 0.1
    loop.lingering.tick()
    assert loop.closed == []
    loop.connections.clock.now += 0.1
    loop.lingering.tick()
    assert loop.closed == [conn]


def test_reset_before(loop: Loop) -> None:
    """A client that has reset already is closed at once."""
    conn = loop.connections.connect()
    loop.connections.reset(conn)
    loop.lingering.begin(conn)
    assert (loop.connections.watched, loop.closed) == (set(), [conn])


def test_reset_meanwhile(loop: Loop) -> None:
    conn, other = loop.begin(), loop.begin()
    loop.connections.reset(conn)
    loop.lingering.on_readable(conn)
    assert (loop.connections.watched, loop.closed) == ({other}, [conn])


def test_readable_without_a_byte(loop: Loop) -> None:
    """A system may report a socket as readable without one."""
    conn = loop.begin()
    loop.lingering.on_readable(conn)
    assert (loop.connections.watched, loop.closed) == ({conn}, [])


def test_oldest(loop: Loop) -> None:
    conns = [loop.begin(), loop.begin()]
    assert [loop.lingering.end_oldest() for _ in range(3)] == [True, True, False]
    assert loop.closed == conns
