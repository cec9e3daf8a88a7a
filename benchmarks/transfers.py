"""Upload or download of one file with as little work on the client as possible: the kernel sends the file,
and received bytes are counted and discarded. Or by curl, if a row says so.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.results import Missed
from benchmarks.wheels import File

_TIMEOUT = 120.0  # seconds without progress
_PIECE = 1024 * 1024
_BOUNDARY = "benchmark-boundary-5c1a9f"


@dataclass(frozen=True, slots=True)
class Transfer:
    """The seconds of a transfer; `wait` is the part from the last byte sent to the answer."""

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
    """Send the legacy upload form, with the file last, like twine. Raises Missed."""
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


def send_form(url: str, file: File, folder: Path) -> float:
    """The same form by curl, with the parts in the given order. Returns the seconds."""
    form = [part for name, value in _fields(file).items() for part in ("--form-string", f"{name}={value}")]
    form += ["--form", f"content=@{file.path};type=application/octet-stream"]
    return _curl(["--output", str(folder / "answer"), *form, url], {200})


def put_blob(registry: str, repository: str, file: File) -> Transfer:
    """Upload a blob directly to a registry by POST and PUT, over a bare socket: the least that PyOCI has to
    do.
    """
    host = urlsplit(registry).netloc
    with file.opened() as content, socket.create_connection(_address(host), _TIMEOUT) as connection:
        started = time.perf_counter()
        connection.sendall(_put_head("POST", f"/v2/{repository}/blobs/uploads/", host, 0))
        with HTTPResponse(connection) as answer:
            answer.begin()
            answer.read()
            location = urlsplit(answer.headers["Location"])
        path = f"{location.path}?{location.query}&digest=sha256:{file.sha256}"
        connection.sendall(_put_head("PUT", path, host, file.size))
        connection.sendfile(content)
        sent = time.perf_counter()
        status, text = _answer(connection)
        ended = time.perf_counter()
    if status != 201:
        raise Missed(f"the registry answered {status} {text[:200]!r} for a blob; expected 201")
    return Transfer(file.size, ended - started, ended - sent)


def put_blob_by_curl(registry: str, repository: str, file: File, folder: Path) -> float:
    """The same by curl; returns the seconds of both requests."""
    head = folder / "head"
    url = f"{registry}/v2/{repository}/blobs/uploads/"
    seconds = _curl(["--request", "POST", "--dump-header", str(head), "--output", os.devnull, url], {202})
    found = re.search(r"^location: *(\S+)", head.read_text(), re.IGNORECASE | re.MULTILINE)
    if found is None:
        raise Missed("the registry named no Location for an upload")
    url = f"{found[1]}&digest=sha256:{file.sha256}"
    body = ["--upload-file", str(file.path), "--header", "Content-Type: application/octet-stream"]
    return seconds + _curl(["--output", os.devnull, *body, url], {201})


def _curl(arguments: list[str], expected: set[int]) -> float:
    """Run curl; returns the seconds of the transfer by its own count."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--header", "Expect:"]
    command += ["--max-time", f"{_TIMEOUT:.0f}", "--write-out", "%{http_code} %{time_total}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * _TIMEOUT, check=False)
    if done.returncode != 0:
        raise Missed(f"curl ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    status, seconds = done.stdout.split()
    if int(status) not in expected:
        raise Missed(f"curl was answered with {status}; expected {expected}")
    return float(seconds)


def _put_head(method: str, path: str, host: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":")
    return name, int(port)


def download(address: tuple[str, int], path: str, file: File, *, verify: bool = False) -> Transfer:
    """Read a file to its end, and check its length, or its bytes, which is slower."""
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


def _fields(file: File) -> dict[str, str]:
    """The fields of the form beside the file."""
    return {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": file.project,
        "version": file.version,
        "filetype": file.filetype,
        "pyversion": "py3" if file.filetype == "bdist_wheel" else "source",
        "sha256_digest": file.sha256,
    }


def _around(file: File) -> tuple[bytes, bytes]:
    """The bytes of the form before and after the file."""
    parts = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in _fields(file).items()
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
