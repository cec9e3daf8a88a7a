"""Dependency confusion with real clients: whatever the registry does, no client gets the
attacker's package.
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
class Attack:
    """PyOCI between an attacker's package index and registries with failures."""

    bait: PackageIndex
    url: str
    # Of one that asks upstream also where the registry denies, but for private names, and has its files.
    careful_url: str

    def index(self, row: str, caller: str = USER, *, careful: bool = False) -> str:
        """The URL of the package index in a row's registry."""
        number = [HONEST, *ROWS].index(row)
        return with_user(f"{self.careful_url if careful else self.url}/row{number}/acme/", caller)

    def private_name(self) -> str:
        """A project that the attacker has published in a higher version, used by one test only."""
        name = f"acme-tool{next(NUMBERS)}"
        self.bait.add_wheel(name, "99.0")
        return name


@pytest.fixture(scope="module")
def attack(servers: Servers, ports: Callable[[str], Port]) -> Iterator[Attack]:
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
        careful = {
            "PYOCI_PRIVATE_PROJECTS": "Acme_*",
            "PYOCI_UPSTREAM_ON_DENIED": "yes",
            "PYOCI_UPSTREAM_FILES": "proxy",
            "PYOCI_UPSTREAM_FILES_DIR": str(servers.folder / "confused-files"),
        }
        started = [
            start_pyoci(servers, "confused", ports("confused"), **settings),
            start_pyoci(servers, "careful", ports("careful"), **settings, **careful),
        ]
        yield Attack(bait, *(server.url for server in started))
        for server in started:
            server.end()
            server.wait()


def cells() -> Iterator[object]:
    """Each client with each registry: uv with all, pip with all except most of those that fail, which pip
    retries for seconds.
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
def test_no_client_is_fooled(client: str, row: str, attack: Attack, clients: Clients, tmp_path: Path) -> None:
    """The client fails or finds nothing, and the attacker's index never gets the name."""
    project = attack.private_name()
    outcome = CLIENTS[client][1](clients, tmp_path, attack.index(row, ROWS[row].caller), project)
    assert outcome.code != 0, str(outcome)
    assert "99.0" not in outcome.output, str(outcome)
    assert attack.bait.asked(project) == 0


@pytest.mark.parametrize(
    "client", [pytest.param(name, marks=pytest.mark.live(program)) for name, (program, _) in CLIENTS.items()]
)
def test_client_takes_the_attackers_package_after_a_conclusive_absence(
    client: str, attack: Attack, clients: Clients, tmp_path: Path
) -> None:
    """This shows that the other tests can fail."""
    project = attack.private_name()
    outcome = CLIENTS[client][1](clients, tmp_path, attack.index(HONEST), project)
    assert outcome.code == 0, str(outcome)
    assert "99.0" in outcome.output, str(outcome)


def addresses(project: str, file: str) -> Sequence[tuple[str, str, dict[str, str]]]:
    """Every way to request a page or a file: method, path and headers. The first five differ most."""
    return [
        ("GET", f"{project}/{file}", {}),
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
        ("HEAD", f"{project}/{file}", {}),
        ("GET", f"{project}/{file}.metadata", {}),
        ("GET", f"simple/{project}/{file}", {}),
        ("GET", f"+simple/{project}/{file}", {"Range": "bytes=0-9"}),
    ]


@pytest.mark.parametrize("careful", [False, True], ids=["as-it-is", "careful"])
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.slow])
def test_no_address_shows_it(name: str, attack: Attack, *, careful: bool) -> None:
    """In any spelling and form the caller gets the registry's refusal, also for a file. Also if the operator
    asks upstream after denials, because the name is private.
    """
    row, project = ROWS[name], attack.private_name()
    [entry] = attack.bait.projects[project]
    file = f"+{entry['hashes']['sha256'][:16]}/{entry['filename']}"
    index = attack.index(name, row.caller, careful=careful)
    expected = {row.status} | ({304} if row.status == 200 else set()) | ({404} if careful else set())

    def ask(method: str, path: str, headers: dict[str, str]) -> None:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, index + path, headers=headers, timeout=60)
        assert answer.status_code in expected or (file in path and answer.status_code >= 400), (
            path,
            headers,
            answer.status_code,
            answer.text,
        )
        assert answer.headers.get("X-PyOCI-Origin") in {None, "registry"}
        assert answer.status_code >= 400 or "99.0" not in answer.text  # errors name the file and the tag

    # A registry that fails is asked again and again, for seconds: there the first five will do.
    wanted = addresses(project, file)[: 5 if row.status >= 500 else None]
    with ThreadPoolExecutor(3) as pool:
        for asked in [pool.submit(ask, *each) for each in wanted]:
            asked.result()
    assert attack.bait.asked(project) == 0
