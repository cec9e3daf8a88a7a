"""Old and new releases of the clients install a private project, with credentials as each finds them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.live import installing, packages
from tests.live.clients import Clients
from tests.live.conftest import ENVIRONMENTS, WRITER
from tests.live.indexes import PackageIndex
from tests.live.installing import Installation
from tests.live.publishing import published, uv
from tests.live.releases import RELEASES
from tests.live.servers import Server

pytestmark = [pytest.mark.live("uv", "docker-registry", "keyring==25"), pytest.mark.long]


@pytest.fixture(scope="module")
def index(
    request: pytest.FixtureRequest,
    guarded_pyoci: Server,
    guarded_registry: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> PackageIndex:
    """hello-world 1.0, which requires another private project, and 1.1, which is yanked."""
    folder = tmp_path_factory.mktemp("releases")
    index = PackageIndex.new(guarded_pyoci, "guarded", guarded_registry.url.removeprefix("http://"))
    index = index.signed_in(*WRITER)
    files = [
        packages.wheel(folder, requires=("Acme.Greeting >=2",)),
        packages.wheel(folder, version="1.1", requires=("Acme.Greeting >=2",)),
        packages.wheel(folder, "Acme.Greeting", "2.1"),
    ]
    published(uv(Clients(request.config.stash[ENVIRONMENTS], folder), index, files))
    index.yank("hello-world/1.1", "wrong on Tuesdays")
    return index


_IGNORES_YANKS = {"poetry==1.1.12"}  # poetry knows of them since 1.2
WAYS = {
    "pip": (installing.pip_by_url, installing.pip_by_netrc, installing.pip_by_keyring),
    "uv": (installing.uv_by_url, installing.uv_by_netrc, installing.uv_by_keyring),
    "poetry": (installing.poetry,),
    "pdm": (installing.pdm,),
    "hatch": (installing.hatch,),
    "pipenv": (installing.pipenv,),
    "pip-compile": (installing.pip_compile,),
}


@pytest.mark.parametrize(
    ("client", "install"),
    [
        pytest.param(client, way, id=f"{client}-{way.__name__}", marks=pytest.mark.live(client))
        for client in RELEASES
        for way in WAYS.get(client.partition("==")[0], ())
    ],
)
def test_install(
    client: str, install: installing.Install, clients: Clients, index: PackageIndex, tmp_path: Path
) -> None:
    """The newest version that isn't yanked, and the private project that it requires."""
    found = install(Installation(client, clients, index, tmp_path), ">=1")
    version = "1.1" if client in _IGNORES_YANKS else "1.0"
    assert found == ["acme-greeting==2.1", f"hello-world=={version}"]


@pytest.mark.live("grayskull==3.2.0")
def test_recipe(clients: Clients, guarded_pyoci: Server, guarded_registry: Server, tmp_path: Path) -> None:
    """grayskull writes a recipe for conda from the legacy JSON and the sdist."""
    index = PackageIndex.new(guarded_pyoci, "guarded", guarded_registry.url.removeprefix("http://"))
    here = Installation("grayskull==3.2.0", clients, index.signed_in(*WRITER), tmp_path)
    sdist = packages.sdist(tmp_path)
    published(uv(clients, here.index, [sdist]))
    here.write_netrc()
    where = ("--pypi-metadata-url", f"{index.url}pypi", "--pypi-mirror-url", index.url)
    here.run("pypi", "--no-use-v1-format", *where, "hello-world==1.0")
    recipe = (tmp_path / "hello-world" / "meta.yaml").read_text()
    assert hashlib.sha256(sdist.read_bytes()).hexdigest() in recipe
