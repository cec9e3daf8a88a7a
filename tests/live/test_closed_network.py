"""PYOCI_UPSTREAM_FILES=proxy in a closed network: clients reach PyOCI alone, and install what they need."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from werkzeug.wrappers import Response

from tests.live.clients import Clients
from tests.live.closed_network import Gate, is_possible
from tests.live.pyprojects import pyproject
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.upstreams import PackageIndex, package_index

# Each requires the next ones, like the dependencies of a web application.
GRAPH = {
    "application": ("web-framework", "database", "command-line"),
    "web-framework": ("templates", "signals", "http-tools"),
    "templates": ("markup",),
    "markup": (),
    "signals": (),
    "http-tools": ("certificates", "addresses"),
    "certificates": (),
    "addresses": (),
    "database": ("greenlets", "typing-tools"),
    "greenlets": (),
    "typing-tools": (),
    "command-line": ("colours",),
    "colours": (),
}
EXPECTED = [f"{name}==2.0" for name in sorted(GRAPH)]


@dataclass(frozen=True, slots=True)
class ClosedClients(Clients):
    """Clients that run in the closed network."""

    gate: tuple[str, ...] = ()

    def _command(self, program: str) -> Sequence[str]:
        return (*self.gate, *Clients._command(self, program))


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[PackageIndex]:
    """A package index with two versions of each project."""
    with package_index() as found:
        for version in ("1.0", "2.0"):
            for name, requires in GRAPH.items():
                found.add_wheel(name, version, requires=requires, requires_python=">=3.8")
        yield found


@pytest.fixture(scope="module")
def proxy(servers: Servers, elsewhere: PackageIndex) -> Iterator[tuple[Server, int]]:
    """PyOCI between the two networks, and its port."""
    port = Port()
    settings = {
        "PYOCI_EMBEDDED": str(servers.folder / "closed-registry"),
        "PYOCI_DEFAULT_INDEX": "local/acme",
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_UPSTREAM_FILES": "proxy",
        "PYOCI_UPSTREAM_FILES_DIR": str(servers.folder / "closed-files"),
    }
    server = start_pyoci(servers, "closed-network", port, **settings)
    yield server, port.number
    server.end()
    port.close()


@pytest.fixture
def closed(clients: Clients, proxy: tuple[Server, int], tmp_path: Path) -> Iterator[ClosedClients]:
    if not is_possible():
        missing = "unshare, of Debian's util-linux, can't make a network namespace here"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    gate = Gate(tmp_path / "gate", proxy[1])
    yield ClosedClients(
        clients.environments, clients.home, clients.settings, clients.releases, gate.command()
    )
    gate.close()


@pytest.mark.live("uv")
def test_a_locked_project_and_pip(
    closed: ClosedClients, proxy: tuple[Server, int], elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """uv locks and syncs, and pip installs. The same works again, with empty caches, while PyPI is down."""
    simple = f"{proxy[0].url}/simple/"
    (tmp_path / "pyproject.toml").write_text(pyproject("uv", simple, "application"))
    refused = closed.refused(
        *(
            "pip",
            "install",
            "--retries",
            "0",
            "-i",
            elsewhere.simple,
            "--target",
            tmp_path / "no",
            "application",
        )
    )
    assert "No matching distribution" in refused  # PyPI can't be reached from there

    closed.run("uv", "lock", "--no-cache", cwd=tmp_path)
    for turn in ("PyPI is up", "PyPI is down"):
        environment = tmp_path / turn.replace(" ", "-")
        closed.run(
            "uv", "sync", "--locked", "--no-cache", cwd=tmp_path, UV_PROJECT_ENVIRONMENT=str(environment)
        )
        assert closed.installed(environment / "bin" / "python") == EXPECTED
        target = tmp_path / f"pip-{environment.name}"
        closed.run("pip", "install", "--no-cache-dir", "--target", target, "-i", simple, "application")
        assert sorted(path.name for path in target.glob("*.py")) == sorted(
            f"{name.replace('-', '_')}.py" for name in GRAPH
        )
        elsewhere.answer = lambda _: Response("down", 503)
    files = [call for call in elsewhere.calls if "/files/" in call and call.endswith(".whl 200")]
    assert len(files) == len(set(files)) == len(GRAPH)
