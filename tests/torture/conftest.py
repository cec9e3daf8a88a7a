"""`make torture`: tests that take many minutes. A plain `make test` skips this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.conftest import SERVERS, ports, servers
from tests.live.servers import Port, Server, Servers, start_docker_registry, start_pyoci

__all__ = ["SERVERS", "ports", "servers"]

ROWS = pytest.StashKey[list[tuple[str, int, int, float]]]()
REGISTRIES = ("embedded", "docker")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only where somebody asks for it by name."""
    return None if any("torture" in argument for argument in config.args) else True


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The rows of docs/reliability.rst."""
    if config.stash.get(ROWS, []):
        terminalreporter.section("tried and survived")
        for name, tried, survived, slowest in config.stash[ROWS]:
            seconds = f"{slowest:>7.1f} s" if slowest else ""
            terminalreporter.write_line(f"{name:<68} {tried:>7} {survived:>7} {seconds}")


class Tally:
    """Counts attempts and survivors, for one row of the table."""

    def __init__(self) -> None:
        self.tried = self.survived = 0
        self.slowest = 0.0  # seconds, where that is of interest
        self.failures: list[str] = []

    def add(self, survived: bool, what: object = "") -> None:
        self.tried += 1
        self.survived += survived
        if not survived:
            self.failures.append(str(what)[:500])


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """The row of a test. The test fails if anything did not survive."""
    tally = Tally()
    yield tally
    name = request.node.nodeid.partition("::")[2].removeprefix("test_").replace("_", " ")
    request.config.stash.setdefault(ROWS, []).append((name, tally.tried, tally.survived, tally.slowest))
    assert tally.failures == []


@pytest.fixture(scope="session")
def docker_registry(servers: Servers, ports: Callable[[str], Port]) -> Server:  # a fixture
    """Debian's docker-registry."""
    return start_docker_registry(servers, "docker-registry", ports("docker-registry"))


@pytest.fixture(scope="session")
def embedded_registry(servers: Servers, ports: Callable[[str], Port]) -> Server:  # a fixture
    """The embedded registry, in processes of its own."""
    folder = str(servers.folder / "embedded")
    return start_pyoci(servers, "embedded", ports("embedded"), PYOCI_EMBEDDED=folder)


@pytest.fixture(params=REGISTRIES)
def registry(request: pytest.FixtureRequest) -> str:
    """The URL of a registry of each kind."""
    server: Server = request.getfixturevalue(f"{request.param}_registry")
    return server.url
