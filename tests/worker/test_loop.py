"""The whole worker under gunicorn, where its process has to survive. The rest is in tests/live."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
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


@pytest.fixture
def address(log: BinaryIO) -> Iterator[tuple[str, int]]:
    """Where gunicorn listens, with one worker and two threads."""
    arguments = [
        "-k",
        "pyoci.worker.Worker",
        "-w",
        "1",
        "--threads",
        "2",
        "-b",
        "127.0.0.1:0",
        "--access-logfile",
        "-",
    ]
    command = [sys.executable, "-m", "gunicorn", *arguments, "tests.worker.application:application"]
    with subprocess.Popen(command, stderr=log, stdout=log) as process:
        try:
            yield "127.0.0.1", until(lambda: port_in(log), "gunicorn")
        finally:
            process.terminate()
            process.wait(30)


def has_ended(log: BinaryIO) -> bool:
    """Whether the access log has the request for /halves."""
    log.seek(0)
    return b'"GET /halves' in log.read()


def port_in(log: BinaryIO) -> int:
    """The port that gunicorn says it listens at, 0 before it does."""
    log.seek(0)
    found = re.search(rb"Listening at: http://127\.0\.0\.1:(\d+)", log.read())
    return int(found[1]) if found else 0


def get(address: tuple[str, int], path: str = "/") -> str:
    with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=60) as answer:
        return str(answer.read().decode())


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """What comes until the server closes."""
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
    """Clients that reset their connections, whatever they wait for, don't end the worker."""
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
    """A thread that goes on with an answer ends it when the client has gone, and logs no error."""
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
    """A request that would need one is refused with a 503, and the worker lives on."""
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
