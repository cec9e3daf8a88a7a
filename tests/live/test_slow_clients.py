"""Hundreds of slow clients don't keep others from being served: PyOCI alone and behind nginx. The order
counts, not the time: the others get their answers while the slow ones still have their connections.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.certificates import make_certificate
from tests.live import packages
from tests.live.attacking import Kind, attacked, slow_kinds
from tests.live.indexes import PackageIndex
from tests.live.nginx import start_nginx
from tests.live.servers import Port, Server, Servers, start_gunicorn, start_pyoci
from tests.live.sockets import PATIENCE, connect, exchange, is_well, make_head, received, statuses
from tests.live.stopping import slow_download, slow_upload

CROWD = 300
SILENT = 1100  # more than the connections that a worker takes
SIZE = 8_000_000  # bytes; more than the buffers of a connection hold
MODEST = 160_000  # bytes, which take five seconds at 256 kbit/s
PAUSE = 0.125  # seconds, for a fortieth of it
KINDS = sorted(slow_kinds("/", ""))


@pytest.fixture(scope="module")
def alone(servers: Servers, ports: Callable[[str], Port], docker_registry: Server) -> Server:
    """PyOCI with one worker and four threads, before docker-registry."""
    return start_pyoci(
        servers,
        "besieged-pyoci",
        ports("besieged-pyoci"),
        PYOCI_REGISTRIES=f"lab={docker_registry.url}",
        PYOCI_EMBEDDED=str(servers.folder / "besieged"),
        WEB_CONCURRENCY="1",
        PYOCI_THREADS="4",
        PYOCI_METRICS="yes",
    )


@pytest.fixture(
    scope="module",
    params=["alone", pytest.param("nginx", marks=pytest.mark.live("nginx"))],
)
def server(
    request: pytest.FixtureRequest, alone: Server, servers: Servers, ports: Callable[[str], Port]
) -> Iterator[Server]:
    """PyOCI itself, or nginx in front of it."""
    if request.param == "alone":
        yield alone
        return
    port = ports("besieged-nginx")
    front = start_nginx(servers, "besieged-nginx", port, servers.folder / "nginx", ports("besieged-pyoci"))
    yield front
    front.end()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.wheel(tmp_path_factory.mktemp("large"), ballast=SIZE)


@pytest.fixture(scope="module")
def modest_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.wheel(
        tmp_path_factory.mktemp("modest"), tag="py3-none-manylinux_2_17_x86_64", ballast=MODEST
    )


@pytest.fixture
def index(server: Server, docker_registry: Server, file: Path) -> PackageIndex:
    """A package index with one large wheel."""
    index = PackageIndex.new(server, "lab", docker_registry.url.removeprefix("http://"))
    assert slow_upload(index, server, file, pause=0) == 200
    return index


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def count_ended(server: Server, reason: str) -> float:
    """How many clients were ended for that reason, by the metrics."""
    text = requests.get(f"{server.url}/metrics", timeout=60).text
    found = re.search(rf'(?m)^pyoci_clients_ended_total{{pyoci_reason="{reason}"}} (\S+)$', text)
    return float(found[1]) if found else 0.0


def serve_others(server: Server, index: PackageIndex, file: Path) -> None:
    """Pages, probes, an upload and a download, each on a new connection, without a refusal."""
    for number in range(10):
        assert index.get("hello-world/").status_code == 200
        assert statuses(exchange(server, make_head("GET /ready HTTP/1.1", "Connection: close"))) == [200]
        assert is_well(server)
        small = packages.wheel(file.parent, tag=f"py3-none-manylinux_2_{number + 20}_x86_64")
        assert slow_upload(index, server, small, pause=0) == 200
    assert hashlib.sha256(index.get(f"hello-world/{file.name}").content).hexdigest() == digest_of(file)


@pytest.mark.parametrize("kind", KINDS)
def test_others_are_served(
    server: Server, index: PackageIndex, file: Path, modest_file: Path, kind: str
) -> None:
    """Also clients at 256 kbit/s, up and down, during the whole attack."""
    slow = slow_kinds(urlsplit(index.url).path, file.name)[kind]
    assert slow_upload(index, server, modest_file, pause=0) == 200
    with attacked(server, slow, CROWD), ThreadPoolExecutor(2) as clients:
        upload = clients.submit(slow_upload, index, server, modest_file, PAUSE)
        download = clients.submit(slow_download, index, server, modest_file, threading.Event(), PAUSE)
        serve_others(server, index, file)
        assert upload.result() == 200
        assert download.result() == digest_of(modest_file)


def test_bodies_that_declare_years(alone: Server, docker_registry: Server, file: Path) -> None:
    """The rate of arriving bytes counts, not the declared length: at three bytes a second, these bodies would
    take 10^12 years.
    """
    index = PackageIndex.new(alone, "lab", docker_registry.url.removeprefix("http://"))
    assert slow_upload(index, alone, file, pause=0) == 200
    upload = requests.post(f"{alone.url}/v2/acme/years/blobs/uploads/", timeout=60).headers["Location"]
    path = urlsplit(upload).path
    slow = Kind(make_head(f"PATCH {path} HTTP/1.1", f"Content-Length: {10**20}"), b"x")
    with attacked(alone, slow, CROWD):
        serve_others(alone, index, file)


def test_silent(alone: Server, docker_registry: Server, file: Path) -> None:
    """If there are more silent connections than allowed, the oldest are closed. They reconnect at once."""
    index = PackageIndex.new(alone, "lab", docker_registry.url.removeprefix("http://"))
    assert slow_upload(index, alone, file, pause=0) == 200
    with attacked(alone, Kind(b""), SILENT) as attack:
        serve_others(alone, index, file)
        assert attack.returns > 0
    assert alone.line("client ended", '"reason": "silent"', '"peer": "::ffff:127.')
    assert count_ended(alone, "silent") > 0


@pytest.fixture
def limited(servers: Servers, docker_registry: Server) -> Iterator[Server]:
    """PyOCI with 1,024 descriptors at most."""
    with closing(Port()) as port:
        settings = {"PYOCI_REGISTRIES": f"lab={docker_registry.url}", "WEB_CONCURRENCY": "1"}
        settings["PYOCI_THREADS"] = "4"
        server = start_gunicorn(servers, "limited-pyoci", port, settings, descriptors=1024)
        yield server
        server.end()


def test_silent_at_few_descriptors(limited: Server, docker_registry: Server, file: Path) -> None:
    """More connections than descriptors: the oldest silent ones are closed before none are left."""
    index = PackageIndex.new(limited, "lab", docker_registry.url.removeprefix("http://"))
    assert slow_upload(index, limited, file, pause=0) == 200
    with attacked(limited, Kind(b""), SILENT) as attack:
        serve_others(limited, index, file)
        assert attack.returns > 0
    assert limited.line("client ended", '"reason": "silent"')


OVER = {
    "an upload": (make_head("POST /lab/acme/ HTTP/1.1", "Content-Type: multipart/form-data; boundary=b",
                            "Content-Length: 60000000"), 413),
    "chunks": (make_head("POST /lab/acme/ HTTP/1.1", "Content-Type: multipart/form-data; boundary=b",
                         "Transfer-Encoding: chunked") + b"ffffffff\r\n", 413),
    "a chunk to the registry": (make_head("PATCH /v2/acme/hello/blobs/uploads/x HTTP/1.1",
                                          f"Content-Length: {10**12}"), 404),
    "an image index": (make_head("PUT /v2/acme/hello/manifests/1.0 HTTP/1.1",
                                 "Content-Length: 5000000"), 413),
    "a yank": (make_head("PATCH /lab/acme/hello/1.0 HTTP/1.1", "Content-Length: 100000"), 413),
    "a page": (make_head("GET /robots.txt HTTP/1.1", "Content-Length: 100000"), 404),
    "health": (make_head("GET /health HTTP/1.1", "Content-Length: 1"), 200),
    "ready, in chunks": (make_head("GET /ready HTTP/1.1", "Transfer-Encoding: chunked") + b"1\r\n", 200),
    "expected": (make_head("POST /lab/acme/ HTTP/1.1", "Content-Type: multipart/form-data; boundary=b",
                           "Content-Length: 60000000", "Expect: 100-continue"), 413),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status"), OVER.values(), ids=OVER)
def test_a_body_over_the_limit(alone: Server, request_: bytes, status: int) -> None:
    """It is answered before any of it has arrived. Then more may arrive, until the client has read the
    answer.
    """
    before = count_ended(alone, "over the limit")
    with connect(alone) as connection:
        connection.sendall(request_)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        assert statuses(answer) == [status]
        assert b"\r\nConnection: close\r\n" in answer
        connection.sendall(b"x" * 5_000_000)
        received(connection)
    assert count_ended(alone, "over the limit") == before + 1


@pytest.mark.live("nginx")
def test_a_body_over_the_limit_over_tls(
    alone: Server, servers: Servers, ports: Callable[[str], Port], tmp_path: Path
) -> None:
    """The client gets the answer while it sends. The rest of its bytes are read, and the connection is
    closed.
    """
    key, certificate = make_certificate(tmp_path, "pyoci.example")
    port, secure = ports("besieged-tls"), ports("besieged-tls-secure")
    front = start_nginx(
        servers,
        "besieged-tls",
        port,
        servers.folder / "nginx-tls",
        ports("besieged-pyoci"),
        tls=(secure, key, certificate),
    )
    context = ssl.create_default_context(cafile=certificate)
    before = count_ended(alone, "over the limit")
    with (
        socket.create_connection(("127.0.0.1", secure.number), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="pyoci.example") as connection,
    ):
        connection.sendall(OVER["an upload"][0])
        answer = connection.recv(65536)
        assert statuses(answer) == [413]
        connection.sendall(b"x" * 5_000_000)
        received(connection)
    assert count_ended(alone, "over the limit") == before + 1
    front.end()


def test_crowd_over_the_limit(alone: Server, docker_registry: Server, file: Path) -> None:
    """A client that continues to send after the answer occupies a connection, but no thread."""
    index = PackageIndex.new(alone, "lab", docker_registry.url.removeprefix("http://"))
    assert slow_upload(index, alone, file, pause=0) == 200
    with ExitStack() as stack:
        for _ in range(CROWD):
            connection = stack.enter_context(connect(alone))
            connection.sendall(OVER["health"][0])
            assert statuses(connection.recv(65536)) == [200]
        serve_others(alone, index, file)
