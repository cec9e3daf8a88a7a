"""A registry that is named by its URL in PyOCI's URL, as users paste it and as proxies pass it on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, twine
from tests.live.servers import Server

pytestmark = pytest.mark.live("docker-registry", "twine", "pip", "uv")


@pytest.fixture(
    params=["http%3A%2F%2F{host}", "http://{host}", "http:/{host}"], ids=["quoted", "plain", "merged"]
)
def index_by_url(request: pytest.FixtureRequest, pyoci: Server, docker_registry: Server) -> PackageIndex:
    """A namespace in docker-registry, with the registry's URL quoted, decoded, and with merged slashes."""
    host = docker_registry.url.removeprefix("http://")
    spelled = request.param.format(host=host.replace(":", "%3A") if "%" in request.param else host)
    return PackageIndex.new(pyoci, spelled, host)


def test_publish_and_install(clients: Clients, index_by_url: PackageIndex, tmp_path: Path) -> None:
    """twine publishes, and pip and uv install: the links on the page work."""
    published(twine(clients, index_by_url, [packages.wheel(tmp_path)]))
    with_pip, with_uv = clients.new_environment("with-pip"), clients.new_environment("with-uv")

    clients.run("pip", "--python", with_pip, "install", "--index-url", index_by_url.url, "hello-world")
    clients.run("uv", "pip", "install", "--python", with_uv, "--index-url", index_by_url.url, "hello-world")

    assert clients.installed(with_pip) == clients.installed(with_uv) == ["hello-world==1.0"]
