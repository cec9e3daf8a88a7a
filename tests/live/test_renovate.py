"""Renovate finds newer versions through PyOCI, in a registry with tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_wheel
from tests.live.clients import Clients
from tests.live.conftest import WRITER, token_of
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, twine
from tests.live.servers import Server

pytestmark = pytest.mark.live("npm", "docker-registry", "token-server", "renovate", "twine")

SOURCE = "https://example.org/acme/hello-world"
_PYPROJECT = """\
[project]
name = "app"
version = "1.0"
dependencies = ["hello-world==1.0"]

[[tool.uv.index]]
name = "pyoci"
url = "{url}+simple/"
default = true
"""


@pytest.fixture
def tokens(guarded_pyoci: Server, token_registry: Server) -> PackageIndex:
    """A namespace that WRITER may read and write, with tokens."""
    host = token_registry.url.removeprefix("http://")
    return PackageIndex.new(guarded_pyoci, "tokens", host).signed_in(*WRITER)


@pytest.fixture
def project(tokens: PackageIndex, tmp_path: Path) -> Path:
    """A project whose requirements.txt has the URL of the package index, and whose pyproject.toml has that of
    its page.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "requirements.txt").write_text(f"--index-url {tokens.url}\nhello-world==1.0\n")
    (folder / "pyproject.toml").write_text(_PYPROJECT.format(url=tokens.url))
    return folder


def _release(clients: Clients, index: PackageIndex, version: str, folder: Path) -> None:
    name, content = make_wheel(version=version, extra_headers=[("Project-URL", f"Source, {SOURCE}")])
    (folder / name).write_bytes(content)
    published(twine(clients, index, [folder / name]))


def _look_up(clients: Clients, project: Path, host_rule: dict[str, str]) -> dict[str, Any]:
    """Renovate's result for hello-world, by the file that requires it."""
    report = clients.home / "report.json"
    configuration = {
        "platform": "local",
        "dryRun": "lookup",
        "requireConfig": "ignored",
        "onboarding": False,
        "enabledManagers": ["pip_requirements", "pep621"],
        # It would ask GitHub for the versions of Python.
        "packageRules": [{"matchDepNames": ["python"], "enabled": False}],
        "hostRules": [{"hostType": "pypi", **host_rule}],
        "baseDir": str(clients.home / "base"),
        "reportType": "file",
        "reportPath": str(report),
    }
    path = clients.home / "config.json"
    path.write_text(json.dumps(configuration))
    settings = {
        "RENOVATE_CONFIG_FILE": str(path),
        "LOG_LEVEL": "debug",
        "NODE_COMPILE_CACHE": str(clients.environments.of("renovate") / "compiled"),  # or /tmp would have it
    }
    clients.run("renovate", cwd=project, **settings)
    files = json.loads(report.read_text())["repositories"]["local"]["packageFiles"]
    return {
        file["packageFile"]: dependency
        for manager in files.values()
        for file in manager
        for dependency in file["deps"]
        if dependency["depName"] == "hello-world"
    }


def _password(index: PackageIndex, token_server: Server) -> dict[str, str]:
    return {"username": index.username, "password": index.password}


def _token(index: PackageIndex, token_server: Server) -> dict[str, str]:
    repository = index.registry.partition("/")[2] + "/hello_world"
    return {"token": token_of(token_server, repository, "pull")}


@pytest.mark.parametrize(
    "account", [pytest.param(_password, id="password"), pytest.param(_token, id="token-of-the-registry")]
)
def test_newer_version(
    account: Callable[[PackageIndex, Server], dict[str, str]],
    clients: Clients,
    tokens: PackageIndex,
    token_server: Server,
    project: Path,
    tmp_path: Path,
) -> None:
    """It proposes the newest version that isn't yanked, with its release time. From the URL of the package
    index it also gets the source, by the legacy JSON; `+simple/` leads it to the page.
    """
    for version in ("1.0", "1.9", "1.10", "1.11"):
        _release(clients, tokens, version, tmp_path)
    tokens.yank("hello-world/1.11", "wrong on Tuesdays")
    [uploaded] = [
        file["upload-time"]
        for file in tokens.page("hello-world")["files"]
        if file["filename"].startswith("hello_world-1.10-")
    ]

    found = _look_up(clients, project, {"matchHost": tokens.url, **account(tokens, token_server)})

    assert sorted(found) == ["pyproject.toml", "requirements.txt"]
    for dependency in found.values():
        [update] = dependency["updates"]
        assert update["newVersion"] == "1.10"
        assert datetime.fromisoformat(update["releaseTimestamp"]) == datetime.fromisoformat(uploaded)
    assert found["requirements.txt"]["sourceUrl"] == SOURCE


def test_alias(clients: Clients, tokens: PackageIndex, project: Path, tmp_path: Path) -> None:
    """For a URL that ends in `/simple/` it reads the page of the package index above."""
    (project / "requirements.txt").write_text(f"--index-url {tokens.url}simple/\nhello-world==1.0\n")
    for version in ("1.0", "1.1"):
        _release(clients, tokens, version, tmp_path)
    account = {"username": tokens.username, "password": tokens.password}

    found = _look_up(clients, project, {"matchHost": tokens.url, **account})

    [update] = found["requirements.txt"]["updates"]
    assert update["newVersion"] == "1.1"


def test_nobody(clients: Clients, tokens: PackageIndex, project: Path, tmp_path: Path) -> None:
    """With a wrong password it finds nothing, and says so."""
    _release(clients, tokens, "1.0", tmp_path)
    _release(clients, tokens, "1.1", tmp_path)

    found = _look_up(clients, project, {"matchHost": tokens.url, "username": "writer", "password": "wrong"})

    assert sorted(found) == ["pyproject.toml", "requirements.txt"]
    for dependency in found.values():
        assert dependency["updates"] == []
        assert "hello-world" in dependency["warnings"][0]["message"]
