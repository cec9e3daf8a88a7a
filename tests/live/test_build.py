"""From source code to an installation: what build backends really write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv

_PROJECT = """\
[project]
name = "Hello.World"
version = "1.2.3"
description = "Says hello, with an é"
readme = "README.md"
requires-python = ">=3.9"
license = "MIT"
authors = [{{name = "Zoë Ünal", email = "zoe@example.org"}}]
keywords = ["hello"]
classifiers = ["PyOCI :: Label :: org.opencontainers.image.vendor :: Acme"]

[project.urls]
Homepage = "https://example.org/hello"

[build-system]
requires = ["{backend}"]
build-backend = "{backend_module}"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a package and a readme, without pyproject.toml."""
    folder = tmp_path / "project"
    (folder / "src" / "hello" / "world").mkdir(parents=True)
    (folder / "src" / "hello" / "world" / "__init__.py").write_text("TEXT = 'hello'\n")
    (folder / "README.md").write_text("# Hello\n\nWörld.\n", encoding="utf-8")
    return folder


def _check_installed(clients: Clients, index: PackageIndex, *options: str) -> None:
    python = clients.new_environment("environment")
    url = ("--index-url", index.url_with_credentials)
    clients.run("uv", "pip", "install", "--python", python, *url, *options, "hello-world")
    assert clients.installed(python) == ["Hello.World==1.2.3"]
    assert list(python.parent.parent.glob("lib/python*/site-packages/hello/world/__init__.py"))


@pytest.mark.live("pip", "uv")
def test_uv(clients: Clients, package_index: PackageIndex, project: Path) -> None:
    """`uv build`, `uv publish` and `uv pip install` of one package."""
    text = _PROJECT.format(backend="uv_build", backend_module="uv_build")
    (project / "pyproject.toml").write_text(text + '\n[tool.uv.build-backend]\nmodule-name = "hello.world"\n')

    clients.run("uv", "build", "--quiet", cwd=project)
    published(uv(clients, package_index, sorted((project / "dist").glob("hello*"))))

    assert len(package_index.filenames("hello-world")) == 2
    _check_installed(clients, package_index)


@pytest.mark.live("pip", "uv", "poetry")
def test_poetry(clients: Clients, package_index: PackageIndex, project: Path) -> None:
    """`poetry publish --build` uploads what `poetry build` made, and uv installs it."""
    text = _PROJECT.format(backend="poetry-core", backend_module="poetry.core.masonry.api")
    (project / "pyproject.toml").write_text(
        text + '\n[tool.poetry]\npackages = [{include = "hello", from = "src"}]\n'
    )
    account = ("--username", package_index.username, "--password", package_index.password)
    url = {"POETRY_REPOSITORIES_PYOCI_URL": package_index.url}

    clients.run("poetry", "publish", "--build", "--repository", "pyoci", *account, cwd=project, **url)

    assert len(package_index.filenames("hello-world")) == 2
    _check_installed(clients, package_index)


@pytest.mark.live("pip", "uv", "flit")
def test_flit(clients: Clients, package_index: PackageIndex, project: Path) -> None:
    """`flit publish` builds and uploads a wheel and an sdist, twice; uv installs the wheel."""
    text = _PROJECT.format(backend="flit_core", backend_module="flit_core.buildapi")
    (project / "pyproject.toml").write_text(text + '\n[tool.flit.module]\nname = "hello.world"\n')
    account = {"FLIT_USERNAME": package_index.username, "FLIT_PASSWORD": package_index.password}

    for _ in range(2):
        clients.run("flit", "publish", cwd=project, FLIT_INDEX_URL=package_index.url, **account)

    assert len(package_index.filenames("hello-world")) == 2
    _check_installed(clients, package_index, "--only-binary", ":all:")
