"""PYOCI_UPSTREAM_FILES=proxy with real clients and two workers: they reach PyOCI alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Request, Response

from tests.builders import make_wheel
from tests.live import packages
from tests.live.clients import Clients
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.upstreams import PackageIndex, package_index

SIZE = 20_000_000  # bytes
FIELDS = {":action": "file_upload", "protocol_version": "1", "name": "private", "version": "1.0"}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[PackageIndex]:
    """A package index with a large wheel, and a small one that requires it."""
    with package_index() as found:
        found.add_file(packages.wheel(tmp_path, "large", ballast=SIZE))
        found.add_wheel("sunshine", "3.1", requires=("large",))
        yield found


@pytest.fixture
def proxy(servers: Servers, elsewhere: PackageIndex, tmp_path: Path) -> Iterator[Server]:
    port = Port()
    settings = {
        "PYOCI_EMBEDDED": str(tmp_path / "registry"),
        "WEB_CONCURRENCY": "2",
        "PYOCI_THREADS": "8",
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_UPSTREAM_FILES": "proxy",
        "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
    }
    server = start_pyoci(servers, "upstream-files", port, **settings)
    yield server
    server.end()
    port.close()


def test_pip_and_uv_install(clients: Clients, proxy: Server, elsewhere: PackageIndex, tmp_path: Path) -> None:
    """uv installs what pip has had fetched, while upstream is down."""
    url = f"{proxy.url}/local/acme/"
    clients.run("pip", "install", "--no-cache-dir", "--target", tmp_path / "pip", "-i", url, "sunshine")
    elsewhere.answer = lambda _: Response("down", 503)
    install = ("pip", "install", "--no-cache", "--target", tmp_path / "uv", "--default-index", url)
    clients.run("uv", *install, "sunshine")
    for folder in ("pip", "uv"):
        assert (tmp_path / folder / "large.py").exists()
        assert (tmp_path / folder / "sunshine.py").exists()
    calls = [call for call in elsewhere.calls if " /files/" in call and call.endswith("whl 200")]
    assert len(calls) == 2


def test_two_workers_fetch_a_file_once(proxy: Server, elsewhere: PackageIndex) -> None:
    """Twelve clients get it while it arrives; upstream sends its end after all have its beginning."""
    [entry] = elsewhere.projects["large"]
    content = elsewhere.content(entry["filename"])
    end, begun = threading.Event(), threading.Semaphore(0)

    def body() -> Iterator[bytes]:
        yield content[: SIZE // 2]
        end.wait(60)
        yield content[SIZE // 2 :]

    def hold(request: Request) -> Response | None:
        headers = {"Content-Length": str(len(content))}
        return Response(body(), headers=headers) if "/files/" in request.path else None

    elsewhere.answer = hold
    url = f"{proxy.url}/local/acme/large/+{entry['hashes']['sha256'][:16]}/{entry['filename']}"

    def download() -> bytes:
        with requests.get(url, stream=True, timeout=60) as answer:
            pieces = answer.iter_content(65536)
            first: bytes = next(pieces)
            begun.release()
            return first + b"".join(pieces)

    with ThreadPoolExecutor(12) as threads:
        downloads = [threads.submit(download) for _ in range(12)]
        try:
            assert all(begun.acquire(timeout=60) for _ in downloads)
        finally:
            end.set()
        assert all(each.result() == content for each in downloads)
    assert len([call for call in elsewhere.calls if " /files/" in call]) == 1


def test_files_that_do_not_arrive_delay_no_private_project(proxy: Server, elsewhere: PackageIndex) -> None:
    """Many more clients than threads wait for them. Meanwhile private pages and files are served."""
    root = f"{proxy.url}/local/acme/"
    name, content = make_wheel("private")
    upload = requests.post(root, FIELDS, files={"content": (name, content)}, timeout=60)
    assert upload.status_code == 200, upload.text
    urls = []
    for project, [entry] in elsewhere.projects.items():
        assert requests.get(f"{root}{project}/", timeout=60).headers["X-PyOCI-Origin"] == "upstream"
        urls.append(f"{root}{project}/+{entry['hashes']['sha256'][:16]}/{entry['filename']}")
    elsewhere.hang()
    with ThreadPoolExecutor(60) as threads:
        waiting = [threads.submit(requests.get, urls[number % 2], timeout=120) for number in range(60)]
        try:
            assert elsewhere.waiting.acquire(timeout=30)
            for _ in range(10):
                page = requests.get(f"{root}private/", timeout=60)
                assert page.headers["X-PyOCI-Origin"] == "registry"
                assert requests.get(f"{root}private/{name}", timeout=60).content == content
            assert not all(each.done() for each in waiting)
        finally:
            elsewhere.go_on()
        assert {each.result().status_code for each in waiting} <= {200, 503, 504}
