"""One file up or down over a socket, with as little work on this side as can be: the kernel sends the file,
and what arrives is counted and dropped.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse

from benchmarks.results import Missed
from benchmarks.wheels import File

_TIMEOUT = 120.0  # seconds without progress
_PIECE = 1024 * 1024
_BOUNDARY = "benchmark-boundary-5c1a9f"


@dataclass(frozen=True, slots=True)
class Transfer:
    """How long a transfer took, in seconds; `wait` is the part from the last byte sent to the answer."""

    size: int
    seconds: float
    wait: float = 0.0

    @property
    def rate(self) -> float:
        """MB (1,000,000 bytes) a second."""
        return self.size / self.seconds / 1e6


def upload(
    address: tuple[str, int], path: str, file: File, headers: Mapping[str, str] | None = None
) -> Transfer:
    """Send the legacy upload form, fields first and the file last, as twine does. Raises Missed."""
    before, after = _around(file)
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUser-Agent: pyoci-bench\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(before) + file.size + len(after)}\r\nConnection: close\r\n{more}\r\n"
    ).encode()
    with file.opened() as content, socket.create_connection(address, _TIMEOUT) as connection:
        started = time.perf_counter()
        connection.sendall(head + before)
        connection.sendfile(content)
        connection.sendall(after)
        sent = time.perf_counter()
        status, text = _answer(connection)
        ended = time.perf_counter()
    if status != 200:
        raise Missed(f"the upload of {file.name} was answered with {status} {text[:200]!r}; expected 200")
    return Transfer(file.size, ended - started, ended - sent)


def download(address: tuple[str, int], path: str, file: File, *, verify: bool = False) -> Transfer:
    """Read a file to its end, and see that it has the right length; or, slower, the right bytes."""
    head = f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nConnection: close\r\n\r\n"
    seen, buffer = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with socket.create_connection(address, _TIMEOUT) as connection:
        started = time.perf_counter()
        connection.sendall(head.encode())
        with HTTPResponse(connection) as answer:
            answer.begin()
            taken = 0
            while count := answer.readinto(buffer):
                taken += count
                if verify:
                    seen.update(buffer[:count])
            seconds = time.perf_counter() - started
    if answer.status != 200 or taken != file.size:
        raise Missed(f"the download of {path} gave {answer.status} and {taken} bytes; expected {file.size}")
    if verify and seen.hexdigest() != file.sha256:
        raise Missed(f"the download of {path} gave other bytes than those that were sent up")
    return Transfer(file.size, seconds)


def _around(file: File) -> tuple[bytes, bytes]:
    """What stands in the form before and after the file's bytes."""
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": file.project,
        "version": file.version,
        "filetype": file.filetype,
        "pyversion": "py3" if file.filetype == "bdist_wheel" else "source",
        "sha256_digest": file.sha256,
    }
    parts = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    parts += (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{file.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return parts.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    with HTTPResponse(connection) as answer:
        answer.begin()
        return answer.status, answer.read(_PIECE)
