"""A server in use for a while leaks nothing: no descriptor, no thread, no spool file."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.census import greedy, leftovers, workers
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.visitors import visiting

pytestmark = [
    pytest.mark.live(),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]
SECONDS, THREADS, VISITORS = 6, 8, 6


@pytest.fixture
def visited(servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> Server:
    """PyOCI with few threads, whose workers are soon replaced, and whose spool is `tmp_path`."""
    return start_pyoci(
        servers,
        "visited-pyoci",
        ports("visited-pyoci"),
        PYOCI_EMBEDDED=str(servers.folder / "visited"),
        PYOCI_THREADS=str(THREADS),
        WEB_CONCURRENCY="2",
        TMPDIR=str(tmp_path),
        GUNICORN_CMD_ARGS="--max-requests 300 --max-requests-jitter 50",
    )


def test_visits_leave_nothing(visited: Server, tmp_path: Path) -> None:
    """Including uploads and downloads that clients abandon. No request fails."""
    first = workers(visited, tmp_path)[0]
    with visiting(f"{visited.url}/local/acme/soak/", VISITORS) as outcome:
        threading.Event().wait(SECONDS)
    assert outcome.failures == [], outcome.failures
    assert outcome.count > VISITORS
    assert greedy(visited, tmp_path, first, threads=THREADS, sockets=2) == [], first
    assert leftovers(tmp_path) == []
    assert workers(visited, tmp_path)
