"""All attacks of clients, registries and upstream at once, for as long as the test goes on, and honest work.

Nothing of that is lost or refused, memory stays below its bound, and afterwards all is as before.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.live.census import greedy, leftovers, workers
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import is_well
from tests.live.together import MEMORY, make_attacks, make_works, settings
from tests.torture.conftest import Tally
from tests.torture.lasting import SECONDS, rounds

LASTING = min(SECONDS, 600.0)  # seconds
pytestmark = pytest.mark.timeout(LASTING + 300)
THREADS = 16
SLOW, ASKING = 30, 5  # clients of each kind
KEPT = 16 * 8  # connections to registries that a worker keeps


@pytest.fixture
def server(
    servers: Servers, registry: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """PyOCI with one worker, and little room for bodies."""
    folder = tmp_path_factory.mktemp("roles")
    with closing(Port()) as port, settings(servers, registry, folder) as environ:
        environ |= {"PYOCI_THREADS": str(THREADS), "TMPDIR": str(tmp_path)}
        server = start_pyoci(servers, f"besieged-{uuid.uuid4().hex[:6]}", port, **environ)
        yield server
        server.end()
        server.wait()
        servers.running.remove(server)


@pytest.mark.parametrize("asking", [0, ASKING], ids=["slow-clients", "hostile-registries"])
def test_all_kinds_at_once(
    server: Server, tmp_path: Path, tally: Tally, capsys: pytest.CaptureFixture[str], asking: int
) -> None:
    """Honest work at two registries, one of which has readers who try to write."""
    works = make_works(server.url, tally.add)
    first, most = workers(server, tmp_path)[0], 0
    with ExitStack() as stack:
        attacks = make_attacks(server.url, works, SLOW, asking)
        for attack in attacks.values():
            stack.enter_context(attack)
        for number in rounds(LASTING):
            tally.add(is_well(server), "not well")
            for work in works:
                work.do(number)
            most = max(most, workers(server, tmp_path)[0].rss)
            tally.add(most < MEMORY, f"{most} bytes of memory")
            time.sleep(1)
        returns = {name: attack.returns for name, attack in attacks.items()}
    for work in works:
        work.check()
    tally.slowest = max(work.slowest for work in works)
    too_much = greedy(server, tmp_path, first, threads=THREADS, sockets=KEPT)
    with capsys.disabled():
        print(f"\nat most {most // 2**20} MiB; first {first}; last {workers(server, tmp_path)}")
        print(f"answered or ended: {returns}")
    assert too_much == []
    assert leftovers(tmp_path) == []
