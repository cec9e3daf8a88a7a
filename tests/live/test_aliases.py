"""`<index>/simple/` and `<index>/legacy/`, which users often configure as the URL of a package index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import GUARDED_REGISTRIES, WRITER
from tests.live.indexes import PackageIndex
from tests.live.publishing import PUBLISHERS, Publisher, published
from tests.live.servers import Server


@pytest.fixture(params=GUARDED_REGISTRIES)
def index(request: pytest.FixtureRequest, pyoci: Server, guarded_pyoci: Server) -> PackageIndex:
    """An unused namespace: embedded, in docker-registry, and with a token server."""
    if request.param == "embedded":
        return PackageIndex.new(guarded_pyoci, "local", "").signed_in(*WRITER)
    if request.param == "docker-registry":
        registry: Server = request.getfixturevalue("docker_registry")
        return PackageIndex.new(pyoci, "lab", registry.url.removeprefix("http://"))
    registry = request.getfixturevalue("token_registry")
    host = registry.url.removeprefix("http://")
    return PackageIndex.new(guarded_pyoci, "tokens", host).signed_in(*WRITER)


def alias(index: PackageIndex, name: str) -> PackageIndex:
    return replace(index, url=f"{index.url}{name}/")


@pytest.mark.parametrize("name", ["simple", "legacy"])
@pytest.mark.parametrize("publish", PUBLISHERS)
def test_publish(
    publish: Publisher, name: str, clients: Clients, index: PackageIndex, tmp_path: Path
) -> None:
    """An upload to an alias is in the index, once. The same upload again succeeds."""
    wheel = packages.wheel(tmp_path)
    for _ in range(2):
        published(publish(clients, alias(index, name), [wheel]))
    for each in (index, alias(index, "simple")):
        assert each.filenames("hello-world") == [wheel.name]
    assert index.get(f"{name}/+simple/hello-world/").status_code == 404


def with_pip(clients: Clients, index: PackageIndex, python: Path) -> None:
    where = ("--index-url", index.url_with_credentials)
    published(clients.attempt("pip", "--python", python, "install", *where, "hello-world"))


def with_uv(clients: Clients, index: PackageIndex, python: Path) -> None:
    where = ("--python", python, "--default-index", index.url_with_credentials)
    published(clients.attempt("uv", "pip", "install", *where, "hello-world"))


@pytest.mark.live("twine")
@pytest.mark.parametrize(
    "install",
    [
        pytest.param(with_pip, id="pip", marks=pytest.mark.live("pip")),
        pytest.param(with_uv, id="uv", marks=pytest.mark.live("uv")),
    ],
)
def test_install(
    install: Callable[[Clients, PackageIndex, Path], None],
    clients: Clients,
    index: PackageIndex,
    tmp_path: Path,
) -> None:
    """Requirements, their metadata and files are found below `simple/`."""
    upload = ("--non-interactive", "--username", index.username, "--password", index.password)
    needed, needing = packages.wheel(tmp_path, "needed"), packages.wheel(tmp_path, requires=("needed",))
    for url in (f"{index.url}legacy/", index.url):
        clients.run("twine", "upload", *upload, "--repository-url", url, needed, needing)
    python = clients.new_environment("environment")

    install(clients, alias(index, "simple"), python)

    assert clients.installed(python) == ["hello-world==1.0", "needed==1.0"]
