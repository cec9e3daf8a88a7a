"""The worker's sockets; what the worker does with them, tests/live shows."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoci.client_socket import ClientSocket

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


def test_a_reader_that_takes_nothing_is_left(pair: tuple[ClientSocket, socket.socket]) -> None:
    """As if it had gone away: gunicorn has no other word for that."""
    ours, _client = pair
    with pytest.raises(ConnectionResetError):
        ours.sendall(PIECE)


def test_a_reader_that_takes_little_lives(pair: tuple[ClientSocket, socket.socket]) -> None:
    """It may take longer in all than it may take nothing."""
    ours, client = pair
    begun, count = time.monotonic(), 0
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(ours.sendall, PIECE)
        while count < len(PIECE):
            count += len(client.recv(256 * 1024))
            if time.monotonic() < begun + 1.5 * SECONDS:
                time.sleep(0.1)
        assert sent.result() is None
    assert time.monotonic() - begun > SECONDS


def test_a_sender_that_sends_nothing_is_left(pair: tuple[ClientSocket, socket.socket]) -> None:
    """Where the server waits without a limit of its own."""
    ours, _client = pair
    with pytest.raises(ConnectionResetError):
        ours.recv(1)


def test_what_was_gathered_comes_first(pair: tuple[ClientSocket, socket.socket]) -> None:
    """A thread reads a head as if nobody had read it before, and the rest from the connection."""
    ours, client = pair
    client.sendall(b"head")
    assert ours.gather() == 4
    client.sendall(b"body")
    assert [ours.recv(3), ours.recv(3), ours.recv(8)] == [b"hea", b"d", b"body"]
