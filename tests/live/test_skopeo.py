"""skopeo, which doesn't know Python packages, lists, inspects and copies them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv
from tests.live.servers import Server

pytestmark = pytest.mark.live("skopeo", "uv")

_PLAIN_HTTP = "--tls-verify=false"


@pytest.fixture
def files(clients: Clients, package_index: PackageIndex, tmp_path: Path) -> list[Path]:
    """Two versions of hello-world, published: the first as wheel and sdist."""
    files = [
        packages.wheel(tmp_path),
        packages.sdist(tmp_path),
        packages.wheel(tmp_path, version="1!2.0+local.1"),
    ]
    published(uv(clients, package_index, files))
    return files


def test_list(clients: Clients, package_index: PackageIndex, files: list[Path]) -> None:
    """Each version is a tag."""
    output = clients.run("skopeo", "list-tags", _PLAIN_HTTP, f"docker://{package_index.registry}/hello_world")

    assert sorted(json.loads(output)["Tags"]) == ["1.0", "1_2.0-local.1"]


def test_inspect(clients: Clients, package_index: PackageIndex, files: list[Path]) -> None:
    """A tag has an image index of our artifact type, with a manifest for each file."""
    where = f"docker://{package_index.registry}/hello_world:1.0"

    image_index = json.loads(clients.run("skopeo", "inspect", "--raw", _PLAIN_HTTP, where))

    assert image_index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert image_index["artifactType"] == "application/pyoci.package.v1"
    found = {
        (each["platform"]["architecture"], each["annotations"]["com.pyoci.sha256_digest"])
        for each in image_index["manifests"]
    }
    wheel, sdist = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files[:2])
    assert found == {("py3-none-any.whl", wheel), (".tar.gz", sdist)}


def test_copy_to_a_folder(
    clients: Clients, package_index: PackageIndex, files: list[Path], tmp_path: Path
) -> None:
    """A copy of a tag has the files, named by their digests."""
    source = f"docker://{package_index.registry}/hello_world:1.0"

    clients.run("skopeo", "copy", "--all", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")

    for file in files[:2]:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert (tmp_path / "copy" / digest).read_bytes() == file.read_bytes()


@pytest.mark.live("pip", "docker-registry")
@pytest.mark.parametrize("target", ["second", "local"])
def test_copy_installs(
    clients: Clients,
    pyoci: Server,
    second_registry: Server,
    package_index: PackageIndex,
    files: list[Path],
    tmp_path: Path,
    target: str,
) -> None:
    """A copy in another registry can be listed and installed."""
    host = {"second": second_registry, "local": pyoci}[target].url.removeprefix("http://")
    copy = PackageIndex.new(pyoci, target, host)
    for tag in ("1.0", "1_2.0-local.1"):
        source, destination = (
            f"docker://{each.registry}/hello_world:{tag}" for each in (package_index, copy)
        )
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        clients.run("skopeo", "copy", "--all", *plain, source, destination)
    python = clients.new_environment("environment")

    clients.run("pip", "--python", python, "install", "--index-url", copy.url, "hello-world")

    assert clients.installed(python) == ["hello-world==1!2.0+local.1"]
    assert copy.page("hello-world")["files"] == package_index.page("hello-world")["files"]


@pytest.mark.live("docker-registry")
def test_sync_is_a_backup(
    clients: Clients,
    pyoci: Server,
    second_registry: Server,
    package_index: PackageIndex,
    files: list[Path],
) -> None:
    """One command copies all tags, byte for byte: the copy has the same page with the same digests."""
    copy = PackageIndex.new(pyoci, "second", second_registry.url.removeprefix("http://"))
    source, destination = f"{package_index.registry}/hello_world", copy.registry
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")

    clients.run("skopeo", "sync", "--all", *plain, "--src", "docker", "--dest", "docker", source, destination)

    assert copy.page("hello-world")["files"] == package_index.page("hello-world")["files"]
    tags = [
        clients.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{where}:1.0")
        for where in (source, f"{destination}/hello_world")
    ]
    assert tags[0] == tags[1]
