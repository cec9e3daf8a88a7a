"""If a worker is killed while it publishes, only whole files are left, and another worker takes its place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoci.embedded import create_registry_app
from tests.live.servers import Port, Servers, start_pyoci
from tests.serving import served
from tests.torture.felling import fell_at_each_step
from tests.torture.relay import relay_to

pytestmark = [
    pytest.mark.live(),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def test_at_each_request(servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> None:
    """SIGKILL after each request of an upload to the registry, beside two other files."""
    app = create_registry_app(tmp_path, htpasswd=None, local_only=False)
    with served(app) as registry, relay_to(registry) as relay:
        settings = {"PYOCI_REGISTRIES": f"lab={relay.url}", "WEB_CONCURRENCY": "1"}
        server = start_pyoci(servers, "felled-pyoci", ports("felled-pyoci"), **settings)
        steps = fell_at_each_step(server, relay, registry, "acme/felled", "upload")
        server.end()
    assert len(steps) > 5
