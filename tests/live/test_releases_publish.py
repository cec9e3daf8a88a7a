"""Old and new releases of the clients publish to a registry that asks for a password."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.live import packages, publishing
from tests.live.clients import Clients
from tests.live.conftest import WRITER
from tests.live.indexes import PackageIndex
from tests.live.publishing import Publisher, published
from tests.live.releases import RELEASES
from tests.live.servers import Server

pytestmark = [pytest.mark.live("docker-registry", "uv", "keyring==25"), pytest.mark.long]
PUBLISHERS = {
    "twine": publishing.twine,
    "uv": publishing.uv,
    "hatch": publishing.hatch,
    "poetry": publishing.poetry,
    "pdm": publishing.pdm,
    "maturin": publishing.maturin,
}


@pytest.fixture
def index(guarded_pyoci: Server, guarded_registry: Server) -> PackageIndex:
    host = guarded_registry.url.removeprefix("http://")
    return PackageIndex.new(guarded_pyoci, "guarded", host).signed_in(*WRITER)


def program_of(release: str) -> str:
    return release.partition("==")[0]


@pytest.mark.parametrize(
    ("release", "publish"),
    [
        pytest.param(release, PUBLISHERS[program_of(release)], id=release, marks=pytest.mark.live(release))
        for release in RELEASES
        if program_of(release) in PUBLISHERS and release != "uv==0.4.0"  # which can't publish
    ],
)
def test_publish(
    release: str, publish: Publisher, clients: Clients, index: PackageIndex, tmp_path: Path
) -> None:
    """A wheel is listed with its hash and what it requires, has METADATA of its own, and comes back."""
    wheel = packages.wheel(tmp_path / "dist")
    published(publish(replace(clients, releases={program_of(release): release}), index, [wheel]))
    [file] = index.page("hello-world")["files"]
    assert file["filename"] == wheel.name
    assert file["hashes"] == {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    assert file["requires-python"] == ">=3.8"
    assert "sha256" in file["core-metadata"]
    assert index.get(f"hello-world/{wheel.name}").content == wheel.read_bytes()


@pytest.mark.parametrize(
    ("release", "publish", "kinds"),
    [
        pytest.param(release, publish, kinds, id=release, marks=pytest.mark.live(release))
        for release, publish, kinds in (
            ("flit==3.2.0", publishing.flit, {"wheel", "sdist"}),
            ("python==3.11", publishing.distutils, {"sdist"}),
        )
    ],
)
def test_build_and_publish(
    release: str,
    publish: Publisher,
    kinds: set[str],
    clients: Clients,
    index: PackageIndex,
    tmp_path: Path,
) -> None:
    """Clients that only send what they have built."""
    name = packages.wheel(tmp_path / "dist")  # its name and version are taken
    published(publish(replace(clients, releases={program_of(release): release}), index, [name]))
    listed = index.page("hello-world")
    assert listed["versions"] == ["1.0"]
    assert {"wheel" if each.endswith("whl") else "sdist" for each in index.filenames("hello-world")} == kinds
