"""Files flow through to docker-registry while they arrive, and a relay sees, or does harm on, the way."""

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
    """Stands before docker-registry; what it does there is up to the test."""
    with Relay(docker_registry.url, MARK // 4) as relay:
        yield relay


@pytest.fixture(scope="module")
def passing_pyoci(relay: Relay, servers: Servers, ports: Callable[[str], Port]) -> Server:
    """PyOCI that knows docker-registry by its relay."""
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
    """The upload form, the sha256 ahead of the file as curl, twine and uv send it."""
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
    """A connection to PyOCI with the head of an upload sent."""
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
    """Send a whole form, and give the whole answer."""
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
def test_clients_files_flow_through(
    publish: Publisher, clients: Clients, index: PackageIndex, relay: Relay, file: Path
) -> None:
    """The second half of the file leaves the client when the registry has bytes of the first."""
    parts = urlsplit(index.url)
    with Relay(f"http://{parts.netloc}", MARK, wait_for(relay.turned)) as front:
        there = replace(index, url=front.url + parts.path)
        published(publish(clients, there, [file]))
        assert front.turned.is_set()
    assert relay.turned.is_set()
    _assert_published(index, file)


def test_a_wrong_digest_leaves_no_blob(index: PackageIndex, relay: Relay, file: Path) -> None:
    """Though nearly all of the file had gone to the registry: neither under the one nor under the other."""
    reply = _send(index, _form(file, "0" * 64))
    assert reply.startswith("HTTP/1.1 400 the file's sha256 digest is")
    assert relay.turned.is_set()
    assert not _is_stored(index, "0" * 64)
    assert not _is_stored(index, hashlib.sha256(file.read_bytes()).hexdigest())
    assert index.get("hello-world/").status_code == 404


def test_attestations_after_the_file(index: PackageIndex, relay: Relay, file: Path) -> None:
    """uv sends them there: what was begun is given up, and the file goes from the spool."""
    assert _send(index, _form(file, after=_ATTESTATIONS)).startswith("HTTP/1.1 200 ")
    _assert_published(index, file)


def test_a_client_that_is_killed_leaves_nothing(index: PackageIndex, relay: Relay, file: Path) -> None:
    """The upload to the registry is dropped at once, and everybody else is served, the same file included."""
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
def test_an_upload_that_breaks_is_begun_anew(
    index: PackageIndex, relay: Relay, file: Path, turn: Turn
) -> None:
    """The rest of the file is read from the client, and all of it is pushed from the spool."""
    relay.turn = turn
    assert _send(index, _form(file)).startswith("HTTP/1.1 200 ")
    assert relay.turned.is_set()
    _assert_published(index, file)


@pytest.mark.parametrize("status", ["413 Content Too Large", "403 Forbidden"])
def test_a_refusal_comes_after_the_file_was_read(
    index: PackageIndex, relay: Relay, file: Path, status: str
) -> None:
    """The client has sent everything before it looks for an answer; then it is told, once and for all."""
    relay.turn = say(answer(b"", status))
    reply = _send(index, _form(file))
    assert reply.startswith(f"HTTP/1.1 {status[:3]} ")
    assert index.get("hello-world/").status_code == 404


def test_a_slow_client_is_waited_for(index: PackageIndex, relay: Relay, file: Path) -> None:
    """The registry gets its bytes as they come, and the file is there in the end."""
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
