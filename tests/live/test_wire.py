"""Invalid clients on raw sockets: PyOCI answers, and survives."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.live import packages
from tests.live.indexes import PackageIndex

_BOUNDARY = "frontier"


def _form(file: Path) -> bytes:
    """The upload form with `file`, without its last boundary."""
    fields = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    disposition = f'Content-Disposition: form-data; name="content"; filename="{file.name}"'
    parts.append(f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n")
    return "".join(parts).encode() + file.read_bytes() + b"\r\n"


def _head(index: PackageIndex, *headers: str) -> bytes:
    parts = urlsplit(index.url)
    lines = (
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}",
        "Connection: close",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode()


def _send(index: PackageIndex, data: bytes, *, read: bool = True) -> str:
    """Send `data` and return the whole answer; without `read`, close the connection at once."""
    parts = urlsplit(index.url)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=60) as connection:
        connection.sendall(data)
        answer = b""
        while read and (piece := connection.recv(65536)):
            answer += piece
    return answer.decode()


def test_disconnect(package_index: PackageIndex, tmp_path: Path) -> None:
    """A client that disconnects in the middle of a file leaves nothing, and the next one is served."""
    file = packages.wheel(tmp_path, ballast=2_000_000)
    form = _form(file) + f"--{_BOUNDARY}--\r\n".encode()

    _send(package_index, _head(package_index, f"Content-Length: {len(form)}") + form[:1_000_000], read=False)

    assert package_index.get("hello-world/").status_code == 404
    answer = _send(package_index, _head(package_index, f"Content-Length: {len(form)}") + form)
    assert answer.startswith("HTTP/1.1 200 ")
    assert package_index.filenames("hello-world") == [file.name]


def test_no_last_boundary(package_index: PackageIndex, tmp_path: Path) -> None:
    """A form without its end is refused although its length is right, and nothing is stored."""
    form = _form(packages.wheel(tmp_path))

    answer = _send(package_index, _head(package_index, f"Content-Length: {len(form)}") + form)

    assert answer.startswith("HTTP/1.1 400 ")
    assert package_index.get("hello-world/").status_code == 404


def _chunked(data: bytes, size: int = 50_000) -> bytes:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("ballast", "status"),
    [pytest.param(100_000, 200, id="small"), pytest.param(2_000_000, 413, id="over-the-limit")],
)
def test_chunked(small_index: PackageIndex, tmp_path: Path, ballast: int, status: int) -> None:
    """A body of unknown length is accepted up to PYOCI_MAX_BODY."""
    form = _form(packages.wheel(tmp_path, ballast=ballast)) + f"--{_BOUNDARY}--\r\n".encode()

    answer = _send(small_index, _head(small_index, "Transfer-Encoding: chunked") + _chunked(form))

    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert ("PYOCI_MAX_BODY" in answer) == (status == 413)
