"""A client with PyOCI as its only package index: private projects come from the registry, all others from
upstream, and neither replaces the other.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import upstreams
from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import ENVIRONMENTS, WRITER
from tests.live.indexes import PackageIndex
from tests.live.projects import INSTALLERS, Installer
from tests.live.publishing import published, uv
from tests.live.pypi import where_pypi_is
from tests.live.servers import Port, Server, Servers, start_pyoci

pytestmark = pytest.mark.parametrize("install", INSTALLERS)

# What pip of this machine would ask, by its configuration or by itself.


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[upstreams.PackageIndex]:
    """A public package index, in which somebody has published the private projects' names
    in higher versions.
    """
    with upstreams.package_index() as elsewhere:
        elsewhere.add_wheel("sunshine", "3.1", requires=("rain >=2",), requires_python=">=3.8")
        elsewhere.add_wheel("rain", "1.9")
        elsewhere.add_wheel("rain", "2.0")
        for name in ("hello-world", "acme-greeting"):
            elsewhere.add_wheel(name, "99.0")
        yield elsewhere


@pytest.fixture(scope="module")
def one_url(
    servers: Servers,
    ports: Callable[[str], Port],
    settings: dict[str, str],
    elsewhere: upstreams.PackageIndex,
) -> Server:
    """PyOCI with that package index as upstream. Its registry `dead` isn't running."""
    registries = f"{settings['PYOCI_REGISTRIES']}, dead={ports('dead').url}"
    own = {
        "PYOCI_EMBEDDED": str(servers.folder / "one-url-embedded"),
        "PYOCI_REGISTRIES": registries,
        "PYOCI_DEFAULT_INDEX": "local/acme",
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
    }
    return start_pyoci(servers, "one-url", ports("one-url"), **settings | own)


@pytest.fixture(
    params=[
        pytest.param("embedded", id="embedded"),
        pytest.param("tokens", id="token-server", marks=pytest.mark.live("docker-registry", "token-server")),
    ]
)
def index(request: pytest.FixtureRequest, one_url: Server) -> PackageIndex:
    """The short URL of a registry without passwords, and a namespace in one with tokens."""
    if request.param == "embedded":
        host = one_url.url.removeprefix("http://")
        return PackageIndex(url=f"{one_url.url}/simple/", registry=f"{host}/acme")
    registry: Server = request.getfixturevalue("token_registry")
    return PackageIndex.new(one_url, "tokens", registry.url.removeprefix("http://")).signed_in(*WRITER)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder for somebody's project."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _installed(clients: Clients, python: Path) -> list[str]:
    """What is installed, but for pip, which poetry puts into each new environment."""
    return [line for line in clients.installed(python) if not line.startswith("pip==")]


@pytest.mark.live("uv")
def test_both(
    install: Installer,
    clients: Clients,
    index: PackageIndex,
    elsewhere: upstreams.PackageIndex,
    project: Path,
    tmp_path: Path,
) -> None:
    """A private project's private and public dependencies are installed. No higher version of a private name
    is used, and upstream doesn't get the name. Two lock files are the same.
    """
    files = [
        packages.wheel(tmp_path, requires=("Acme.Greeting >=2", "sunshine")),
        packages.wheel(tmp_path, "Acme.Greeting", "2.1"),
    ]
    published(uv(clients, index, files))

    installation = install(clients, index, project)

    expected = ["Acme.Greeting==2.1", "hello-world==1.0", "rain==2.0", "sunshine==3.1"]
    assert _installed(clients, installation.python) == expected
    assert len(set(installation.locks)) <= 1
    assert (elsewhere.asked("hello-world"), elsewhere.asked("acme-greeting")) == (0, 0)


def test_dead_registry(
    install: Installer, clients: Clients, one_url: Server, elsewhere: upstreams.PackageIndex, project: Path
) -> None:
    """While the registry can't be reached, the private project can't be installed, not even from upstream."""
    index = PackageIndex.new(one_url, "dead", "127.0.0.1")
    impatient = replace(clients, settings={"PIP_RETRIES": "0", "UV_HTTP_RETRIES": "0"})

    with pytest.raises(AssertionError, match="ended with"):
        install(impatient, index, project)

    assert elsewhere.asked("hello-world") == 0


@pytest.fixture(scope="module")
def pypi(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """The URL of PyPI in this machine's pip configuration, and the settings with which others trust it."""
    return where_pypi_is(request.config.stash[ENVIRONMENTS].python("pip"))


@pytest.fixture(scope="module")
def before_pypi(
    servers: Servers,
    ports: Callable[[str], Port],
    settings: dict[str, str],
    pypi: tuple[str, dict[str, str]],
) -> Server:
    """PyOCI with PyPI as upstream."""
    url, certificates = pypi
    own = {"PYOCI_EMBEDDED": str(servers.folder / "before-pypi"), "PYOCI_UPSTREAM_INDEX": url}
    return start_pyoci(servers, "before-pypi", ports("before-pypi"), **settings | own | certificates)


@pytest.mark.live("pip", "uv")
def test_pypi(
    install: Installer,
    clients: Clients,
    before_pypi: Server,
    pypi: tuple[str, dict[str, str]],
    project: Path,
    tmp_path: Path,
) -> None:
    """A private project that requires flask and numpy is installed and imported. No client has PyPI's
    address, and two lock files are the same.
    """
    index = PackageIndex.new(before_pypi, "local", before_pypi.url.removeprefix("http://"))
    published(uv(clients, index, [packages.wheel(tmp_path, requires=("flask >=3", "numpy >=2"))]))

    installation = install(replace(clients, settings=pypi[1]), index, project)

    importing: list[str | Path] = [installation.python, "-c", "import flask, hello_world, numpy"]
    assert subprocess.run(importing, timeout=60, check=False).returncode == 0
    assert len(set(installation.locks)) <= 1
