"""A WSGI application that test_loop.py serves with gunicorn and PyOCI's worker."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

SIZE = 8_000_000  # bytes of /large; more than the buffers of a connection hold


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the process, so that a test sees whether it is the same.

    At /alone no thread can be started until the file exists that the query names.
    """
    if environ["PATH_INFO"] == "/alone":
        before = threading.stack_size(2**47)  # a stack larger than any address space
        Path(f"{environ['QUERY_STRING']}.begun").touch()
        end = time.monotonic() + 60
        while not Path(environ["QUERY_STRING"]).exists() and time.monotonic() < end:
            time.sleep(0.01)
        threading.stack_size(before)
    body = str(os.getpid()).encode()
    if environ["PATH_INFO"] == "/large":
        body = b"x" * SIZE
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
