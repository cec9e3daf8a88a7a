"""Callers who may read but not write don't slow down those who may write: PyOCI alone and behind nginx. The
order counts, not the time: the registry answers no reader's request before the writer has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from pyoci.embedded import create_registry_app
from tests.hostile_registries import RolesRegistry
from tests.live import packages
from tests.live.indexes import PackageIndex
from tests.live.nginx import start_nginx
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.stopping import slow_upload
from tests.serving import served

READERS = 50
PATIENCE = 60.0


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RolesRegistry, str]]:
    """The registry, and its URL."""
    folder = tmp_path_factory.mktemp("roles")
    registry = RolesRegistry(create_registry_app(folder, htpasswd=None, local_only=False))
    with served(registry) as url:
        yield registry, url
        registry.go_on.set()


@pytest.fixture(scope="module")
def alone(servers: Servers, ports: Callable[[str], Port], roles: tuple[RolesRegistry, str]) -> Server:
    """PyOCI with one worker that has a thread, and a connection to the registry, for each reader and the
    writer.
    """
    return start_pyoci(
        servers,
        "roles-pyoci",
        ports("roles-pyoci"),
        PYOCI_REGISTRIES=f"lab={roles[1]}",
        PYOCI_HOST_CONNECTIONS=str(2 * READERS),
        PYOCI_THREADS=str(2 * READERS),
        WEB_CONCURRENCY="1",
    )


@pytest.fixture(params=["alone", pytest.param("nginx", marks=pytest.mark.live("nginx"))])
def server(
    request: pytest.FixtureRequest,
    alone: Server,
    servers: Servers,
    ports: Callable[[str], Port],
    tmp_path: Path,
) -> Iterator[Server]:
    """PyOCI itself, or nginx in front of it."""
    if request.param == "alone":
        yield alone
        return
    front = start_nginx(
        servers, "roles-nginx", ports("roles-nginx"), tmp_path / "nginx", ports("roles-pyoci")
    )
    yield front
    front.end()


def test_readers_take_no_turn(server: Server, roles: tuple[RolesRegistry, str], tmp_path: Path) -> None:
    """Fifty accounts that may only read try to yank a version. A writer doesn't wait for them."""
    registry, index = roles[0], PackageIndex.new(server, "lab", "")
    registry.go_on.clear()
    files = [
        packages.wheel(tmp_path, tag=f"py3-none-manylinux_2_{number}_x86_64") for number in range(20, 24)
    ]
    assert slow_upload(index, server, files[0], pause=0) == 200

    def try_to_yank(number: int) -> int:
        auth = (f"reader-{number}", "password")
        answer = requests.patch(f"{index.url}hello-world/1.0", json={"yanked": True}, auth=auth, timeout=120)
        return answer.status_code

    with ThreadPoolExecutor(READERS) as readers:
        try:
            answers = [readers.submit(try_to_yank, number) for number in range(READERS)]
            assert all(registry.refused.acquire(timeout=PATIENCE) for _ in range(READERS))
            for file in files[1:]:
                assert slow_upload(index, server, file, pause=0) == 200
            index.yank("hello-world/1.0", "broken")
            assert not any(answer.done() for answer in answers)
        finally:
            registry.go_on.set()
        assert {answer.result() for answer in answers} == {403}
    page = index.page("hello-world")
    assert {file["yanked"] for file in page["files"]} == {"broken"}
    assert len(page["files"]) == len(files)
