"""A registry's own token instead of a password, for jobs that have nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import BEARER_USERNAME, token_of
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, refused, twine
from tests.live.servers import Server

pytestmark = pytest.mark.live("docker-registry", "token-server", "twine", "pip", "uv")


def test_as_a_password(
    clients: Clients, guarded_pyoci: Server, token_registry: Server, token_server: Server, tmp_path: Path
) -> None:
    """The user of PYOCI_BEARER_USERNAME sends a token as the password."""
    index = PackageIndex.new(guarded_pyoci, "tokens", token_registry.url.removeprefix("http://"))
    repository = index.registry.partition("/")[2] + "/hello_world"
    writer = index.signed_in(BEARER_USERNAME, token_of(token_server, repository, "pull,push"))
    reader = index.signed_in(BEARER_USERNAME, token_of(token_server, repository, "pull"))
    python = clients.new_environment("environment")
    url = ("--index-url", reader.url_with_credentials)

    refused(twine(clients, reader, [packages.wheel(tmp_path)]))
    published(twine(clients, writer, [packages.wheel(tmp_path)]))
    clients.run("pip", "--python", python, "install", *url, "hello-world")

    assert clients.installed(python) == ["hello-world==1.0"]
