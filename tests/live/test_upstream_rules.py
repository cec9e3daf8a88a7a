"""Rules with real clients: resolvers take the next version, and a lock file from before can't pass by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.clients import Clients
from tests.live.pyprojects import pyproject
from tests.live.servers import Server, Servers, running_pyoci
from tests.upstreams import PackageIndex, ago, package_index

WEEK = '[min-age]\nage = "7d"\n'
REASON = "is withheld by the rule min-age: it was uploaded less than 7d ago"


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """A package index where somebody has taken over sunshine this morning."""
    with package_index() as found:
        found.add_wheel("sunshine", "3.0")
        found.add_wheel("sunshine", "3.1")["upload-time"] = ago(5)
        yield found


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text("")
    return path


@pytest.fixture
def server(servers: Servers, elsewhere: PackageIndex, rules: Path, tmp_path: Path) -> Iterator[Server]:
    settings = {
        "PYOCI_EMBEDDED": str(tmp_path / "registry"),
        "WEB_CONCURRENCY": "2",
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_UPSTREAM_FILES": "proxy",
        "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
        "PYOCI_UPSTREAM_RULES": str(rules),
        "PYOCI_DEFAULT_INDEX": "local/acme",
    }
    with running_pyoci(servers, "upstream-rules", **settings) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.mark.live("pip")
def test_pip(clients: Clients, server: Server, elsewhere: PackageIndex, rules: Path, tmp_path: Path) -> None:
    """It takes the older version, and prints the reason for which a file is refused."""
    index = f"{server.url}/simple/"
    install = ("install", "--no-cache-dir", "-i", index, "--target")
    clients.run("pip", *install, tmp_path / "before", "sunshine")
    rules.write_text(WEEK)
    clients.run("pip", *install, tmp_path / "after", "sunshine")
    for folder, version in (("before", "3.1"), ("after", "3.0")):
        assert (tmp_path / folder / f"sunshine-{version}.dist-info").exists()
    assert "(from versions: 3.0)" in clients.refused("pip", *install, tmp_path / "pinned", "sunshine==3.1")
    new = elsewhere.projects["sunshine"][1]
    url = f"{index}sunshine/+{new['hashes']['sha256'][:16]}/{new['filename']}"
    assert REASON in clients.refused("pip", *install, tmp_path / "url", f"sunshine @ {url}")


@pytest.mark.live("uv")
def test_uv(clients: Clients, server: Server, rules: Path, project: Path) -> None:
    """`uv sync` of a lock file from before prints the reason; a new one has the older version."""
    (project / "pyproject.toml").write_text(pyproject("uv", f"{server.url}/simple/", "sunshine"))
    lock = project / "uv.lock"
    clients.run("uv", "lock", cwd=project)
    assert 'version = "3.1"' in lock.read_text()
    rules.write_text(WEEK)
    assert REASON in clients.refused("uv", "sync", "--frozen", "--no-cache", cwd=project)
    lock.unlink()
    clients.run("uv", "sync", "--no-cache", cwd=project)
    assert clients.installed(project / ".venv" / "bin" / "python") == ["sunshine==3.0"]


@pytest.mark.live("poetry")
def test_poetry(clients: Clients, server: Server, rules: Path, project: Path) -> None:
    """It finds no file for the locked version; a new lock file has the older one."""
    (project / "pyproject.toml").write_text(pyproject("poetry", f"{server.url}/simple/", "sunshine"))
    clients.run("poetry", "lock", cwd=project)
    rules.write_text(WEEK)
    refused = clients.refused("poetry", "install", "--no-root", "--no-cache", cwd=project)
    assert "Unable to find installation candidates for sunshine (3.1)" in refused
    (project / "poetry.lock").unlink()
    clients.run("poetry", "install", "--no-root", "--no-cache", cwd=project)
    assert "sunshine==3.0" in clients.installed(project / ".venv" / "bin" / "python")


@pytest.mark.live("pdm")
def test_pdm(clients: Clients, server: Server, rules: Path, project: Path, tmp_path: Path) -> None:
    """As poetry."""
    (project / "pyproject.toml").write_text(pyproject("pdm", f"{server.url}/simple/", "sunshine"))
    clients.run("pdm", "lock", cwd=project)
    rules.write_text(WEEK)
    refused = clients.refused("pdm", "sync", "--no-self", cwd=project, PDM_CACHE_DIR=str(tmp_path / "empty"))
    assert "No candidate is found for `sunshine`" in refused
    (project / "pdm.lock").unlink()
    clients.run("pdm", "lock", cwd=project, PDM_CACHE_DIR=str(tmp_path / "empty-too"))
    clients.run("pdm", "sync", "--no-self", cwd=project, PDM_CACHE_DIR=str(tmp_path / "empty-too"))
    assert "sunshine==3.0" in clients.installed(project / ".venv" / "bin" / "python")
