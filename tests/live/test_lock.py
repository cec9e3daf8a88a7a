"""Lock files of uv, poetry, pdm and pip-tools: they can be installed, and don't change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv
from tests.live.pyprojects import pyproject

pytestmark = pytest.mark.live("uv")


@pytest.fixture
def private_packages(clients: Clients, package_index: PackageIndex, tmp_path: Path) -> PackageIndex:
    """hello-world as wheel and sdist, and Acme.Greeting, which it requires, in two versions."""
    files = [
        packages.wheel(tmp_path, requires=("Acme.Greeting >=2",)),
        packages.sdist(tmp_path),
        packages.wheel(tmp_path, "Acme.Greeting", "2.0"),
        packages.wheel(tmp_path, "Acme.Greeting", "2.1+local.1"),
    ]
    published(uv(clients, package_index, files))
    return package_index


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder for a project."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _installed(clients: Clients, project: Path) -> list[str]:
    """The installed packages, without pip, which poetry adds to each new environment."""
    frozen = clients.installed(project / ".venv" / "bin" / "python")
    return [line for line in frozen if not line.startswith("pip==")]


LOCKED = ["Acme.Greeting==2.1+local.1", "hello-world==1.0"]


def test_uv(clients: Clients, private_packages: PackageIndex, project: Path, tmp_path: Path) -> None:
    """uv installs the locked version although there is a newer one, and locking again changes nothing."""
    (project / "pyproject.toml").write_text(pyproject("uv", private_packages.url, "hello-world>=1"))
    lock = project / "uv.lock"
    clients.run("uv", "lock", cwd=project)
    first = lock.read_text()

    clients.run("uv", "lock", "--refresh", cwd=project)
    again = lock.read_text()
    lock.unlink()
    clients.run("uv", "lock", "--no-cache", cwd=project)
    from_nothing = lock.read_text()
    published(uv(clients, private_packages, [packages.wheel(tmp_path, "Acme.Greeting", "3.0")]))
    clients.run("uv", "sync", "--locked", "--no-cache", cwd=project)

    assert first == again == from_nothing
    assert 'name = "acme-greeting"' in first
    assert _installed(clients, project) == LOCKED


@pytest.mark.live("poetry")
def test_poetry(clients: Clients, private_packages: PackageIndex, project: Path, tmp_path: Path) -> None:
    """The same with poetry."""
    (project / "pyproject.toml").write_text(pyproject("poetry", private_packages.url, "hello-world>=1"))
    lock = project / "poetry.lock"
    clients.run("poetry", "lock", cwd=project)
    first = lock.read_text()

    clients.run("poetry", "lock", cwd=project)
    again = lock.read_text()
    lock.unlink()
    clients.run("poetry", "lock", "--no-cache", cwd=project)
    from_nothing = lock.read_text()
    published(uv(clients, private_packages, [packages.wheel(tmp_path, "Acme.Greeting", "3.0")]))
    clients.run("poetry", "check", "--lock", cwd=project)
    clients.run("poetry", "install", "--no-root", "--no-cache", cwd=project)

    assert first == again == from_nothing
    assert 'name = "acme-greeting"' in first
    assert _installed(clients, project) == LOCKED


@pytest.mark.live("pdm")
def test_pdm(clients: Clients, private_packages: PackageIndex, project: Path, tmp_path: Path) -> None:
    """The same with pdm, whose source named pypi takes PyPI's place."""
    (project / "pyproject.toml").write_text(pyproject("pdm", private_packages.url, "hello-world>=1"))
    lock = project / "pdm.lock"
    clients.run("pdm", "lock", cwd=project)
    first = lock.read_text()

    clients.run("pdm", "lock", "--refresh", cwd=project)
    again = lock.read_text()
    lock.unlink()
    clients.run("pdm", "lock", cwd=project, PDM_CACHE_DIR=str(tmp_path / "empty"))
    from_nothing = lock.read_text()
    published(uv(clients, private_packages, [packages.wheel(tmp_path, "Acme.Greeting", "3.0")]))
    clients.run("pdm", "sync", cwd=project, PDM_CACHE_DIR=str(tmp_path / "empty-too"))

    assert first == again == from_nothing
    assert 'name = "acme-greeting"' in first
    assert _installed(clients, project) == LOCKED


@pytest.mark.live("pip", "pip-compile")
def test_pip_tools(clients: Clients, private_packages: PackageIndex, project: Path, tmp_path: Path) -> None:
    """pip-compile writes the hashes of all files, twice the same, and pip installs only by them."""
    (project / "requirements.in").write_text("hello-world>=1\n")
    lock = project / "requirements.txt"
    url = ("--index-url", private_packages.url)
    compiling = ("--quiet", "--generate-hashes", "--no-emit-index-url", *url)
    clients.run("pip-compile", *compiling, "requirements.in", cwd=project)
    first = lock.read_text()

    clients.run("pip-compile", *compiling, "requirements.in", cwd=project)
    again = lock.read_text()
    lock.unlink()
    clients.run("pip-compile", *compiling, "--cache-dir", tmp_path / "empty", "requirements.in", cwd=project)
    from_nothing = lock.read_text()
    published(uv(clients, private_packages, [packages.wheel(tmp_path, "Acme.Greeting", "3.0")]))
    python = clients.new_environment("environment")
    clients.run("pip", "--python", python, "install", *url, "--require-hashes", "-r", lock)

    assert first == again == from_nothing
    digests = {file["hashes"]["sha256"] for file in private_packages.page("hello-world")["files"]}
    assert all(f"--hash=sha256:{digest}" in first for digest in digests)
    assert clients.installed(python) == LOCKED


@pytest.mark.live("poetry")
def test_poetry_without_wheels(
    clients: Clients, package_index: PackageIndex, project: Path, tmp_path: Path
) -> None:
    """poetry locks and installs a project that has only an sdist."""
    published(uv(clients, package_index, [packages.sdist(tmp_path)]))
    (project / "pyproject.toml").write_text(pyproject("poetry", package_index.url, "hello-world>=1"))

    clients.run("poetry", "lock", cwd=project)
    clients.run("poetry", "install", "--no-root", cwd=project)

    assert _installed(clients, project) == ["hello-world==1.0"]
