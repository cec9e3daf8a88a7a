"""Registries that answer slowly, and clients that leave while one is waited for: others get their threads.

By order and not by the clock: the others have their answers while the slow ones still hold their threads.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from select import select
from urllib.parse import urlsplit

import pytest
import requests

from tests.builders import make_wheel
from tests.live.indexes import PackageIndex
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import PATIENCE, connect, make_head, received, statuses
from tests.net.servers import Connection, answer
from tests.net.servers import Server as RawServer
from tests.registry import TestRegistry
from tests.serving import served
from tests.waiting import until

NAMES = 6  # of the slow registry
CROWD = 12  # requests to it at once, three times as many as there are threads
PAGES = 7
TAGS = answer(b'{"name": "acme/hello_world", "tags": []}', kind="application/json")
UPLOADING = answer(b"", "202 Accepted", "Location: /v2/acme/hello_world/blobs/uploads/1")


@dataclass
class SlowRegistry:
    """It answers nothing before `released` is set. With `takes_uploads` it starts them at once, and only the
    bytes are never answered. `holding` are the requests that wait for an answer, and `left` those whose
    connections were closed instead.
    """

    takes_uploads: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    holding: int = 0
    left: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, connection: Connection) -> None:
        while head := connection.request():
            if self.takes_uploads and head.startswith(b"POST "):
                connection.send(UPLOADING)
                continue
            with self.guard:
                self.holding += 1
            has_left = self._wait(connection)
            with self.guard:
                self.holding -= 1
                self.left += has_left
            if has_left:
                return
            connection.send(TAGS)

    def _wait(self, connection: Connection) -> bool:
        """Wait for the release; whether the other side closes before it."""
        connection.sock.settimeout(0.05)
        while not self.released.is_set() and not connection.closing.is_set():
            with suppress(TimeoutError):
                if not connection.sock.recv(65536):
                    return True
        connection.sock.settimeout(None)
        return False


@dataclass
class Gate:
    """Called by a registry before each request; it holds the one that matches `held` until it is opened."""

    held: str = "$^"
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self, line: str) -> None:
        if re.search(self.held, line):
            self.reached.set()
            assert self.opened.wait(PATIENCE)


@pytest.fixture(scope="module")
def slow() -> SlowRegistry:
    return SlowRegistry()


@pytest.fixture(scope="module")
def never_done() -> SlowRegistry:
    return SlowRegistry(takes_uploads=True)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> TestRegistry:
    """A registry that answers."""
    return TestRegistry(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def pyoci(
    servers: Servers,
    ports: Callable[[str], Port],
    slow: SlowRegistry,
    never_done: SlowRegistry,
    registry: TestRegistry,
) -> Iterator[Server]:
    """PyOCI with one worker and four threads. The slow registry has six addresses in one network; a registry
    that answers, which is upstream as well, is elsewhere.
    """
    with ExitStack() as stack:
        everywhere = stack.enter_context(RawServer(slow, address="0.0.0.0"))
        uploads = stack.enter_context(RawServer(never_done, address="127.9.0.1"))
        url = stack.enter_context(served(registry, "127.8.0.1"))
        names = [f"slow{number}=http://127.7.0.{number}:{everywhere.port}" for number in range(1, NAMES + 1)]
        server = start_pyoci(
            servers,
            "before-slow-registries",
            ports("before-slow-registries"),
            PYOCI_REGISTRIES=", ".join([f"lab={url}", f"uploads={uploads.url}", *names]),
            PYOCI_UPSTREAM_INDEX=f"http://127.6.0.1:{everywhere.port}/simple/",
            PYOCI_CACHE_TTL="0",
            WEB_CONCURRENCY="1",
            PYOCI_THREADS="4",
            PYOCI_METRICS="yes",
        )
        yield server
        slow.released.set()
        server.end()
        server.wait()


@pytest.fixture
def index(pyoci: Server) -> PackageIndex:
    """An index with one project, in the registry that answers."""
    index = PackageIndex.new(pyoci, "lab", "127.8.0.1")
    assert publish(index.url).status_code == 200
    return index


def publish(url: str) -> requests.Response:
    filename, content = make_wheel()
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, data=form, files={"content": (filename, content)}, timeout=PATIENCE)


def count_ended(server: Server, reason: str) -> float:
    """How many requests were ended for that reason, as Prometheus is told."""
    text = requests.get(f"{server.url}/metrics", timeout=PATIENCE).text
    found = re.search(rf'(?m)^pyoci_clients_ended_total{{pyoci_reason="{reason}"}} (\S+)$', text)
    return float(found[1]) if found else 0.0


class Crowd:
    """Clients that ask for pages all the time, each after its last answer; they run in the block."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(len(urls))
        self.refusals: list[requests.Response] = []

    def __enter__(self) -> Crowd:
        for url in self._urls:
            self._threads.submit(self._run, url)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads.shutdown()

    def _run(self, url: str) -> None:
        while not self._over.is_set():
            found = requests.get(url, timeout=PATIENCE)
            if found.status_code == 503:
                self.refusals.append(found)


@pytest.mark.parametrize("kind", ["registry", "upstream"])
def test_others_are_served(pyoci: Server, slow: SlowRegistry, index: PackageIndex, kind: str) -> None:
    """While one slow server under six names, or upstream, is asked for more pages than there are threads."""
    if kind == "registry":
        urls = [f"{pyoci.url}/slow{n % NAMES + 1}/acme/project-{n}/" for n in range(CROWD)]
    else:
        urls = [f"{index.url}project-{number}/" for number in range(CROWD)]
    before = count_ended(pyoci, "bulkhead full")
    with Crowd(urls) as crowd:
        until(lambda: slow.holding, "slow requests")
        for _ in range(PAGES):
            assert index.get("hello-world/").status_code == 200
            assert slow.holding
        assert publish(index.url).status_code == 200
        if kind == "registry":
            until(lambda: crowd.refusals, "a refusal")
    if kind == "registry":
        assert count_ended(pyoci, "bulkhead full") > before
        assert pyoci.line("client ended", '"reason": "bulkhead full"', '"peer": "::ffff:127.')
        found = next(each for each in crowd.refusals if "as many threads as they may" in each.text)
        assert (found.headers["Retry-After"], found.text.startswith("slow")) == ("5", True)


def page_of(registry: str) -> bytes:
    return make_head(f"GET /{registry}/acme/hello-world/ HTTP/1.1", "Connection: close")


def test_client_that_leaves(pyoci: Server, slow: SlowRegistry) -> None:
    """The registry sees its connection closed, and nothing waits for it any more."""
    before, left = count_ended(pyoci, "client left"), slow.left
    with waiting_client(pyoci, slow):
        pass
    until(lambda: count_ended(pyoci, "client left") > before, "the end of the request")
    until(lambda: slow.left > left, "the end of the connection to the registry")
    assert pyoci.line('"event": "request"', '"status": 499', '"error": "ClientLeft')


@contextmanager
def waiting_client(pyoci: Server, slow: SlowRegistry) -> Iterator[socket.socket]:
    """A client whose request waits for the slow registry. After a test in which the registry held too many
    threads, requests to it are refused for a while, and the client tries again.
    """
    while True:
        with connect(pyoci) as connection:
            connection.sendall(page_of("slow1"))
            until(lambda: slow.holding or select([connection], [], [], 0)[0], "the request or a refusal")
            if slow.holding:
                yield connection
                return


def test_half_closed_client(pyoci: Server, slow: SlowRegistry) -> None:
    """It hasn't left: it gets its answer, after an interim one."""
    before = count_ended(pyoci, "client left")
    with waiting_client(pyoci, slow) as connection:
        connection.shutdown(socket.SHUT_WR)
        interim = connection.recv(65536)
        slow.released.set()
        try:
            found = statuses(interim + received(connection))
        finally:
            slow.released.clear()
    assert found == [100, 200]
    assert count_ended(pyoci, "client left") == before


def make_upload(path: str) -> bytes:
    """The request that uploads a wheel to `path`."""
    filename, content = make_wheel()
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    upload = requests.Request("POST", "http://localhost/", data=form, files={"content": (filename, content)})
    prepared = upload.prepare()
    assert isinstance(prepared.body, bytes)
    kind = f"Content-Type: {prepared.headers['Content-Type']}"
    return make_head(f"POST {path} HTTP/1.1", kind, f"Content-Length: {len(prepared.body)}") + prepared.body


def test_upload_that_is_never_answered(pyoci: Server, never_done: SlowRegistry) -> None:
    """When its client has left, the registry's connection is closed."""
    with connect(pyoci) as connection:
        connection.sendall(make_upload("/uploads/acme/"))
        until(lambda: never_done.holding, "the upload")
    until(lambda: never_done.left, "the end of the connection to the registry")


def test_client_that_leaves_during_an_index_update(pyoci: Server, registry: TestRegistry) -> None:
    """The update is finished: other clients' updates may be part of it."""
    gate = Gate(r"^PUT .*/manifests/1\.0$")
    index = PackageIndex.new(pyoci, "lab", "127.8.0.1")
    before = count_ended(pyoci, "client left")
    registry.before = gate
    try:
        with connect(pyoci) as connection:
            connection.sendall(make_upload(urlsplit(index.url).path))
            assert gate.reached.wait(PATIENCE)
        with connect(pyoci) as later:  # when it is known to have left, so is the first
            later.sendall(page_of("slow1"))
        until(lambda: count_ended(pyoci, "client left") > before, "the later client's end")
    finally:
        gate.opened.set()
    until(lambda: make_wheel()[0] in index.get("hello-world/").text, "the file on the project's page")
    assert count_ended(pyoci, "client left") == before + 1
