"""Dependency confusion, played out: whatever the registry does, no client gets the attacker's package.

The package index behind PyOCI has each private name with version 99.0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.live.clients import Clients
from tests.live.confusion import CLIENTS, ROWS, TOKEN_USER, UNKNOWN, USER, says, with_user
from tests.live.servers import Port, Servers, start_pyoci
from tests.net.servers import Server as RawServer
from tests.upstreams import PackageIndex, package_index

JSON = "application/vnd.pypi.simple.v1+json"
HONEST = "honest"  # a registry that lets everybody in and has nothing
NUMBERS = itertools.count()
# Each kind of answer once, for clients that take seconds or differ in little.
SOME = {
    "nobody listens",
    "502 of a proxy",
    "404 of a load balancer",
    "401 to a password",
    "403",
    "hides from strangers",
    "version unknown",
    "no tags",
}


@dataclass(frozen=True)
class House:
    """PyOCI between an attacker's package index and registries in trouble."""

    bait: PackageIndex
    url: str
    careful_url: str  # of one that asks upstream also where the registry denies, but for private names

    def index(self, row: str, caller: str = USER, *, careful: bool = False) -> str:
        """The URL of the package index that lies in a row's registry."""
        number = [HONEST, *ROWS].index(row)
        return with_user(f"{self.careful_url if careful else self.url}/row{number}/acme/", caller)

    def private_name(self) -> str:
        """A project that the attacker has published in a higher version, and that no other test knows."""
        name = f"acme-tool{next(NUMBERS)}"
        self.bait.add_wheel(name, "99.0")
        return name


@pytest.fixture(scope="module")
def house(servers: Servers, ports: Callable[[str], Port]) -> Iterator[House]:
    with ExitStack() as stack:
        bait = stack.enter_context(package_index())
        handlers = [says(UNKNOWN), *(row.registry for row in ROWS.values())]
        urls = [
            stack.enter_context(RawServer(handle)).url if handle is not None else "http://127.0.0.1:9"
            for handle in handlers
        ]
        settings = {
            "PYOCI_REGISTRIES": ", ".join(f"row{number}={url}" for number, url in enumerate(urls)),
            "PYOCI_UPSTREAM_INDEX": bait.simple,
            "PYOCI_BEARER_USERNAME": TOKEN_USER,
            "WEB_CONCURRENCY": "2",
        }
        careful = {"PYOCI_PRIVATE_PROJECTS": "Acme_*", "PYOCI_UPSTREAM_ON_DENIED": "yes"}
        started = [
            start_pyoci(servers, "confused", ports("confused"), **settings),
            start_pyoci(servers, "careful", ports("careful"), **settings, **careful),
        ]
        yield House(bait, *(server.url for server in started))
        for server in started:
            server.end()
            server.wait()


def cells() -> Iterator[object]:
    """Each client before each registry: uv before all, pip before all but most of those that fail, which are
    asked again for seconds and are one to pip.
    """
    for client, (program, _) in CLIENTS.items():
        for name, row in ROWS.items():
            if row.slow:
                wanted = client == "pip"
            else:
                wanted = name in SOME or client == "uv" or (client == "pip" and row.status < 500)
            if wanted:
                yield pytest.param(client, name, id=f"{client}-{name}", marks=pytest.mark.live(program))


@pytest.mark.parametrize(("client", "row"), list(cells()))
def test_no_client_is_fooled(client: str, row: str, house: House, clients: Clients, tmp_path: Path) -> None:
    """It fails, or finds nothing; and the attacker doesn't even hear the name."""
    project = house.private_name()
    outcome = CLIENTS[client][1](clients, tmp_path, house.index(row, ROWS[row].caller), project)
    assert outcome.code != 0, str(outcome)
    assert "99.0" not in outcome.output, str(outcome)
    assert house.bait.asked(project) == 0


@pytest.mark.parametrize(
    "client", [pytest.param(name, marks=pytest.mark.live(program)) for name, (program, _) in CLIENTS.items()]
)
def test_the_bait_is_good(client: str, house: House, clients: Clients, tmp_path: Path) -> None:
    """A client takes it where the registry says clearly that it has no such project."""
    project = house.private_name()
    outcome = CLIENTS[client][1](clients, tmp_path, house.index(HONEST), project)
    assert outcome.code == 0, str(outcome)
    assert "99.0" in outcome.output, str(outcome)


def addresses(project: str) -> Sequence[tuple[str, str, dict[str, str]]]:
    """Every way to ask for a page: method, path and headers. The first four differ most."""
    return [
        ("GET", f"{project}/", {"Accept": JSON}),
        ("GET", f"{project.replace('-', '_').upper()}/", {"Cache-Control": "no-cache"}),
        ("GET", f"{project}/json", {}),
        ("GET", f"simple/{project}/", {"Accept": JSON}),
        ("GET", f"{project}/", {"Accept": "text/html"}),
        ("GET", f"{project}/?format=json", {}),
        ("HEAD", f"{project}/", {}),
        ("GET", f"{project}/", {"If-None-Match": "*"}),
        ("GET", f"{project.replace('-', '.')}/", {"Accept": JSON}),
        ("GET", f"+simple/{project}/", {}),
        ("GET", f"simple/{project}/json", {}),
        ("GET", f"pypi/{project}/json", {}),
        ("GET", f"simple/+simple/{project}/", {}),
        ("GET", f"legacy/+simple/{project}/", {}),
    ]


@pytest.mark.parametrize("careful", [False, True], ids=["as-it-is", "careful"])
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.slow])
def test_no_address_shows_it(name: str, house: House, *, careful: bool) -> None:
    """In any spelling and shape: the caller is told what the registry said. Also where the operator asks
    upstream after denials, for the name is private there.
    """
    row, project = ROWS[name], house.private_name()
    index = house.index(name, row.caller, careful=careful)
    expected = {row.status} | ({304} if row.status == 200 else set()) | ({404} if careful else set())

    def ask(method: str, path: str, headers: dict[str, str]) -> None:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, index + path, headers=headers, timeout=60)
        assert answer.status_code in expected, (path, headers, answer.status_code, answer.text)
        assert answer.headers.get("X-PyOCI-Origin") in {None, "registry"}
        assert "99.0" not in answer.text

    # A registry that fails is asked again and again, for seconds: there the first four will do.
    wanted = addresses(project)[: 4 if row.status >= 500 else None]
    with ThreadPoolExecutor(3) as pool:
        for asked in [pool.submit(ask, *each) for each in wanted]:
            asked.result()
    assert house.bait.asked(project) == 0
