"""Fixtures for tests with real clients and real servers. A server is started when a test first needs it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import requests

from tests.live.clients import Clients
from tests.live.environments import Environments
from tests.live.indexes import PackageIndex
from tests.live.programs import Requirements
from tests.live.servers import Port, Server, Servers, htpasswd, start_docker_registry, start_pyoci

ENVIRONMENTS = pytest.StashKey[Environments]()
REQUIREMENTS = pytest.StashKey[Requirements]()
SERVERS = pytest.StashKey[Servers]()
LOG_SIZES = pytest.StashKey[dict[Path, int]]()

WRITER = ("writer", "correct horse/battery+staple")  # a password that URLs and forms must quote
BEARER_USERNAME = "__token__"
REGISTRIES = (
    pytest.param("embedded", id="embedded"),
    pytest.param("docker-registry", id="docker-registry", marks=pytest.mark.live("docker-registry")),
)

GUARDED_REGISTRIES = (
    *REGISTRIES,
    pytest.param(
        "token-server", id="token-server", marks=pytest.mark.live("docker-registry", "token-server")
    ),
)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ENVIRONMENTS] = Environments()
    config.stash[REQUIREMENTS] = Requirements(config.stash[ENVIRONMENTS], os.environ)


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.config.stash[REQUIREMENTS].check(item)
    if servers := item.config.stash.get(SERVERS, None):
        item.stash[LOG_SIZES] = servers.sizes()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the servers' logs of a test that failed."""
    report = yield
    servers = item.config.stash.get(SERVERS, None)
    if report.failed and servers is not None:
        sizes = item.stash.get(LOG_SIZES, {})
        for name, text in servers.news(sizes):
            report.sections.append((f"log of {name}", text))
    return report


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of the tests, which are stopped at the end."""
    servers = Servers(tmp_path_factory.mktemp("servers"))
    request.config.stash[SERVERS] = servers
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def ports() -> Iterator[Callable[[str], Port]]:
    """Returns the port of a server by its name, before the server runs."""
    known: dict[str, Port] = {}

    def port(name: str) -> Port:
        if name not in known:
            known[name] = Port()
        return known[name]

    yield port
    for each in known.values():
        each.close()


@pytest.fixture(scope="session")
def settings(servers: Servers, ports: Callable[[str], Port]) -> dict[str, str]:
    """PyOCI's settings: the embedded registry, and an alias for each other registry."""
    aliases = (f"{alias}={ports(alias).url}" for alias in ("lab", "second", "guarded", "tokens"))
    return {
        "PYOCI_EMBEDDED": str(servers.folder / "embedded"),
        "PYOCI_REGISTRIES": ", ".join(aliases),
    }


@pytest.fixture(scope="session")
def pyoci(servers: Servers, ports: Callable[[str], Port], settings: dict[str, str]) -> Server:
    """PyOCI with its default limits."""
    return start_pyoci(servers, "pyoci", ports("pyoci"), **settings)


@pytest.fixture(scope="session")
def small_pyoci(servers: Servers, ports: Callable[[str], Port], settings: dict[str, str]) -> Server:
    """PyOCI with a limit of 1,000,000 bytes for uploads. It shares its registries with `pyoci`."""
    return start_pyoci(servers, "small-pyoci", ports("small-pyoci"), PYOCI_MAX_BODY="1000000", **settings)


@pytest.fixture(scope="session")
def guarded_pyoci(servers: Servers, ports: Callable[[str], Port], settings: dict[str, str]) -> Server:
    """PyOCI whose embedded registry needs a password, and which logs everything."""
    accounts = htpasswd(servers.folder / "embedded.htpasswd", **dict([WRITER]))
    return start_pyoci(
        servers,
        "guarded-pyoci",
        ports("guarded-pyoci"),
        **settings
        | {
            "PYOCI_EMBEDDED": str(servers.folder / "guarded-embedded"),
            "PYOCI_EMBEDDED_HTPASSWD": str(accounts),
            "PYOCI_BEARER_USERNAME": BEARER_USERNAME,
            "PYOCI_LOG": "debug",
        },
    )


@pytest.fixture(scope="session")
def docker_registry(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """Debian's docker-registry without passwords; its alias is `lab`."""
    return start_docker_registry(servers, "docker-registry", ports("lab"))


@pytest.fixture(scope="session")
def second_registry(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """Another docker-registry, to copy to; its alias is `second`."""
    return start_docker_registry(servers, "second-registry", ports("second"))


@pytest.fixture(scope="session")
def guarded_registry(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """A docker-registry with a password; its alias is `guarded`."""
    accounts = htpasswd(servers.folder / "registry.htpasswd", **dict([WRITER]))
    auth = {"htpasswd": {"realm": "guarded", "path": str(accounts)}}
    return start_docker_registry(servers, "guarded-registry", ports("guarded"), auth)


@pytest.fixture(scope="session")
def token_server(request: pytest.FixtureRequest, servers: Servers, ports: Callable[[str], Port]) -> Server:
    """Issues tokens for `token_registry`. The folder `token-server` beside the logs has the issued tokens."""
    folder = servers.folder / "token-server"
    folder.mkdir()
    python = str(request.config.stash[ENVIRONMENTS].python("token-server"))
    port = ports("token-server")
    script = str(Path(__file__).parent / "token_server.py")
    command = [python, script, str(port.number), str(folder), json.dumps(dict([WRITER]))]
    return servers.start("token-server", command, port.url, ready="/token", env={})


@pytest.fixture(scope="session")
def token_registry(servers: Servers, ports: Callable[[str], Port], token_server: Server) -> Server:
    """A docker-registry that accepts the tokens of `token_server`; its alias is `tokens`."""
    certificate = servers.folder / "token-server" / "token.crt"
    token = {
        "realm": f"{token_server.url}/token",
        "service": "token-registry",
        "issuer": "tests",
        "rootcertbundle": str(certificate),
    }
    return start_docker_registry(servers, "token-registry", ports("tokens"), {"token": token})


def token_of(token_server: Server, repository: str, actions: str) -> str:
    """The token that WRITER gets from the token server directly, for instance with `docker login`."""
    with requests.Session() as session:
        session.trust_env = False
        session.auth = WRITER
        query = {"service": "token-registry", "scope": f"repository:{repository}:{actions}"}
        answer = session.get(f"{token_server.url}/token", params=query, timeout=60)
        token: str = answer.json()["token"]
        return token


@pytest.fixture(params=REGISTRIES)
def registry(request: pytest.FixtureRequest, ports: Callable[[str], Port]) -> tuple[str, str]:
    """A registry without passwords: its alias in PyOCI, and its host and port."""
    if request.param == "embedded":
        return "local", ports("pyoci").url.removeprefix("http://")
    request.getfixturevalue("docker_registry")
    return "lab", ports("lab").url.removeprefix("http://")


@pytest.fixture
def package_index(pyoci: Server, registry: tuple[str, str]) -> PackageIndex:
    """A new namespace for each test, in each kind of registry."""
    return PackageIndex.new(pyoci, *registry)


@pytest.fixture
def small_index(small_pyoci: Server, registry: tuple[str, str]) -> PackageIndex:
    """The same behind PyOCI with a limit of 1,000,000 bytes."""
    return PackageIndex.new(small_pyoci, *registry)


@pytest.fixture(params=GUARDED_REGISTRIES)
def guarded_index(request: pytest.FixtureRequest, guarded_pyoci: Server) -> PackageIndex:
    """A namespace that only WRITER may read and write, in each kind of registry."""
    alias, server = "local", guarded_pyoci
    if request.param == "docker-registry":
        alias, server = "guarded", request.getfixturevalue("guarded_registry")
    elif request.param == "token-server":
        alias, server = "tokens", request.getfixturevalue("token_registry")
    return PackageIndex.new(guarded_pyoci, alias, server.url.removeprefix("http://")).signed_in(*WRITER)


@pytest.fixture
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Clients:
    """The real clients, with an empty home for each test."""
    home = tmp_path / "home"
    home.mkdir()
    return Clients(request.config.stash[ENVIRONMENTS], home)
