"""Slow clients occupy connections, not threads. If there are too many clients, they wait, or get a 503."""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.indexes import PackageIndex
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import connect, exchange, is_well, make_head, received, statuses
from tests.live.stopping import slow_upload
from tests.net.servers import Connection, answer
from tests.net.servers import Server as RawServer

pytestmark = pytest.mark.live()

THREADS, PLACES = 2, 40
LAST = "Connection: close"
PAGE = make_head("GET /local/acme/hello/ HTTP/1.1", LAST)


class Hung:
    """A registry that accepts uploads and then doesn't answer. `let_go` ends the wait."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self, connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            if head.startswith(b"PUT "):
                self.waiting.release()
                self.let_go.wait(60)
                return
            begun = head.startswith(b"POST ")
            status = "202 Accepted" if begun else "404 Not Found"
            connection.send(answer(b"", status, "Location: /v2/acme/hello_world/blobs/uploads/1"))


@pytest.fixture(scope="module")
def hung() -> Iterator[tuple[Hung, str]]:
    """That registry, and its URL."""
    registry = Hung()
    with RawServer(registry) as server:
        yield registry, server.url
        registry.let_go.set()


@pytest.fixture(scope="module")
def narrow(servers: Servers, ports: Callable[[str], Port], hung: tuple[Hung, str]) -> Server:
    """PyOCI with one worker, few threads and few connections. Its alias for that registry is `hung`."""
    return start_pyoci(
        servers,
        "narrow-pyoci",
        ports("narrow-pyoci"),
        PYOCI_EMBEDDED=str(servers.folder / "narrow"),
        PYOCI_REGISTRIES=f"hung={hung[1]}",
        WEB_CONCURRENCY="1",
        PYOCI_THREADS=str(THREADS),
        GUNICORN_CMD_ARGS=f"--worker-connections {PLACES}",
    )


@pytest.fixture
def crowd(narrow: Server) -> Iterator[Callable[[int, bytes], list[socket.socket]]]:
    """Opens a number of connections that have sent something, and closes them at the end."""
    with ExitStack() as stack:

        def gather(count: int, data: bytes) -> list[socket.socket]:
            connections = [stack.enter_context(connect(narrow)) for _ in range(count)]
            for connection in connections:
                connection.sendall(data)
            return connections

        yield gather


def test_slow_heads(narrow: Server, crowd: Callable[[int, bytes], list[socket.socket]]) -> None:
    """An incomplete head occupies no thread, and a connection only for a short time."""
    slow = crowd(PLACES - 1, b"GET /health HTTP/1.1\r\nX: ")
    assert statuses(exchange(narrow, PAGE)) == [404]

    one = slow[0]
    one.settimeout(0.5)
    answer = b""
    while not answer:
        one.sendall(b"y")
        try:
            answer = one.recv(65536)
        except TimeoutError:
            continue
    assert statuses(answer) == [408]
    assert {tuple(statuses(received(connection))) for connection in slow[1:]} == {(408,)}


def test_slow_heads_behind_a_request(narrow: Server) -> None:
    """Nor does the beginning of a second request that arrived with the first one."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(narrow)) for _ in range(2 * THREADS)]
        for connection in connections:
            connection.sendall(make_head() + b"GET /hea")
            assert statuses(connection.recv(65536)) == [200]
        assert statuses(exchange(narrow, PAGE)) == [404]
        connections[0].sendall(make_head(f"lth HTTP/1.1\r\n{LAST}"))
        assert statuses(received(connections[0])) == [200]


def test_all_threads_are_taken(narrow: Server, hung: tuple[Hung, str], tmp_path: Path) -> None:
    """By a registry that doesn't answer. A request for the same registry gets no thread and is refused with
    Retry-After; /health is still answered. A request for somebody else gets a thread, and everything ends.
    """
    registry, file = hung[0], packages.wheel(tmp_path)
    with ThreadPoolExecutor(THREADS) as clients:
        uploads = [
            clients.submit(slow_upload, PackageIndex.new(narrow, "hung", ""), narrow, file, 0)
            for _ in range(THREADS)
        ]
        assert all(registry.waiting.acquire(timeout=30) for _ in range(THREADS))
        assert is_well(narrow)

        refused = exchange(narrow, make_head("GET /hung/acme/hello-world/ HTTP/1.1", "Connection: close"))

        assert statuses(refused) == [503]
        assert b"\r\nRetry-After: 5\r\n" in refused
        assert is_well(narrow)
        assert statuses(exchange(narrow, PAGE)) == [404]
        registry.let_go.set()
        assert {upload.result() for upload in uploads} <= {502, 503, 504}
    assert statuses(exchange(narrow, PAGE)) == [404]


def test_overload(narrow: Server) -> None:
    """Ten times as many clients as threads, repeatedly: each is served, or gets a 503."""
    with ThreadPoolExecutor(10 * THREADS + 1) as clients:
        asked = [clients.submit(exchange, narrow, PAGE) for _ in range(50 * THREADS)]
        assert is_well(narrow)
        answers = {tuple(statuses(each.result())) for each in asked}
    assert answers <= {(404,), (503,)}
    assert statuses(exchange(narrow, PAGE)) == [404]


def test_silent_connections(narrow: Server, crowd: Callable[[int, bytes], list[socket.socket]]) -> None:
    """If there are too many, the oldest silent ones are closed, and a new one is answered."""
    silent = crowd(2 * PLACES, b"")
    assert statuses(exchange(narrow, PAGE)) == [404]
    assert is_well(narrow)
    assert received(silent[0]) == b""
    silent[-1].sendall(PAGE)
    assert statuses(received(silent[-1])) == [404]
    assert narrow.line("client ended", '"reason": "silent"', '"peer": "::ffff:127.0.0.1"')


def test_closed_connections_that_linger(
    narrow: Server, crowd: Callable[[int, bytes], list[socket.socket]]
) -> None:
    """A client that doesn't close its side doesn't keep others out."""
    for _ in crowd(PLACES // 2, PAGE):
        assert statuses(exchange(narrow, PAGE)) == [404]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process")
def test_no_more_descriptors(narrow: Server, crowd: Callable[[int, bytes], list[socket.socket]]) -> None:
    """Without free descriptors the server only stops accepting."""
    worker = _worker(narrow)
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    crowd(1, b"")
    assert is_well(narrow)
    open_now = len(os.listdir(f"/proc/{worker}/fd"))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (open_now + 2, before[1]))
    try:
        idle = crowd(10, b"")
        with connect(narrow) as patient:
            patient.sendall(PAGE)
            for connection in idle:
                connection.close()
            resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
            assert statuses(received(patient)) == [404]
    finally:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    assert _worker(narrow) == worker


def _worker(server: Server) -> int:
    return int(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text())
