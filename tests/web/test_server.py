"""Tests with a real server: bytes that arrive late, too few, too many, or not at all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.web.serving import BROKEN, LARGE, MAX_BODY
from tests.web.uploads import BOUNDARY, ROOT, make_form, make_part

PAGE = "/ghcr.io/acme/hello-world/"
LONG = MAX_BODY // 2  # bytes of a form that may take longer than a test waits for an answer
TYPE = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
ROOT_DIRECTORY = Path(__file__).parents[2]
Address = tuple[str, int]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """gunicorn with one worker of a few threads, without PyOCI's configuration."""
    elsewhere = tmp_path_factory.mktemp("gunicorn")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--threads", "4"]
        command += ["--worker-class", "gthread", "--graceful-timeout", "2", "tests.web.serving:create()"]
        environ = os.environ | {"PYTHONPATH": str(ROOT_DIRECTORY), "WEB_CONCURRENCY": "1"}
        with (elsewhere / "log").open("wb") as log:
            server = subprocess.Popen(
                command, pass_fds=[listener.fileno()], stderr=log, cwd=elsewhere, env=environ
            )
        try:
            yield listener.getsockname()
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture
def connection(address: Address) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def make_head(method: str, path: str, length: int | None, headers: str = "") -> bytes:
    framing = "Transfer-Encoding: chunked\r\n" if length is None else f"Content-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{framing}{headers}\r\n".encode()


def chunked(body: bytes, size: int = 1000) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def read_answer(connection: socket.socket) -> tuple[str, str]:
    """The status line without the protocol, and the body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    length = next(int(line[15:]) for line in lines if line.lower().startswith("content-length:"))
    while len(body) < length:
        body += _more(connection)
    return lines[0].partition(" ")[2], body.decode()


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the connection was closed without a whole answer"
    return data


def is_absent(address: Address, project: str) -> bool:
    return (
        requests.get(f"http://{address[0]}:{address[1]}/ghcr.io/acme/{project}/", timeout=20).status_code
        == 404
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("POST", ROOT, TYPE, "413", id="too large"),
        pytest.param("POST", ROOT, "", "400", id="no form"),
        pytest.param("POST", ROOT, f"{TYPE}Authorization: rubbish\r\n", "401", id="bad credentials"),
        pytest.param("POST", "/forbidden.example/a/", TYPE, "403", id="not allowed"),
        pytest.param("POST", "/nowhere/a/", TYPE, "404", id="no registry"),
        pytest.param("PUT", PAGE, "", "405", id="unknown method"),
        pytest.param("GET", PAGE, "", "200", id="GET with a body"),
        pytest.param("GET", "/health", "", "200", id="health"),
        pytest.param("PATCH", f"{PAGE}7.7", "", "413", id="large yank"),
        pytest.param("DELETE", f"{PAGE}0.0", "", "404", id="delete"),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_bodies_are_read(
    connection: socket.socket, method: str, path: str, headers: str, status: str, framing: str
) -> None:
    """Every answer follows the whole body, so the next request on the connection is parsed correctly."""
    body = make_form(content=b"x" * (2 * MAX_BODY))
    head = make_head(method, path, len(body) if framing == "length" else None, headers)
    for _ in range(2):
        connection.sendall(head + (body if framing == "length" else chunked(body, 100_000)))
        assert read_answer(connection)[0][:3] == status
    connection.sendall(make_head("GET", "/health", 0))
    assert read_answer(connection) == ("200 OK", "ok")


def test_reason_phrase(address: Address, connection: socket.socket) -> None:
    """twine prints only the reason phrase, so it has the sentence."""
    name, content = make_wheel("conflicting")
    for data in (content, content + b"more"):
        body = make_form(filename=name, content=data, name="conflicting", sha256_digest=None)
        connection.sendall(make_head("POST", ROOT, len(body), TYPE) + body)
        status, text = read_answer(connection)
    assert status == f"409 {text}"
    assert text.startswith(f"File already exists ('{name}', with sha256 hash '")


def test_chunked_upload(address: Address, connection: socket.socket) -> None:
    """A form may come in chunks."""
    name, content = make_wheel("chunky")
    body = make_form(filename=name, content=content, name="chunky")
    connection.sendall(make_head("POST", ROOT, None, TYPE) + chunked(body))
    assert read_answer(connection)[0] == "200 OK"
    assert not is_absent(address, "chunky")


@pytest.mark.parametrize(
    ("length", "ending"),
    [
        pytest.param(10_000, b"", id="too few bytes"),
        pytest.param(None, b"", id="no more chunks"),
        pytest.param(None, b"rubbish\r\n", id="a chunk that is none"),
    ],
)
def test_body_that_ends_too_soon(
    address: Address, connection: socket.socket, length: int | None, ending: bytes
) -> None:
    """A client that stops sending but still reads gets an error, and nothing is stored."""
    form = make_form(name="halved", filename="halved-1.0.zip")[:600]
    body = form if length else b"%x\r\n%s\r\n" % (len(form), form) + ending
    connection.sendall(make_head("POST", ROOT, length, TYPE) + body)
    connection.shutdown(socket.SHUT_WR)
    status, text = read_answer(connection)
    assert status.startswith("400 the request's body ended too soon")
    assert "expected" in text
    assert is_absent(address, "halved")


def test_client_that_goes_away(address: Address) -> None:
    """Nothing is left of its upload, and the server goes on."""
    body = make_form(name="gone", filename="gone-1.0.zip", after=make_part("x", "y" * 100_000))
    for cut in (10, 700, len(body) - 1):
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(make_head("POST", ROOT, len(body), TYPE) + body[:cut])
            # A reset, not an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(0.2)
    assert is_absent(address, "gone")


class TestSlowClients:
    """Clients that would occupy a thread."""

    @pytest.mark.parametrize("path", [ROOT, "/nowhere/acme/"], ids=["upload", "refused"])
    def test_stalled(self, connection: socket.socket, path: str) -> None:
        """A body that stops arriving is ended, and the client gets an error."""
        connection.sendall(make_head("POST", path, LONG, TYPE) + make_form()[:300])
        status, _ = read_answer(connection)
        assert status[:3] == ("408" if path == ROOT else "404")

    @pytest.mark.parametrize(
        ("path", "framing"), [(ROOT, 1_000), ("/nowhere/acme/", None)], ids=["upload", "refused in chunks"]
    )
    def test_trickling(self, connection: socket.socket, path: str, framing: int | None) -> None:
        """A body with a byte now and then is ended, too."""
        connection.sendall(make_head("POST", path, framing, TYPE))
        connection.settimeout(0.1)
        for _ in range(600):
            connection.sendall(b"1\r\nx\r\n" if framing is None else b"x")
            try:
                connection.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                continue
        connection.settimeout(20)
        status, _ = read_answer(connection)
        assert status[:3] == ("408" if path == ROOT else "404")

    def test_others_are_served(self, address: Address) -> None:
        """More slow clients than threads don't block the server."""
        slow = [socket.create_connection(address, timeout=20) for _ in range(8)]
        try:
            for connection in slow:
                connection.sendall(make_head("POST", ROOT, LONG, TYPE))
            assert is_absent(address, "nobody")
        finally:
            for connection in slow:
                connection.close()


def test_endless_body(connection: socket.socket) -> None:
    """An unwanted body over the cap isn't read; the answer is sent, and the connection closed."""
    connection.sendall(make_head("POST", "/nowhere/acme/", 10**12, TYPE) + b"x" * 1000)
    assert read_answer(connection)[0][:3] == "404"
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b""


class TestDownloads:
    """Downloads over a real connection."""

    def test_whole(self, address: Address) -> None:
        """A large file arrives with its length, and the connection is kept."""
        with requests.Session() as session:
            for _ in range(2):
                answer = session.get(f"http://{address[0]}:{address[1]}{PAGE}{LARGE}", timeout=20)
                assert (len(answer.content), answer.headers["Content-Length"]) == (1_000_000, "1000000")

    def test_broken(self, address: Address) -> None:
        """The client notices at once that a download was cut off."""
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(f"http://{address[0]}:{address[1]}{PAGE}{BROKEN}", timeout=20)

    def test_redirect_is_followed(self, address: Address) -> None:
        """A real client follows a relative Location."""
        url = f"http://{address[0]}:{address[1]}/ghcr.io/Acme/Hello.World?format=json"
        answer = requests.get(url, timeout=20)
        assert [step.status_code for step in answer.history] == [301, 301]
        assert answer.json()["name"] == "hello-world"
        assert answer.url.endswith("/ghcr.io/Acme/hello-world/?format=json")
