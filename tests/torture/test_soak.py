"""A server under mixed load for long: memory stays flat, nothing fails, nothing leaks."""

from __future__ import annotations

import os
import statistics
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.census import greedy, leftovers, workers
from tests.live.servers import Server, Servers, running_pyoci
from tests.live.visitors import visiting
from tests.torture.conftest import Tally

SECONDS = float(os.environ.get("TORTURE_SOAK_SECONDS", "1200"))
pytestmark = pytest.mark.timeout(SECONDS + 300)
THREADS, VISITORS = 16, 12
KEPT = 16  # connections to the registry that a worker keeps
GROWTH = 1.05  # of the last third against the second
SET_UPS = {"replaced workers": "--max-requests 2000 --max-requests-jitter 500", "lasting workers": ""}


@pytest.fixture(params=SET_UPS)
def server(
    request: pytest.FixtureRequest, servers: Servers, registry: str, tmp_path: Path
) -> Iterator[Server]:
    """PyOCI whose workers are replaced every minute or so, or never; its spool is `tmp_path`."""
    with running_pyoci(
        servers,
        f"soaked-{request.param.replace(' ', '-')}",
        PYOCI_REGISTRIES=f"lab={registry}",
        PYOCI_THREADS=str(THREADS),
        PYOCI_LOG="warning",
        WEB_CONCURRENCY="2",
        TMPDIR=str(tmp_path),
        GUNICORN_CMD_ARGS=SET_UPS[request.param],
    ) as server:
        yield server


def test_soak(server: Server, tmp_path: Path, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    """Pages, downloads, uploads, yanks and deletes, and visitors that leave in the middle."""
    first = workers(server, tmp_path)[0]
    seen: list[tuple[float, set[int]]] = []
    with visiting(f"{server.url}/lab/acme/n{uuid.uuid4().hex[:12]}/", VISITORS) as outcome:
        for _ in range(int(SECONDS)):
            threading.Event().wait(1.0)
            now = workers(server, tmp_path)
            seen.append((statistics.mean(worker.rss for worker in now), {worker.pid for worker in now}))

    found = greedy(server, tmp_path, first, threads=THREADS, sockets=KEPT)
    third = len(seen) // 3
    begin, middle, last = (
        statistics.mean(rss for rss, _ in part) / 2**20
        for part in (seen[:third], seen[third : 2 * third], seen[2 * third :])
    )
    lives = len(set().union(*(pids for _, pids in seen)))
    with capsys.disabled():
        print(f"\n{dict(outcome.done)}, {outcome.again} once more, {lives} workers")
        print(f"MiB in each third: {begin:.1f}, {middle:.1f}, {last:.1f}")
    tally.tried, tally.survived = outcome.count, outcome.count - len(outcome.failures)
    tally.failures += outcome.failures[:20]
    assert last <= middle * GROWTH
    assert found == [], first
    assert leftovers(tmp_path) == []
