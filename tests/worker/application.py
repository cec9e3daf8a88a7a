"""A WSGI application that test_loop.py serves with gunicorn and PyOCI's worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyoci.worker import Worker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

SIZE = 8_000_000  # bytes of /large; more than the buffers of a connection hold


class Patient(Worker):
    """Leaves connections to the other worker for longer, since that may wait for the CPU under tests."""

    left_seconds = 0.1


def wait_for(gate: str) -> None:
    """Signal that the request is waiting, and wait."""
    Path(f"{gate}.begun").touch()
    end = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < end:
        time.sleep(0.01)


def halves(gate: str) -> Iterator[bytes]:
    yield b"x" * SIZE
    wait_for(gate)
    yield b"x" * SIZE


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the id of its process. At /alone no thread can be started until the file exists that the
    query names. At /halves the second half of the answer waits for that file, at /wait the whole answer.
    """
    gate = environ["QUERY_STRING"]
    body = str(os.getpid()).encode()
    match environ["PATH_INFO"]:
        case "/alone":
            before = threading.stack_size(2**47)  # a stack larger than any address space
            wait_for(gate)
            threading.stack_size(before)
        case "/wait":
            wait_for(gate)
        case "/large":
            body = b"x" * SIZE
        case "/halves":
            start_response("200 OK", [("Content-Length", str(2 * SIZE))])
            return halves(gate)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def loaded_late(gate: str) -> Any:
    """The application, for a worker that is stopped while it loads it. It signals when loading has begun."""
    worker = signal.getsignal(signal.SIGTERM).__self__  # type: ignore[union-attr]
    Path(f"{gate}.begun").touch()
    while worker.alive:
        time.sleep(0.01)
    return application
