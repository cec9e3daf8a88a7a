"""A slow upload and slow downloads, and a server that is stopped during them."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from tests.live.indexes import PackageIndex
from tests.live.servers import Server
from tests.live.sockets import connect, make_head

STEPS = 40  # of each transfer
PAUSE = 0.1  # seconds between two steps: a transfer takes four
_BOUNDARY = "frontier"
_CALLER = "Authorization: Basic bWU6bWU="


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a server that was stopped, and of its transfers."""

    refused: bool  # whoever came then
    upload: int  # its status
    downloads: list[bool]  # whether each came whole
    code: int
    seconds: float  # from the signal to the end


@dataclass(frozen=True, slots=True)
class Halt:
    """Where a transfer waits for somebody else. So much of it has been sent that the server has accepted it:
    the buffers between them hold less.
    """

    is_reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


def stop_amid(
    server: Server, index: PackageIndex, kept: Path, coming: Path, *, downloads: int, pause: float = PAUSE
) -> Ending:
    """SIGTERM while one file is uploaded and another one is downloaded several times. Raises AssertionError
    if the upload ends before the signal.
    """
    begun, halt = [threading.Event() for _ in range(downloads)], Halt()
    with ThreadPoolExecutor(downloads + 1) as clients:
        digests = [clients.submit(slow_download, index, server, kept, event, pause) for event in begun]
        assert all(event.wait(60) for event in begun)
        upload = clients.submit(slow_upload, index, server, coming, pause, halt)
        assert halt.is_reached.wait(60)
        server.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        refused = _is_refused_soon(server)
        halt.go_on.set()
        with kept.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        status, whole = upload.result(), [each.result() == digest for each in digests]
    return Ending(refused, status, whole, server.process.wait(60), time.monotonic() - told)


def slow_upload(
    index: PackageIndex,
    server: Server,
    file: Path,
    pause: float = PAUSE,
    halt: Halt | None = None,
) -> int:
    """Send the upload form in steps; returns the status."""
    fields = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    parts = [f'form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f'form-data; name="content"; filename="{file.name}"\r\n\r\n')
    head = "".join(f"--{_BOUNDARY}\r\nContent-Disposition: {part}\r\n" for part in parts)[:-2].encode()
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    size = file.stat().st_size
    kind = f"Content-Type: multipart/form-data; boundary={_BOUNDARY}"
    length = f"Content-Length: {len(head) + size + len(tail)}"
    with connect(server) as connection, file.open("rb") as content:
        line = f"POST {urlsplit(index.url).path} HTTP/1.1"
        connection.sendall(make_head(line, kind, length, _CALLER) + head)
        while piece := content.read(size // STEPS + 1):
            connection.sendall(piece)
            if halt is not None and content.tell() > size // 2:
                halt.is_reached.set()
                assert halt.go_on.wait(60)
            time.sleep(pause)
        connection.sendall(tail)
        with HTTPResponse(connection) as answer:
            answer.begin()
            return answer.status


def slow_download(
    index: PackageIndex, server: Server, file: Path, begun: threading.Event, pause: float = PAUSE
) -> str:
    """Read a file in steps; returns its digest."""
    seen = hashlib.sha256()
    with connect(server, receive=64 * 1024) as connection:
        path = f"{urlsplit(index.url).path}hello-world/{file.name}"
        connection.sendall(make_head(f"GET {path} HTTP/1.1", _CALLER))
        with HTTPResponse(connection) as answer:
            answer.begin()
            assert answer.status == 200
            while piece := answer.read(file.stat().st_size // STEPS + 1):
                begun.set()
                seen.update(piece)
                time.sleep(pause)
    return seen.hexdigest()


def _is_refused_soon(server: Server) -> bool:
    """Whether new connections are refused within the time that a busy machine takes. It is shorter than the
    30 seconds that the server waits for more of an upload, and for its end.
    """
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            connect(server).close()
        except ConnectionResetError:
            continue  # it was waiting to be accepted when the listener closed
        except ConnectionRefusedError:
            return True
    return False
