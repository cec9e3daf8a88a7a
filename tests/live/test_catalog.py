"""The catalogue repository in a docker-registry that doesn't list its repositories, and what skopeo reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.fronts import Front
from tests.live.indexes import JSON_PAGE, PackageIndex
from tests.live.publishing import published, uv
from tests.live.servers import Server, Servers, running_pyoci

pytestmark = pytest.mark.live("docker-registry", "skopeo", "uv")

_PLAIN_HTTP = "--tls-verify=false"


@pytest.fixture
def front(docker_registry: Server) -> Iterator[tuple[Front, str]]:
    front = Front(docker_registry.url, lists=False)
    with front.running() as url:
        yield front, url


@pytest.fixture
def index(servers: Servers, front: tuple[Front, str]) -> Iterator[PackageIndex]:
    """A new namespace, with a catalogue."""
    registry, namespace = front[1], f"acme/n{uuid.uuid4().hex[:12]}"
    settings = {"PYOCI_REGISTRIES": f"lab={registry}", "PYOCI_CATALOG": "pyoci.catalog"}
    with running_pyoci(servers, "catalog", **settings) as server:
        yield PackageIndex(
            url=f"{server.url}/lab/{namespace}/", registry=f"{urlsplit(registry).netloc}/{namespace}"
        )


def root_of(index: PackageIndex) -> list[str]:
    answer = index.get("+simple/", Accept=JSON_PAGE)
    assert answer.status_code == 200, answer.text
    return [project["name"] for project in answer.json()["projects"]]


def test_projects_are_listed(
    clients: Clients, index: PackageIndex, front: tuple[Front, str], tmp_path: Path
) -> None:
    """By the root of the namespace, and by skopeo. A deleted project isn't."""
    files = [
        packages.wheel(tmp_path, "alpha"),
        packages.wheel(tmp_path, "beta"),
        packages.sdist(tmp_path, "beta"),
    ]
    published(uv(clients, index, files))
    front[0].asked.clear()
    assert root_of(index) == ["alpha", "beta"]
    assert [line for line in front[0].asked if "tags/list" in line] == [
        f"GET /v2/{index.registry.partition('/')[2]}/pyoci.catalog/tags/list"
    ]
    browsed = index.get("+simple/", Accept="text/html,application/xhtml+xml")
    assert browsed.status_code == 200
    assert "may be incomplete" in browsed.text
    where = f"docker://{index.registry}/pyoci.catalog"
    listed = json.loads(clients.run("skopeo", "list-tags", _PLAIN_HTTP, where))
    assert sorted(listed["Tags"]) == ["alpha", "beta"]
    entry = json.loads(clients.run("skopeo", "inspect", "--raw", _PLAIN_HTTP, f"{where}:beta"))
    assert entry["artifactType"] == "application/pyoci.catalog.v1"
    assert entry["annotations"]["org.opencontainers.image.title"] == "beta"
    assert entry["annotations"]["org.opencontainers.image.version"] == "1.0"
    requests.delete(
        f"{index.url}alpha/1.0", auth=(index.username, index.password), timeout=30
    ).raise_for_status()
    assert root_of(index) == ["beta"]


@pytest.mark.live("oras")
def test_oras_reads_the_catalogue_and_pulls_a_wheel(
    clients: Clients, index: PackageIndex, tmp_path: Path
) -> None:
    """Under the wheel's own name."""
    wheel = packages.wheel(tmp_path)
    published(uv(clients, index, [wheel]))
    tags = clients.run("oras", "repo", "tags", "--plain-http", f"{index.registry}/pyoci.catalog").split()
    assert tags == ["hello-world"]
    where = f"{index.registry}/hello_world"
    image_index = json.loads(clients.run("oras", "manifest", "fetch", "--plain-http", f"{where}:1.0"))
    digest = image_index["manifests"][0]["digest"]
    clients.run("oras", "pull", "--plain-http", "--output", tmp_path / "pulled", f"{where}@{digest}")
    assert (tmp_path / "pulled" / wheel.name).read_bytes() == wheel.read_bytes()
