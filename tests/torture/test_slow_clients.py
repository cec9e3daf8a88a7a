"""Slow clients of all kinds at once, during the whole test, beside normal clients. No request of these is
lost or refused, memory stays below its limit, and afterwards everything is as before.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live.attacking import Attack, Kind, slow_kinds
from tests.live.census import greedy, leftovers, workers
from tests.live.servers import Server, Servers, running_pyoci
from tests.live.sockets import is_well
from tests.torture.conftest import Tally
from tests.torture.lasting import SECONDS, rounds

LASTING = min(SECONDS, 600.0)  # seconds
pytestmark = pytest.mark.timeout(LASTING + 300)
THREADS, CROWD = 4, 300  # of all kinds together
MEMORY = 300 * 1024 * 1024  # bytes of a worker, as docs/reliability.rst promises
BALLAST = 8_000_000  # bytes; more than the buffers of a connection hold
KEPT = 16  # connections to the registry that a worker keeps


@pytest.fixture
def server(servers: Servers, registry: str, tmp_path: Path) -> Iterator[Server]:
    """PyOCI with one worker, few threads, and little room for bodies."""
    with running_pyoci(
        servers,
        "besieged",
        PYOCI_REGISTRIES=f"lab={registry}",
        PYOCI_THREADS=str(THREADS),
        PYOCI_WAITING_BODIES="20000000",
        PYOCI_LOG="warning",
        WEB_CONCURRENCY="1",
        TMPDIR=str(tmp_path),
    ) as server:
        yield server


def publish(index: str, name: str, filename: str, content: bytes) -> int:
    form = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": name,
        "version": filename.split("-")[1],
    }
    return requests.post(index, data=form, files={"content": (filename, content)}, timeout=60).status_code


def test_all_kinds_at_once(server: Server, tmp_path: Path, tally: Tally) -> None:
    """Each kind of slow client, and silent ones, from many addresses; whoever is ended comes back at once."""
    namespace = f"/lab/acme/n{uuid.uuid4().hex[:12]}/"
    index, (filename, content) = (
        f"{server.url}{namespace}",
        make_wheel(files={"a": random.Random(1).randbytes(BALLAST)}),
    )
    assert publish(index, "hello-world", filename, content) == 200
    first, published = workers(server, tmp_path)[0], []
    kinds = [*slow_kinds(namespace, filename).values(), Kind(b""), Kind(b"GET /health HTTP/1.1\r\nX: ", b"y")]
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(Attack(server.url, kind, CROWD // len(kinds)))
        for number in rounds(LASTING):
            tally.add(is_well(server), "not well")
            tally.add(requests.get(f"{index}hello-world/", timeout=60).ok, "no page")
            name, small = make_wheel("other", f"1.0+{number}", files={"a": b"x" * 50_000})
            tally.add(publish(index, "other", name, small) == 200, f"{name} was refused")
            published.append(name)
            got = requests.get(f"{index}hello-world/{filename}", timeout=60).content
            tally.add(hashlib.sha256(got).digest() == hashlib.sha256(content).digest(), "another file")
            tally.add(workers(server, tmp_path)[0].rss < MEMORY, "too much memory")
            time.sleep(1)
    page = requests.get(f"{index}other/", timeout=60).text
    for name in published[-900:]:  # a page shows the newest thousand versions
        tally.add(name in page, f"{name} was lost")
    assert greedy(server, tmp_path, first, threads=THREADS, sockets=KEPT) == []
    assert leftovers(tmp_path) == []
