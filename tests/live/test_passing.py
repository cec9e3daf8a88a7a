"""Files are streamed to docker-registry while they arrive. A relay watches or disturbs that."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import Publisher, published, twine, uv
from tests.live.relaying import Relay, Turn, close, go_on, say, wait_for
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.net.servers import answer

pytestmark = pytest.mark.live("docker-registry")

SIZE = 20_000_000  # bytes
MARK = SIZE // 2
_BOUNDARY = "frontier"
_ATTESTATIONS = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="attestations"\r\n\r\n[]\r\n'.encode()


@pytest.fixture(scope="module")
def relay(docker_registry: Server) -> Iterator[Relay]:
    """It is in front of docker-registry; the test decides what it does."""
    with Relay(docker_registry.url, MARK // 4) as relay:
        yield relay


@pytest.fixture(scope="module")
def passing_pyoci(relay: Relay, servers: Servers, ports: Callable[[str], Port]) -> Server:
    """PyOCI that reaches docker-registry through the relay."""
    return start_pyoci(servers, "passing-pyoci", ports("passing-pyoci"), PYOCI_REGISTRIES=f"far={relay.url}")


@pytest.fixture
def index(passing_pyoci: Server, relay: Relay, docker_registry: Server) -> PackageIndex:
    relay.turned.clear()
    relay.ended.clear()
    relay.turn = go_on
    return PackageIndex.new(passing_pyoci, "far", docker_registry.url.removeprefix("http://"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return packages.wheel(tmp_path / "dist", ballast=SIZE)


def _form(file: Path, sha256: str | None = None, after: bytes = b"") -> bytes:
    """The upload form with the sha256 before the file, as curl, twine and uv send it."""
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": "hello-world",
        "version": "1.0",
        "sha256_digest": sha256 or hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    disposition = f'Content-Disposition: form-data; name="content"; filename="{file.name}"'
    head = "".join(parts).encode() + f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
    return head + file.read_bytes() + b"\r\n" + after + f"--{_BOUNDARY}--\r\n".encode()


def _connect(index: PackageIndex, length: int) -> socket.socket:
    """A connection to PyOCI on which the head of an upload was sent."""
    parts = urlsplit(index.url)
    connection = socket.create_connection((parts.hostname, parts.port or 80), timeout=60)
    lines = (
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Authorization: Basic c29tZWJvZHk6YW55dGhpbmc=",
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}",
        "Connection: close",
        f"Content-Length: {length}",
    )
    connection.sendall("\r\n".join((*lines, "", "")).encode())
    return connection


def _send(index: PackageIndex, form: bytes) -> str:
    """Send a whole form, and return the whole answer."""
    with _connect(index, len(form)) as connection:
        connection.sendall(form)
        return _read(connection)


def _read(connection: socket.socket) -> str:
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found.decode()


def _is_stored(index: PackageIndex, sha256: str) -> bool:
    host, _, namespace = index.registry.partition("/")
    url = f"http://{host}/v2/{namespace}/hello_world/blobs/sha256:{sha256}"
    return requests.head(url, timeout=30).status_code == 200


def _assert_published(index: PackageIndex, file: Path) -> None:
    assert index.get(f"hello-world/{file.name}").content == file.read_bytes()


@pytest.mark.parametrize(
    "publish",
    [
        pytest.param(publisher, id=publisher.__name__, marks=pytest.mark.live(publisher.__name__))
        for publisher in (twine, uv)
    ],
)
def test_files_are_streamed(
    publish: Publisher, clients: Clients, index: PackageIndex, relay: Relay, file: Path
) -> None:
    """The client sends the second half of the file only after the registry has bytes of the first half."""
    parts = urlsplit(index.url)
    with Relay(f"http://{parts.netloc}", MARK, wait_for(relay.turned)) as front:
        there = replace(index, url=front.url + parts.path)
        published(publish(clients, there, [file]))
        assert front.turned.is_set()
    assert relay.turned.is_set()
    _assert_published(index, file)


def test_a_wrong_digest_leaves_no_blob(index: PackageIndex, relay: Relay, file: Path) -> None:
    """Although nearly all of the file was sent to the registry: under neither digest."""
    reply = _send(index, _form(file, "0" * 64))
    assert reply.startswith("HTTP/1.1 400 the file's sha256 digest is")
    assert relay.turned.is_set()
    assert not _is_stored(index, "0" * 64)
    assert not _is_stored(index, hashlib.sha256(file.read_bytes()).hexdigest())
    assert index.get("hello-world/").status_code == 404


def test_attestations_after_the_file(index: PackageIndex, relay: Relay, file: Path) -> None:
    """uv sends them there. The streamed upload is abandoned, and the file is pushed from the spool."""
    assert _send(index, _form(file, after=_ATTESTATIONS)).startswith("HTTP/1.1 200 ")
    _assert_published(index, file)


def test_a_client_that_is_killed_leaves_nothing(index: PackageIndex, relay: Relay, file: Path) -> None:
    """The upload to the registry ends at once, and other clients are served, also with the same file."""
    form = _form(file)
    with _connect(index, len(form)) as connection:
        connection.sendall(form[:MARK])
        assert relay.turned.wait(30)
    assert relay.ended.wait(30)
    assert not _is_stored(index, hashlib.sha256(file.read_bytes()).hexdigest())
    assert index.get("hello-world/").status_code == 404
    assert _send(index, form).startswith("HTTP/1.1 200 ")
    _assert_published(index, file)


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(close, id="closed"),
        pytest.param(say(answer(b"", "503 Service Unavailable")), id="503"),
        pytest.param(
            say(answer(b"", "401 Unauthorized", 'WWW-Authenticate: Basic realm="far"')), id="expired"
        ),
    ],
)
def test_broken_upload_is_repeated(index: PackageIndex, relay: Relay, file: Path, turn: Turn) -> None:
    """The rest of the file is read from the client, and the whole file is pushed from the spool."""
    relay.turn = turn
    assert _send(index, _form(file)).startswith("HTTP/1.1 200 ")
    assert relay.turned.is_set()
    _assert_published(index, file)


@pytest.mark.parametrize("status", ["413 Content Too Large", "403 Forbidden"])
def test_a_refusal_comes_after_the_file_was_read(
    index: PackageIndex, relay: Relay, file: Path, status: str
) -> None:
    """The client reads the answer only after it has sent everything."""
    relay.turn = say(answer(b"", status))
    reply = _send(index, _form(file))
    assert reply.startswith(f"HTTP/1.1 {status[:3]} ")
    assert index.get("hello-world/").status_code == 404


def test_a_slow_client_is_waited_for(index: PackageIndex, relay: Relay, file: Path) -> None:
    """The registry gets the bytes as they arrive, and the file is stored in the end."""
    form = _form(file)
    pieces = [form[start : start + 1_000_000] for start in range(0, len(form), 1_000_000)]
    with _connect(index, len(form)) as connection:
        for piece in pieces[:-1]:
            connection.sendall(piece)
            time.sleep(0.05)
        assert relay.turned.wait(30)
        connection.sendall(pieces[-1])
        assert _read(connection).startswith("HTTP/1.1 200 ")
    _assert_published(index, file)
