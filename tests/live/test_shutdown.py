"""Servers that stop, reload and replace workers finish the requests that they have accepted."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.asking import Asking, wait_for_others, workers
from tests.live.conftest import REGISTRIES
from tests.live.indexes import PackageIndex
from tests.live.servers import Port, Server, Servers, start_pyoci
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
    """SIGTERM: requests in progress are finished, new connections are refused, and nothing is lost."""
    server = start()
    index = make_index(start, server)
    assert slow_upload(index, server, file, pause=0) == 200
    second = packages.wheel(tmp_path, tag="py3-none-manylinux_2_17_x86_64", ballast=SIZE)

    ending = stop_amid(server, index, file, second, downloads=DOWNLOADS)

    assert ending.refused
    assert (ending.upload, ending.downloads, ending.code) == (200, [True] * DOWNLOADS, 0)


def test_reload(start: Start, file: Path) -> None:
    """SIGHUP under load: no new connection fails, no download breaks off, and a retry on an old connection
    succeeds.
    """
    server = start()
    index = make_index(start, server)
    assert slow_upload(index, server, file, pause=0) == 200
    begun = threading.Event()
    with Asking(server) as asking, ThreadPoolExecutor(1) as clients:
        download = clients.submit(slow_download, index, server, file, begun)
        assert begun.wait(60)
        for _ in range(2):
            before = workers(server)
            server.process.send_signal(signal.SIGHUP)
            wait_for_others(server, before)
        assert download.result() == hashlib.sha256(file.read_bytes()).hexdigest()
    assert all(future.result() > 0 for future in asking.futures)


def test_worker_renewed(start: Start, file: Path) -> None:
    """A worker that has served its number of requests is replaced while it finishes
    others; no client waits.
    """
    server = start(WEB_CONCURRENCY="1", GUNICORN_CMD_ARGS="--max-requests 50 --max-requests-jitter 0")
    index = make_index(start, server)
    assert slow_upload(index, server, file, pause=0) == 200
    before = workers(server)
    begun = threading.Event()
    with ThreadPoolExecutor(1) as clients:
        download = clients.submit(slow_download, index, server, file, begun)
        assert begun.wait(60)
        with Asking(server) as asking:
            wait_for_others(server, before)
        assert download.result() == hashlib.sha256(file.read_bytes()).hexdigest()
    assert all(future.result() > 0 for future in asking.futures)
