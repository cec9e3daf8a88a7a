"""ClientSocket. The tests of the worker that uses it are in tests/live."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from pyoci.worker.sockets import ClientSocket
from pyoci.worker.spool import Allowance, Spool
from tests.worker.doubles import Connection

SECONDS = 2
PIECE = b"x" * 8_000_000  # more than the buffers of both sides take


@pytest.fixture
def pair() -> Iterator[tuple[ClientSocket, socket.socket]]:
    """Both ends of one connection, the server's first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client = socket.create_connection(listener.getsockname(), timeout=60)
        accepted, _ = listener.accept()
    with client, ClientSocket(accepted, SECONDS) as ours:
        yield ours, client


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(PIECE)
        file.flush()
        yield file


def fill(ours: ClientSocket) -> None:
    while ours.send(PIECE):
        pass


def send_all(ours: ClientSocket) -> None:
    while not ours.flush(1):
        pass


def test_sending_waits_for_no_reader(pair: tuple[ClientSocket, socket.socket]) -> None:
    """Bytes that the reader doesn't take are kept, and sent in order when it takes more."""
    ours, client = pair
    ours.sendall(PIECE)
    ours.sendall(b"the end")
    assert ours.outgoing
    assert not ours.send_waiting()
    taken = bytearray()
    while not ours.flush(0):
        taken += client.recv(1_000_000)
    while len(taken) < len(PIECE) + 7:
        taken += client.recv(1_000_000)
    assert taken == PIECE + b"the end"
    assert ours.sent == len(taken)


def test_the_kernel_takes_little_ahead_of_a_slow_reader(pair: tuple[ClientSocket, socket.socket]) -> None:
    """Otherwise each slow reader would take megabytes of the kernel's memory."""
    ours, _client = pair
    ours.sendall(PIECE)
    assert ours.sent < 1_000_000


def test_a_file(pair: tuple[ClientSocket, socket.socket], file: BinaryIO) -> None:
    """The system sends as much as the reader takes."""
    ours, client = pair
    taken, sent = bytearray(), 0
    while sent < len(PIECE):
        count = ours.send_file(file.fileno(), sent, len(PIECE) - sent)
        sent += count
        taken += b"" if count else client.recv(1_000_000)
    while len(taken) < len(PIECE):
        taken += client.recv(1_000_000)
    assert taken == PIECE


def test_a_reader_that_has_left(pair: tuple[ClientSocket, socket.socket]) -> None:
    """Sending raises an error."""
    ours, client = pair
    ours.sendall(PIECE)
    client.close()
    with pytest.raises(ConnectionError):
        send_all(ours)


def test_receiving_has_a_timeout(pair: tuple[ClientSocket, socket.socket]) -> None:
    """If the server has set none."""
    ours, _client = pair
    with pytest.raises(ConnectionResetError):
        ours.recv(1)


def test_gathered_bytes_are_received_first(pair: tuple[ClientSocket, socket.socket]) -> None:
    """A thread receives the head, then the spool, then what arrives."""
    ours, client = pair
    client.sendall(b"head")
    assert ours.gather() == 4
    ours.spool = Spool(Allowance(0))
    ours.spool.append(b"body")
    client.sendall(b"rest")
    assert [ours.recv(3), ours.recv(3), ours.recv(8), ours.recv(8)] == [b"hea", b"d", b"body", b"rest"]


def test_bytes_in_the_spool_become_the_next_request(pair: tuple[ClientSocket, socket.socket]) -> None:
    """When a request is answered."""
    ours, _client = pair
    ours.spool = Spool(Allowance(0))
    ours.spool.append(b"bodyGET /")
    assert ours.recv(4) == b"body"
    ours.begin_request()
    left: list[object] = [bytes(ours.gathered), ours.spool]
    assert left == [b"GET /", None]


def test_cut(pair: tuple[ClientSocket, socket.socket]) -> None:
    """A thread that waits for the client continues, and can still answer."""
    ours, client = pair
    ours.cut(socket.SHUT_RD)
    assert (ours.recv(1), ours.was_cut) == (b"", True)
    ours.sendall(b"answer")
    assert client.recv(10) == b"answer"


def test_cut_of_a_connection_that_was_reset(pair: tuple[ClientSocket, socket.socket]) -> None:
    ours, client = pair
    Connection(ours, client).reset()
    with pytest.raises(ConnectionError):
        ours.recv(1)
    ours.cut(socket.SHUT_RD)
    assert ours.was_cut


def test_corked_bytes_are_sent_together(pair: tuple[ClientSocket, socket.socket]) -> None:
    """When they are flushed, in order."""
    ours, client = pair
    ours.is_corked = True
    for number in range(200):
        ours.sendall(b"%03d" % number)
    assert ours.sent == 0
    assert ours.flush(0)
    assert (ours.sent, list(ours.outgoing)) == (600, [])
    ours.is_corked = False
    ours.sendall(b"end")
    taken = b""
    while len(taken) < 603:
        taken += client.recv(1000)
    assert taken == b"".join(b"%03d" % number for number in range(200)) + b"end"


def test_timeout_of_gunicorn(pair: tuple[ClientSocket, socket.socket]) -> None:
    """It applies to `recv`. Calls of the loop never wait."""
    ours, client = pair
    ours.settimeout(0.01)
    with pytest.raises(TimeoutError):
        ours.recv(1)
    with pytest.raises(BlockingIOError):
        ours.gather()
    with pytest.raises(BlockingIOError):
        ours.receive(1)
    ours.settimeout(None)
    ours.sendall(PIECE)
    with pytest.raises(BlockingIOError):
        fill(ours)
    client.sendall(b"x")
    assert ours.recv(1) == b"x"
