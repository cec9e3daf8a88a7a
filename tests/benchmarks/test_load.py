"""The benchmark's client: it counts whole answers, from any server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import Load, ask
from benchmarks.results import Missed
from tests.waiting import until

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Serve each connection in a thread with `answer`; yields the address."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    def run(connection: socket.socket) -> None:
        with connection:
            answer(connection)

    listener = socket.create_server(("127.0.0.1", 0))
    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(5)


def always(answer: bytes, requests: int = 1_000_000) -> Callable[[socket.socket], None]:
    """Answer so many requests on each connection, in two pieces, and close it."""

    def run(connection: socket.socket) -> None:
        for _ in range(requests):
            if not connection.recv(64 * 1024):
                return
            connection.sendall(answer[:20])
            connection.sendall(answer[20:])

    return run


def has_asked_again(address: tuple[str, int], status: int = 200) -> bool:
    """Whether three clients got more than three answers. On a busy machine one takes all of the time."""
    return len(ask(address, "/", clients=3, seconds=0.1, status=status).latencies) > 3


@pytest.mark.parametrize(
    ("answer", "status"),
    [(PLAIN, 200), (CHUNKED, 200), (UNCHANGED, 304)],
    ids=["length", "chunked", "no body"],
)
def test_an_answer_is_read_to_its_end(answer: bytes, status: int) -> None:
    """Each of some clients asks again and again, on one connection."""
    with serving(always(answer)) as address:
        until(lambda: has_asked_again(address, status), "a second answer")


@pytest.mark.parametrize("answer", [PLAIN, OLD], ids=["closed without a word", "closed as HTTP/1.0 does"])
def test_a_server_may_close_after_each_answer(answer: bytes) -> None:
    """The client connects again, like after the end of a worker."""
    with serving(always(answer, requests=1)) as address:
        until(lambda: has_asked_again(address), "a second answer")


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", PLAIN[:-1]],
    ids=["another status", "no length", "cut short"],
)
def test_errors_are_not_counted(answer: bytes) -> None:
    """They would count as fast pages."""
    with serving(always(answer, requests=1)) as address, pytest.raises(Missed):
        ask(address, "/", clients=1, seconds=0)


def test_the_slowest_is_the_99th_percentile() -> None:
    """One of a hundred may be slower."""
    assert Load(1.0, tuple(map(float, range(1, 101)))).slowest == 99
