"""Large documents take bounded memory, however many requests read them at once."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from pyoci.store.pages import MAX_FILES
from tests.certificates import make_certificate
from tests.hostile_registries import FILES, LargeRegistry
from tests.live.servers import Port, Server, Servers, running_pyoci, start_gunicorn, start_pyoci
from tests.live.sockets import connect, is_well, make_head
from tests.live.test_memory import status_of, worker_of
from tests.live.unlisted import HOST
from tests.serving import served

pytestmark = pytest.mark.live()

BOUND = 300 * 1024  # KiB, of docs/reliability.rst
AT_ONCE = 12
OTHERS = 6  # large pages; a worker remembers fewer
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@pytest.fixture
def server(servers: Servers) -> Iterator[Server]:
    """PyOCI with one worker, in front of that registry."""
    port = Port()
    with served(LargeRegistry()) as url:
        yield start_pyoci(
            servers,
            "large-pyoci",
            port,
            WEB_CONCURRENCY="1",
            PYOCI_THREADS="16",
            PYOCI_REGISTRIES=f"lab={url}",
        )
    port.close()


def test_large_pages_take_bounded_memory(server: Server) -> None:
    """For one project, for many at once, and for many whose clients have left. Each page has the newest
    versions within the limit of files, or is a 503: large ones are built one at a time.
    """
    worker = worker_of(server)

    def read(name: str) -> tuple[int, int]:
        answer = requests.get(f"{server.url}/lab/acme/{name}/", headers=JSON, timeout=120)
        return answer.status_code, len(answer.json()["files"]) if answer.status_code == 200 else 0

    assert read("alone") == (200, MAX_FILES // FILES * FILES)
    alone = status_of(worker, "VmHWM")

    def leave(name: str) -> None:
        for number in range(AT_ONCE):
            with connect(server) as connection:
                head = make_head(f"GET /lab/acme/{name}-{number}/ HTTP/1.1", "Connection: close")
                connection.sendall(head)

    leave("before")
    assert read("behind") == (200, MAX_FILES // FILES * FILES)  # those who have left give up their places
    with ThreadPoolExecutor(AT_ONCE) as clients:
        leave("left")
        found = list(clients.map(read, [f"project-{number}" for number in range(AT_ONCE)]))
        assert is_well(server)
    assert set(found) <= {(200, MAX_FILES // FILES * FILES), (503, 0)}
    assert read("afterwards") == (200, MAX_FILES // FILES * FILES)
    most = status_of(worker, "VmHWM")
    assert most < BOUND, f"alone {alone} KiB, together {most} KiB"
    server.line("over the cap", '"left_out": 10')


def test_documents_that_the_cache_has_lost(servers: Servers, tmp_path: Path) -> None:
    """Their sizes aren't known before they are read again. No more of them are kept than the page shows."""
    settings = {"WEB_CONCURRENCY": "1", "PYOCI_CACHE_URL": f"file://{tmp_path}", "PYOCI_CACHE_TTL": "3600"}
    with (
        served(LargeRegistry()) as url,
        running_pyoci(servers, "lost", PYOCI_REGISTRIES=f"lab={url}", **settings) as server,
    ):

        def read(name: str, accept: str) -> int:
            answer = requests.get(f"{server.url}/lab/acme/{name}/", headers={"Accept": accept}, timeout=120)
            assert answer.status_code == 200
            return answer.text.count(".whl</a>")

        read("first", JSON["Accept"])
        for number in range(OTHERS):
            read(f"other-{number}", JSON["Accept"])
        shutil.rmtree(tmp_path / "values")
        assert read("first", "application/vnd.pypi.simple.v1+html") == MAX_FILES // FILES * FILES
        most = status_of(worker_of(server), "VmHWM")
        assert most < BOUND, f"{most} KiB"


@pytest.fixture
def open_server(servers: Servers, tmp_path: Path) -> Iterator[Server]:
    """The same, for callers who may name registries that are not listed."""
    port = Port()
    key, certificate = make_certificate(tmp_path, HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with served(LargeRegistry(), tls=context) as url:
        settings = {"WEB_CONCURRENCY": "1", "PYOCI_THREADS": "16"}
        settings |= {"TESTS_PORT": url.rpartition(":")[2], "TESTS_CERTIFICATE": str(certificate)}
        application = "tests.live.unlisted:application()"
        yield start_gunicorn(servers, "open-pyoci", port, settings, application=application)
    port.close()


def test_pages_of_listed_and_unlisted_registries_take_bounded_memory(open_server: Server) -> None:
    """One of each kind is built at a time, so a page of a listed registry never waits for unlisted ones."""
    worker = worker_of(open_server)

    def read(name: str) -> int:
        answer = requests.get(f"{open_server.url}/{name}/hello-world/", headers=JSON, timeout=120)
        return answer.status_code

    with ThreadPoolExecutor(AT_ONCE) as clients:
        unlisted = [clients.submit(read, f"unlisted/n{number}") for number in range(AT_ONCE - 1)]
        listed = [read(f"listed/n{number}") for number in range(3)]
        statuses = {answer.result() for answer in unlisted}
    assert listed == [200, 200, 200]
    assert statuses <= {200, 503}
    most = status_of(worker, "VmHWM")
    assert most < BOUND, f"{most} KiB"
