"""An upstream that hangs doesn't delay requests for projects in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.builders import make_wheel
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.upstreams import PackageIndex, package_index

FIELDS = {":action": "file_upload", "protocol_version": "1", "name": "private", "version": "1.0"}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as found:
        yield found


@pytest.fixture(scope="module")
def small(servers: Servers, elsewhere: PackageIndex) -> Iterator[Server]:
    """PyOCI of sixteen threads, with the project `private` in its registry."""
    port = Port()
    settings = {"PYOCI_EMBEDDED": str(servers.folder / "upstream-down"), "WEB_CONCURRENCY": "1"}
    small = {**settings, "PYOCI_THREADS": "16", "PYOCI_UPSTREAM_INDEX": elsewhere.simple}
    server = start_pyoci(servers, "upstream-down", port, **small)
    upload = requests.post(
        f"{server.url}/local/acme/", FIELDS, files={"content": make_wheel("private")}, timeout=30
    )
    assert upload.status_code == 200, upload.text
    yield server
    server.end()
    port.close()


def test_private_projects_are_untouched(small: Server, elsewhere: PackageIndex) -> None:
    """A hundred clients request projects of upstream, which doesn't answer: meanwhile private pages and
    cached pages are served. Each of the hundred gets a sentence, and later requests don't wait.
    """
    elsewhere.add_wheel("flask")

    def ask(name: str) -> requests.Response:
        return requests.get(f"{small.url}/local/acme/{name}/", timeout=120)

    assert ask("flask").headers["X-PyOCI-Origin"] == "upstream"
    elsewhere.hang()
    with ThreadPoolExecutor(100) as threads:
        asked = [threads.submit(ask, f"project-{number}") for number in range(100)]
        assert elsewhere.waiting.acquire(timeout=30)
        assert ask("private").headers["X-PyOCI-Origin"] == "registry"
        assert ask("flask").headers["X-PyOCI-Origin"] == "upstream"
        assert not all(answer.done() for answer in asked)
        answers = [answer.result(120) for answer in asked]
    assert {answer.status_code for answer in answers} == {504}
    assert all("the upstream package index" in answer.text for answer in answers)
    calls = len(elsewhere.requests)
    assert "has failed several times" in ask("another").text
    assert len(elsewhere.requests) == calls
