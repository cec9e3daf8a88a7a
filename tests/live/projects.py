"""A project that requires hello-world: each client resolves and installs it from one URL."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.pyprojects import pyproject

# For this Python alone: numpy of others may be another one.
_PYTHON = f"=={sys.version_info.major}.{sys.version_info.minor}.*"


@dataclass(frozen=True, slots=True)
class Installation:
    """The result of a client: the interpreter of the environment, and the lock file of each locking."""

    python: Path
    locks: tuple[str, ...] = ()


Installer = Callable[[Clients, PackageIndex, Path], Installation]


def pip(clients: Clients, index: PackageIndex, folder: Path) -> Installation:
    """pip, which has no lock file."""
    python = clients.new_environment("environment")
    clients.run(
        "pip", "--python", python, "install", "--index-url", index.url_with_credentials, "hello-world"
    )
    return Installation(python)


def uv(clients: Clients, index: PackageIndex, folder: Path, strategy: str) -> Installation:
    """uv with one of its strategies for several package indexes."""
    (folder / "pyproject.toml").write_text(pyproject("uv", index.url, python=_PYTHON))
    account = {"UV_INDEX_PYOCI_USERNAME": index.username, "UV_INDEX_PYOCI_PASSWORD": index.password}
    options = ("--index-strategy", strategy)
    locks = []
    for _ in range(2):
        (folder / "uv.lock").unlink(missing_ok=True)
        clients.run("uv", "lock", "--refresh", *options, cwd=folder, **account)
        locks.append((folder / "uv.lock").read_text())
    clients.run("uv", "sync", "--locked", *options, cwd=folder, **account)
    return Installation(folder / ".venv" / "bin" / "python", tuple(locks))


def poetry(clients: Clients, index: PackageIndex, folder: Path) -> Installation:
    """poetry."""
    (folder / "pyproject.toml").write_text(pyproject("poetry", index.url, python=_PYTHON))
    account = {
        "POETRY_HTTP_BASIC_PYOCI_USERNAME": index.username,
        "POETRY_HTTP_BASIC_PYOCI_PASSWORD": index.password,
    }
    locks = []
    for _ in range(2):
        (folder / "poetry.lock").unlink(missing_ok=True)
        clients.run("poetry", "lock", cwd=folder, **account)
        locks.append((folder / "poetry.lock").read_text())
    clients.run("poetry", "install", "--no-root", cwd=folder, **account)
    return Installation(folder / ".venv" / "bin" / "python", tuple(locks))


def pdm(clients: Clients, index: PackageIndex, folder: Path) -> Installation:
    """pdm, with a source named pypi in place of PyPI."""
    (folder / "pyproject.toml").write_text(pyproject("pdm", index.url_with_credentials, python=_PYTHON))
    locks = []
    for _ in range(2):
        (folder / "pdm.lock").unlink(missing_ok=True)
        clients.run("pdm", "lock", cwd=folder)
        locks.append((folder / "pdm.lock").read_text())
    clients.run("pdm", "sync", cwd=folder)
    return Installation(folder / ".venv" / "bin" / "python", tuple(locks))


INSTALLERS = [
    pytest.param(pip, id="pip", marks=pytest.mark.live("pip", "uv")),
    *(
        pytest.param(partial(uv, strategy=strategy), id=f"uv-{strategy}", marks=pytest.mark.live("uv"))
        for strategy in ("first-index", "unsafe-best-match")
    ),
    pytest.param(poetry, id="poetry", marks=pytest.mark.live("poetry")),
    pytest.param(pdm, id="pdm", marks=pytest.mark.live("pdm")),
]
