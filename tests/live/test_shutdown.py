"""Servers that stop, reload and renew themselves lose nothing that they have begun."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.live import packages
from tests.live.conftest import REGISTRIES
from tests.live.indexes import PackageIndex
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import exchange, make_head, statuses
from tests.live.stopping import slow_download, slow_upload, stop_amid

SIZE = 20_000_000  # bytes
DOWNLOADS = 5

Start = Callable[..., Server]


@pytest.fixture(params=REGISTRIES)
def start(
    request: pytest.FixtureRequest, servers: Servers, ports: Callable[[str], Port], tmp_path: Path
) -> Iterator[Start]:
    """Starts a PyOCI of the test's own, which calls its registry `it`."""
    if request.param == "embedded":
        source = {"PYOCI_EMBEDDED": str(tmp_path / "embedded")}
    else:
        request.getfixturevalue("docker_registry")
        source = {"PYOCI_REGISTRIES": f"it={ports('lab').url}"}
    started: list[Server] = []

    def start(**settings: str) -> Server:
        name = f"stopping-{tmp_path.name}-{request.param}"
        started.append(start_pyoci(servers, name, ports(name), **source, **settings))
        return started[-1]

    start.registry = "local" if request.param == "embedded" else "it"  # type: ignore[attr-defined]
    yield start
    for server in started:
        server.end()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return packages.wheel(tmp_path, ballast=SIZE)


def make_index(start: Start, server: Server) -> PackageIndex:
    return PackageIndex.new(server, start.registry, "")  # type: ignore[attr-defined]


def test_stop(start: Start, file: Path, tmp_path: Path) -> None:
    """SIGTERM: what was begun is finished, whoever comes later finds the door closed, and all is well."""
    server = start()
    index = make_index(start, server)
    assert slow_upload(index, server, file, pause=0) == 200
    second = packages.wheel(tmp_path, tag="py3-none-manylinux_2_17_x86_64", ballast=SIZE)

    ending = stop_amid(server, index, file, second, downloads=DOWNLOADS)

    assert ending.refused
    assert (ending.upload, ending.downloads, ending.code) == (200, [True] * DOWNLOADS, 0)


class Asking:
    """Clients that ask for /health as fast as they can, until they are told to stop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self.futures: list[Future[int]] = []

    def __enter__(self) -> Asking:
        self.futures = [self._pool.submit(ask) for ask in (self.anew, self.anew, self.again, self.again)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def anew(self) -> int:
        """On a new connection each time; none may fail."""
        count = 0
        while not self._stopped.is_set():
            assert statuses(
                exchange(self._server, make_head("GET /health HTTP/1.1", "Connection: close"))
            ) == [200]
            count += 1
        return count

    def again(self) -> int:
        """On a connection that is kept; who finds it closed tries once more."""
        count = 0
        parts = urlsplit(self._server.url)
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        while not self._stopped.is_set():
            with suppress(HTTPException, ConnectionError):
                assert self._once(connection) == 200
                count += 1
                continue
            connection.close()
            assert self._once(connection) == 200
        connection.close()
        return count

    @staticmethod
    def _once(connection: HTTPConnection) -> int:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _workers(server: Server) -> set[str]:
    pid = server.process.pid
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _wait_for_others(server: Server, workers: set[str]) -> None:
    end = time.monotonic() + 60
    while _workers(server) & workers or not _workers(server):
        assert time.monotonic() < end, "the workers stay"
        time.sleep(0.1)


def test_reload(start: Start, file: Path) -> None:
    """SIGHUP under load: no new connection fails, nor who tries once more on an old one, nor a download."""
    server = start()
    index = make_index(start, server)
    assert slow_upload(index, server, file, pause=0) == 200
    begun = threading.Event()
    with Asking(server) as asking, ThreadPoolExecutor(1) as clients:
        download = clients.submit(slow_download, index, server, file, begun)
        assert begun.wait(60)
        for _ in range(2):
            before = _workers(server)
            server.process.send_signal(signal.SIGHUP)
            _wait_for_others(server, before)
        assert download.result() == hashlib.sha256(file.read_bytes()).hexdigest()
    assert all(future.result() > 0 for future in asking.futures)


def test_worker_renewed(start: Start, file: Path) -> None:
    """A worker that has served its number is replaced while it finishes what it has; nobody waits for it."""
    server = start(WEB_CONCURRENCY="1", GUNICORN_CMD_ARGS="--max-requests 50 --max-requests-jitter 0")
    index = make_index(start, server)
    assert slow_upload(index, server, file, pause=0) == 200
    before = _workers(server)
    begun = threading.Event()
    with ThreadPoolExecutor(1) as clients:
        download = clients.submit(slow_download, index, server, file, begun)
        assert begun.wait(60)
        with Asking(server) as asking:
            _wait_for_others(server, before)
        assert download.result() == hashlib.sha256(file.read_bytes()).hexdigest()
    assert all(future.result() > 0 for future in asking.futures)
