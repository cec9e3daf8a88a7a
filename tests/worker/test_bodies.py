"""Bodies: which ones the loop collects, which go to a thread, and which are dropped if there is no room."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyoci.worker.bodies import STALL_SECONDS, Bodies
from pyoci.worker.framing import Frame
from pyoci.worker.pace import WINDOW, Pace
from pyoci.worker.sockets import ClientSocket
from pyoci.worker.spool import IN_MEMORY, Allowance
from tests.clock import Clock
from tests.worker.doubles import Connection

LIMIT = 10_000_000  # bytes of a body
PIECE = 32_000  # bytes that are sent at once
_STEPS = 100


@dataclass
class Loop:
    """The worker's loop for bodies, which records what becomes of them."""

    allowance: Allowance
    clock: Clock = field(default_factory=Clock)
    threads: int = 100
    watched: set[Any] = field(default_factory=set)
    handed_over: list[Any] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bodies = Bodies(
            self.allowance,
            1,
            watch=self.watched.add,
            unwatch=self.watched.discard,
            hand_over=self.handed_over.append,
            may_stream=lambda: len(self.handed_over) < self.threads,
            report=lambda _conn, reason: self.reported.append(reason),
            give_up=lambda conn, _status, _sentence: self.ended.append(conn),
            clock=self.clock,
        )

    def connect(self) -> Connection:
        ours, client = socket.socketpair()
        client.settimeout(60)
        conn = Connection(ClientSocket(ours), client)
        conn.sock.setblocking(False)
        conn.sock.pace = Pace(self.clock)
        self.connections.append(conn)
        return conn

    def begin(self, length: int | None = LIMIT) -> Connection:
        """A client that has sent its head."""
        conn = self.connect()
        assert self.bodies.begin(conn, Frame("POST", "/", length), 0, LIMIT)
        return conn

    def send(self, conn: Connection, size: int, seconds: float) -> None:
        """Let a client send `count` bytes in `seconds`."""
        sent = 0
        while sent < size and conn in self.watched:
            piece = min(PIECE, size - sent)
            conn.client.sendall(b"x" * piece)
            self.clock.now += seconds * piece / size
            sent += piece
            self.bodies.on_readable(conn)

    def send_together(self, seconds: float, *amounts: tuple[Connection, int]) -> None:
        """Let each of several clients send `count` bytes in the same time."""
        for _ in range(_STEPS):
            self.clock.now += seconds / _STEPS
            for conn, size in amounts:
                if conn in self.watched:
                    conn.client.sendall(b"x" * (size // _STEPS))
                    self.bodies.on_readable(conn)

    def tick(self, *served: Connection) -> None:
        self.bodies.tick(served)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(Allowance(1_000_000))
    yield loop
    for conn in loop.connections:
        conn.sock.close()
        conn.client.close()


def test_slow_body_waits_without_a_thread(loop: Loop) -> None:
    """Until it is complete, mostly on the disk. Then a thread reads it."""
    conn = loop.begin(4 * IN_MEMORY)
    loop.send(conn, 4 * IN_MEMORY - 1, 20)
    assert (loop.handed_over, conn.sock.spool is not None) == ([], True)
    loop.send(conn, 1, 1)
    assert (loop.handed_over, loop.watched) == ([conn], set())
    count = 0
    while count < 4 * IN_MEMORY:
        count += len(conn.sock.recv(100_000))
    assert count == 4 * IN_MEMORY


def test_fast_body_streams(loop: Loop) -> None:
    """It goes to a thread before it is complete. While the first one has a thread, a
    second one is collected.
    """
    first, second = loop.begin(), loop.begin()
    loop.send(first, 200_000, 0.01)
    loop.send(second, 200_000, 0.01)
    assert loop.handed_over == [first]
    loop.bodies.ended(first)
    loop.send(second, 100_000, 0.01)
    assert loop.handed_over == [first, second]


def test_fast_body_is_collected_if_no_thread_is_free(loop: Loop) -> None:
    """Like a slow one."""
    loop.threads = 0
    conn = loop.begin()
    loop.send(conn, 500_000, 0.01)
    assert (loop.handed_over, conn in loop.watched) == ([], True)


def test_chunks(loop: Loop) -> None:
    """Their end is found, and the bytes after it are left for the next request."""
    conn = loop.begin(None)
    conn.client.sendall(b"3\r\nabc\r\n0\r\n")
    loop.bodies.on_readable(conn)
    assert loop.handed_over == []
    conn.client.sendall(b"\r\nGET /")
    loop.bodies.on_readable(conn)
    assert loop.handed_over == [conn]


def test_over_the_limit(loop: Loop) -> None:
    """There is nothing to wait for."""
    declared = loop.connect()
    assert not loop.bodies.begin(declared, Frame("POST", "/", LIMIT + 1), 0, LIMIT)
    chunked = loop.begin(None)
    chunked.client.sendall(b"ffffffff\r\n")
    loop.bodies.on_readable(chunked)
    assert loop.handed_over == [chunked]
    assert declared.sock.limit_passed == chunked.sock.limit_passed == LIMIT


def test_continue(loop: Loop) -> None:
    """A client that waits for 100 Continue gets it once."""
    conn = loop.connect()
    loop.bodies.begin(conn, Frame("POST", "/", 10, expects_continue=True), 0, LIMIT)
    assert conn.client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert conn.sock.continued


def test_stalled(loop: Loop) -> None:
    """A client that sends nothing for thirty seconds is ended; one that sends a byte now and then isn't."""
    silent, slow = loop.begin(), loop.begin()
    for _ in range(3):
        loop.send(slow, 1, STALL_SECONDS / 2)
        loop.tick()
    assert (loop.ended, loop.reported) == ([silent], ["slow body"])


def test_client_that_leaves(loop: Loop) -> None:
    """Its request goes to a thread, which finds the end. The client may have closed only its sending side."""
    conn = loop.begin()
    conn.client.shutdown(socket.SHUT_WR)
    loop.bodies.on_readable(conn)
    assert loop.handed_over == [conn]
    assert conn.sock.recv(10) == b""


def test_slowest_is_dropped_when_the_disk_is_full(loop: Loop) -> None:
    """A client without room waits, and continues when there is some."""
    loop.threads = 0
    slow, slower, honest = loop.begin(), loop.begin(), loop.begin()
    loop.send_together(40, (slow, 800_000), (slower, 700_000), (honest, 1_600_000))
    assert honest not in loop.watched
    loop.tick()
    assert (loop.ended, loop.reported) == ([slower], ["slow body"])
    slower.sock.close()
    loop.tick()
    assert honest in loop.watched
    assert slow in loop.watched


def test_fast_enough_clients_are_not_dropped(loop: Loop) -> None:
    """At 256 kbit/s no client is ended at once, although a third one has no room."""
    loop.threads = 0
    clients = [loop.begin() for _ in range(3)]
    loop.send_together(10, *((conn, 480_000 + number) for number, conn in enumerate(clients)))
    assert not loop.watched
    loop.tick()
    assert loop.ended == []
    loop.clock.now += 20
    loop.tick()
    assert len(loop.ended) == 1


def test_no_room_takes_a_thread(loop: Loop) -> None:
    """If one is free."""
    loop.threads = 0
    first, second = loop.begin(), loop.begin()
    loop.send(first, 900_000, 20)
    loop.send(second, 400_000, 8)
    assert second not in loop.watched
    loop.threads = 1
    loop.tick()
    assert loop.handed_over == [second]


def test_slow_in_a_thread(loop: Loop) -> None:
    """A client that has become slow is cut if others wait for a thread, and otherwise kept."""
    conn = loop.begin()
    loop.send(conn, 200_000, 0.01)
    conn.sock.pace.wait()
    loop.clock.now += 4 * WINDOW
    cut = []
    for waiting in ((), (conn,)):
        loop.tick(*waiting)
        cut.append(conn.sock.was_cut)
    assert cut == [False, True]
    assert (loop.reported, loop.ended) == (["slow body"], [])


def test_time_in_a_thread_is_not_the_clients(loop: Loop) -> None:
    """A client isn't cut while the registry is slow and nobody waits for the client."""
    conn = loop.begin()
    loop.send(conn, 200_000, 0.01)
    loop.clock.now += 100 * WINDOW
    loop.tick(conn)
    assert not conn.sock.was_cut


def test_client_that_has_left_expects_no_continue(loop: Loop) -> None:
    """Its request goes to a thread, whose parser finds the end; the loop continues."""
    conn = loop.connect()
    conn.client.close()
    assert not loop.bodies.begin(conn, Frame("POST", "/", 10, True), 0, LIMIT)
    assert loop.watched == set()
