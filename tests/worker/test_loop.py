"""The whole worker under gunicorn, for tests in which its process must survive. Others are in tests/live."""

from __future__ import annotations

import re
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from threading import Thread
from typing import BinaryIO
from urllib.request import urlopen

import pytest

from tests.waiting import until
from tests.worker.application import SIZE

CROWD = 50  # clients of a kind
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def log() -> Iterator[BinaryIO]:
    """What gunicorn logs."""
    with tempfile.TemporaryFile() as log:
        yield log


@contextmanager
def gunicorn(log: BinaryIO, application: str = "application", *more: str) -> Iterator[Popen[bytes]]:
    """gunicorn with one worker and two threads."""
    arguments = ["-k", "pyoci.worker.Worker", "-w", "1", "--threads", "2", "-b", "127.0.0.1:0"]
    command = [sys.executable, "-m", "gunicorn", *arguments, "--access-logfile", "-", *more]
    with Popen([*command, f"tests.worker.application:{application}"], stderr=log, stdout=log) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
def server(log: BinaryIO) -> Iterator[Popen[bytes]]:
    with gunicorn(log) as process:
        yield process


@pytest.fixture
def address(log: BinaryIO, server: Popen[bytes]) -> tuple[str, int]:
    """Where gunicorn listens."""
    return address_in(log)


def address_in(log: BinaryIO) -> tuple[str, int]:
    return "127.0.0.1", until(lambda: port_in(log), "gunicorn")


def has_ended(log: BinaryIO) -> bool:
    """Whether the access log has the request for /halves."""
    log.seek(0)
    return b'"GET /halves' in log.read()


def port_in(log: BinaryIO) -> int:
    """The port that gunicorn says it listens at, 0 before it does."""
    log.seek(0)
    found = re.search(rb"Listening at: http://127\.0\.0\.1:(\d+)", log.read())
    return int(found[1]) if found else 0


def booted(log: BinaryIO) -> int:
    """How many workers gunicorn has started."""
    log.seek(0)
    return log.read().count(b"Booting worker")


def is_refused(address: tuple[str, int]) -> bool:
    """Whether new connections are refused."""
    try:
        socket.create_connection(address, timeout=60).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # closed while it waited to be accepted
    return False


def get(address: tuple[str, int], path: str = "/") -> str:
    with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=60) as answer:
        return str(answer.read().decode())


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """All bytes until the server closes."""
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


RESETS = {
    "at once": b"",
    "half a head": HEAD,
    "half a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx",
    "an answer": HEAD + b"\r\n",
    "a large answer": b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "what is refused": b"GET /\n\n",
}


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_crowd_that_resets(address: tuple[str, int]) -> None:
    """Clients that reset their connections, in any state, don't end the worker."""
    worker = get(address)
    for wanted in RESETS.values():
        for has_begun in (False, True):
            clients = [socket.create_connection(address, timeout=60) for _ in range(CROWD)]
            for client in clients:
                client.sendall(wanted)
            if has_begun:
                assert get(address) == worker
            for client in clients:
                reset(client)
            assert get(address) == worker


def test_reset_while_an_answer_is_made(address: tuple[str, int], log: BinaryIO, tmp_path: Path) -> None:
    """A thread that continues the answer ends it when the client has left, and logs no error."""
    worker, gate = get(address), tmp_path / "gate"
    client = socket.create_connection(address, timeout=60)
    client.sendall(f"GET /halves?{gate} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    time.sleep(0.5)  # longer than a thread waits for a reader
    taken = 0
    while taken < SIZE:
        taken += len(client.recv(65536))
    until(Path(f"{gate}.begun").exists, "the second half")
    reset(client)
    gate.touch()
    until(lambda: has_ended(log), "the access log's line")
    assert get(address) == worker
    log.seek(0)
    assert b"rror" not in log.read()


def test_no_thread_can_be_started(address: tuple[str, int], tmp_path: Path) -> None:
    """A request that needs one gets a 503, and the worker survives."""
    gate, answers = tmp_path / "gate", []
    first = Thread(target=lambda: answers.append(get(address, f"/alone?{gate}")))
    first.start()
    until(Path(f"{gate}.begun").exists, "the first request")
    for _ in range(3):
        refusal = exchange(address, HEAD + b"\r\n")
        assert refusal.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in refusal
    gate.touch()
    first.join(60)
    assert answers == [get(address)]


def answered_by(address: tuple[str, int], count: int) -> Counter[bytes]:
    """How many of so many connections, which are opened at once, each worker has."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(count)]
        for client in clients:
            client.sendall(HEAD)
        counts: Counter[bytes] = Counter()
        for client in clients:
            client.sendall(b"\r\n")
            counts[client.recv(65536).rpartition(b"\r\n")[2]] += 1
        return counts


def test_workers_accept_as_many(log: BinaryIO) -> None:
    """Neither of two workers has less than a quarter of the connections that a client opens at once. On an
    idle machine they have about as many; one that waits for the CPU leaves some to the other.
    """
    with gunicorn(log, "application", "--workers", "2", "-k", "tests.worker.application.Patient"):
        address = address_in(log)
        # A worker that has just booted may accept nothing yet.
        until(lambda: len(answered_by(address, 2)) == 2, "two workers to accept connections")
        counts = answered_by(address, 40)
        assert len(counts) == 2
        assert min(counts.values()) >= 10


TOLD_TO_STOP = """
import os, signal
from pyoci import server

def post_fork(arbiter, worker):
    if worker.age == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    server.post_fork(arbiter, worker)
"""


class TestStop:
    """A worker that is stopped answers all requests that it has accepted."""

    def test_right_after_the_fork(self, log: BinaryIO, tmp_path: Path) -> None:
        """It stops before it accepts anything. gunicorn loses signals until the worker
        has its own handler.
        """
        settings = tmp_path / "conf.py"
        settings.write_text(TOLD_TO_STOP)
        with gunicorn(log, "application", "-c", str(settings)):
            worker = get(address_in(log))
        log.seek(0)
        started = re.findall(rb"Booting worker with pid: (\d+)", log.read())
        assert started[1:] == [worker.encode()]

    def test_while_it_loads(self, log: BinaryIO, tmp_path: Path) -> None:
        """It has accepted nothing yet. The waiting connection is accepted once, and answered."""
        gate, settings = tmp_path / "gate", tmp_path / "conf.py"
        settings.touch()  # no preload_app
        with gunicorn(log, f"loaded_late({str(gate)!r})", "-c", str(settings)) as process:
            until(Path(f"{gate}.begun").exists, "a worker that loads")
            with socket.create_connection(address_in(log), timeout=60) as client:
                client.sendall(HEAD + b"\r\n")
                process.terminate()
                assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert process.wait(60) == 0
        log.seek(0)
        assert b"Traceback" not in log.read()

    def test_while_all_threads_are_busy(
        self, log: BinaryIO, server: Popen[bytes], address: tuple[str, int], tmp_path: Path
    ) -> None:
        """Requests that arrived before still wait for a thread."""
        gates = [tmp_path / "first", tmp_path / "second"]
        answers: list[str] = []
        busy = [
            Thread(target=lambda gate=gate: answers.append(get(address, f"/wait?{gate}"))) for gate in gates
        ]
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(HEAD)
            for thread, gate in zip(busy, gates, strict=True):
                thread.start()
                until(Path(f"{gate}.begun").exists, "a busy thread")
            server.terminate()
            until(lambda: is_refused(address), "the listener to close")
            client.sendall(b"\r\n")
            for gate in gates:
                gate.touch()
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        for thread in busy:
            thread.join(60)
        assert len(answers) == len(gates)
        assert server.wait(60) == 0
        log.seek(0)
        assert b"Traceback" not in log.read()
