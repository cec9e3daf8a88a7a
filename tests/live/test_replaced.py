"""A file that was deleted and published with other content: clients that resolve again get the new one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pypi_simple import PyPISimple

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv
from tests.live.pyprojects import pyproject

pytestmark = pytest.mark.live("uv")

BEFORE = ["acme-before==1.0", "hello-world==1.0"]
AFTER = ["acme-after==1.0", "hello-world==1.0"]


@pytest.fixture
def index(clients: Clients, package_index: PackageIndex, tmp_path: Path) -> PackageIndex:
    """hello-world, which requires acme-before; acme-after is there, too."""
    others = [packages.wheel(tmp_path, "acme-before"), packages.wheel(tmp_path, "acme-after")]
    wheel = packages.wheel(tmp_path, requires=("acme-before",), text="before")
    published(uv(clients, package_index, [*others, wheel]))
    return package_index


@pytest.fixture
def replace(clients: Clients, index: PackageIndex, tmp_path: Path) -> Callable[[], None]:
    """Publishes another hello-world of the same name, which requires acme-after."""

    def replace() -> None:
        wheel = packages.wheel(tmp_path / "other", requires=("acme-after",), text="after")
        index.delete(f"hello-world/{wheel.name}")
        published(uv(clients, index, [wheel]))

    return replace


def _pip(clients: Clients, index: PackageIndex, name: str, *arguments: object) -> list[str]:
    """Install with pip into a new environment. pip caches http only from trusted hosts."""
    python = clients.new_environment(name)
    where = ("--index-url", index.url, "--trusted-host", urlsplit(index.url).hostname)
    clients.run("pip", "--python", python, "install", *where, *arguments)
    return clients.installed(python)


@pytest.mark.live("pip")
def test_pip(clients: Clients, index: PackageIndex, replace: Callable[[], None]) -> None:
    """pip finds the new file and its dependency, without a hash mismatch."""
    assert _pip(clients, index, "before", "hello-world") == BEFORE
    replace()
    assert _pip(clients, index, "after", "hello-world") == AFTER


@pytest.mark.parametrize("option", [(), ("--refresh",)], ids=["", "refresh"])
def test_uv(
    clients: Clients, index: PackageIndex, replace: Callable[[], None], option: tuple[str, ...]
) -> None:
    """uv resolves with the new METADATA."""

    def install(name: str, *options: str) -> list[str]:
        python = clients.new_environment(name)
        where = ("--python", python, "--default-index", index.url)
        clients.run("uv", "pip", "install", *where, *options, "hello-world")
        return clients.installed(python)

    assert install("before") == BEFORE
    replace()
    assert install("after", *option) == AFTER


def test_uv_lock(clients: Clients, index: PackageIndex, replace: Callable[[], None], tmp_path: Path) -> None:
    """The old lock file refuses the new file by its hash; a new lock file installs it."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(pyproject("uv", index.url))
    clients.run("uv", "sync", cwd=project)
    replace()
    clients.refused("uv", "sync", "--locked", "--reinstall", "--no-cache", cwd=project)
    (project / "uv.lock").unlink()
    clients.run("uv", "sync", "--reinstall", cwd=project)
    assert clients.installed(project / ".venv" / "bin" / "python") == AFTER


@pytest.mark.live("poetry")
def test_poetry(clients: Clients, index: PackageIndex, replace: Callable[[], None], tmp_path: Path) -> None:
    """poetry locks again, and installs the new file."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(pyproject("poetry", index.url))
    clients.run("poetry", "lock", cwd=project)
    clients.run("poetry", "sync", "--no-root", cwd=project)
    python = project / ".venv" / "bin" / "python"
    assert [line for line in clients.installed(python) if "pip==" not in line] == BEFORE
    replace()
    # What it knows of a version it takes from a cache of its own, which asks nobody: not so with --no-cache.
    clients.run("poetry", "lock", "--regenerate", "--no-cache", cwd=project)
    shutil.rmtree(project / ".venv")
    clients.run("poetry", "sync", "--no-root", cwd=project)
    assert [line for line in clients.installed(python) if "pip==" not in line] == AFTER


@pytest.mark.live("pip", "pip-compile")
def test_pip_tools(
    clients: Clients, index: PackageIndex, replace: Callable[[], None], tmp_path: Path
) -> None:
    """pip-compile writes the new hashes, and pip installs by them."""
    (tmp_path / "requirements.in").write_text("hello-world\n")
    lock = tmp_path / "requirements.txt"
    where = ("--index-url", index.url, "--trusted-host", urlsplit(index.url).hostname)
    options = ("--quiet", "--generate-hashes", "--no-emit-index-url", "--no-emit-trusted-host")

    def compile_and_install(name: str) -> list[str]:
        lock.unlink(missing_ok=True)
        clients.run("pip-compile", *options, *where, "requirements.in", cwd=tmp_path)
        return _pip(clients, index, name, "--require-hashes", "-r", lock)

    assert compile_and_install("before") == BEFORE
    replace()
    assert compile_and_install("after") == AFTER


def test_pypi_simple(index: PackageIndex, replace: Callable[[], None], tmp_path: Path) -> None:
    """It finds each file, and METADATA, at its present address, in HTML and JSON."""
    replace()
    for accept in ("application/vnd.pypi.simple.v1+json", "text/html"):
        with PyPISimple(index.url, accept=accept) as client:
            client.s.trust_env = False
            client.s.auth = (index.username, index.password)
            (package,) = client.get_project_page("hello-world").packages
            assert f"/+{package.digests['sha256'][:16]}/" in package.url
            client.download_package(package, tmp_path / "downloaded.whl", verify=True)
            assert "Requires-Dist: acme-after" in client.get_package_metadata(package)
