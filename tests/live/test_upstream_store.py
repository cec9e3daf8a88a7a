"""PYOCI_UPSTREAM_FILES=store with real clients: what pip installed once, uv installs without upstream."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import WRITER
from tests.live.servers import Server, Servers, running_pyoci
from tests.upstreams import package_index
from tests.waiting import until

pytestmark = pytest.mark.live("docker-registry", "pip", "uv")
INSTALLED = ["crunch==2.0", "plain==1.0", "sunshine==3.1"]


def logged_in(folder: Path, registry: Server) -> Path:
    """A folder for DOCKER_CONFIG, as `docker login` writes it."""
    folder.mkdir()
    auth = base64.b64encode(":".join(WRITER).encode()).decode()
    host = registry.url.removeprefix("http://")
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return folder


def stored(root: str) -> list[str]:
    """The projects in the store, as those who may read there see them."""
    names = ("crunch", "plain", "sunshine")
    return [
        name for name in names if requests.get(f"{root}{name}/", auth=WRITER, timeout=60).status_code == 200
    ]


def test_installed_again_without_upstream(
    servers: Servers, clients: Clients, guarded_registry: Server, tmp_path: Path
) -> None:
    """By another server, with an empty folder and an empty cache. The operator's stored login is used, and
    callers have none.
    """
    namespace = f"n{uuid.uuid4().hex[:12]}"
    settings = {
        "PYOCI_EMBEDDED": str(tmp_path / "registry"),
        "WEB_CONCURRENCY": "2",
        "PYOCI_REGISTRIES": f"guarded={guarded_registry.url}",
        "PYOCI_UPSTREAM_FILES": "store",
        "PYOCI_UPSTREAM_STORE": f"guarded/{namespace}",
        "DOCKER_CONFIG": str(logged_in(tmp_path / "docker", guarded_registry)),
    }
    with package_index() as elsewhere:
        elsewhere.add_wheel("sunshine", "3.1", requires=("crunch<3", "plain"))
        for version in ("2.0", "3.0"):
            elsewhere.add_wheel("crunch", version)
        elsewhere.add_file(packages.sdist(tmp_path, "plain"))
        settings["PYOCI_UPSTREAM_INDEX"] = elsewhere.simple
        with running_pyoci(
            servers, "store", **settings, PYOCI_UPSTREAM_FILES_DIR=str(tmp_path / "first")
        ) as first:
            index = f"{first.url}/local/acme/"
            python = clients.new_environment("first-environment")
            clients.run("pip", "--python", python, "install", "--no-cache-dir", "-i", index, "sunshine")
            until(
                lambda: stored(f"{first.url}/guarded/{namespace}/") == ["crunch", "plain", "sunshine"],
                "the copies",
                pause=0.2,
            )
            log = first.log.read_text()
    with running_pyoci(
        servers, "store", **settings, PYOCI_UPSTREAM_FILES_DIR=str(tmp_path / "second")
    ) as second:
        index = f"{second.url}/local/acme/"
        python = clients.new_environment("second-environment")
        install = ("pip", "install", "--no-cache", "--python", python, "--default-index", index)
        clients.run("uv", *install, "sunshine")
        assert clients.installed(python) == INSTALLED
        answer = requests.get(f"{index}sunshine/", timeout=60)
        assert answer.headers["X-PyOCI-Upstream"] == "stored"
        assert requests.get(f"{index}crunch/", timeout=60).text.count("crunch-3.0") == 0
        assert requests.get(f"{index}absent/", timeout=60).status_code in {503, 504}
        log += second.log.read_text()
    assert WRITER[1] not in log
