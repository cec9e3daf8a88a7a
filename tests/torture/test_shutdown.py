"""A server that is stopped during large transfers finishes them in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import packages
from tests.live.indexes import PackageIndex
from tests.live.servers import Port, Servers, start_pyoci
from tests.live.stopping import slow_upload, stop_amid
from tests.torture.conftest import Tally

pytestmark = pytest.mark.timeout(600)
UPLOAD, DOWNLOAD = 500, 20  # MiB
DOWNLOADS = 20
PAUSE = 0.3  # seconds between two of forty steps: a transfer takes a little over twelve
GRACE = 30  # seconds that gunicorn gives


def test_stop(servers: Servers, registry: str, tmp_path: Path, tally: Tally) -> None:
    """SIGTERM during an upload of 500 MiB and twenty downloads."""
    port = Port()
    settings = {"PYOCI_REGISTRIES": f"lab={registry}", "PYOCI_MAX_BODY": str(2**30)}
    server = start_pyoci(servers, f"stopped-{tmp_path.name}", port, **settings)
    index = PackageIndex.new(server, "lab", "")
    kept = packages.large_wheel(tmp_path, DOWNLOAD)
    coming = packages.large_wheel(tmp_path, UPLOAD, tag="py3-none-manylinux_2_17_x86_64")
    assert slow_upload(index, server, kept, pause=0) == 200

    ending = stop_amid(server, index, kept, coming, downloads=DOWNLOADS, pause=PAUSE)

    servers.running.remove(server)
    port.close()
    tally.slowest = ending.seconds
    tally.add(ending.upload == 200, ending)
    for whole in ending.downloads:
        tally.add(whole, ending)
    assert ending.refused
    assert ending.code == 0
    assert ending.seconds < GRACE
