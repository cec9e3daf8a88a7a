"""A server with limited address space: a lack of memory is its own error, and temporary."""

from __future__ import annotations

import random
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import PATIENCE, connect, is_well, make_head, received
from tests.waiting import until

pytestmark = pytest.mark.live()

THREADS = 16
ROOM = 4 * 1024 * 1024  # bytes of address space that all uploads have together; a thread's stack takes 8 MiB
BLOB = 8_000_000
UPLOADS = 32


@pytest.fixture
def roomy(servers: Servers) -> Iterator[Server]:
    """PyOCI with one worker, all of whose threads have been started."""
    port = Port()
    folder = servers.folder / "roomy-embedded"
    yield start_pyoci(
        servers,
        "roomy-pyoci",
        port,
        WEB_CONCURRENCY="1",
        PYOCI_THREADS=str(THREADS),
        PYOCI_EMBEDDED=str(folder),
    )
    port.close()


def worker_of(server: Server) -> int:
    """The process id of the only worker."""
    (worker,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return int(worker)


def status_of(process: int, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def start_threads(server: Server, worker: int) -> None:
    """Request enough pages at once to start each thread. A started thread stays."""

    def are_started() -> bool:
        with ExitStack() as stack:
            connections = [stack.enter_context(connect(server)) for _ in range(8 * THREADS)]
            for connection in connections:
                connection.sendall(make_head("GET /local/acme/hello/ HTTP/1.1", "Connection: close"))
            for connection in connections:
                received(connection)
        return status_of(worker, "Threads") > THREADS

    until(are_started, "a thread for each request")
    assert is_well(server)


def upload(server: Server, name: str) -> int:
    """The status of an upload of some megabytes; 0 if the connection broke."""
    filename, content = make_wheel(name, files={f"{name}/data": random.Random(name).randbytes(BLOB)})
    fields = {":action": "file_upload", "protocol_version": "1", "name": name, "version": "1.0"}
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.post(
                f"{server.url}/local/acme/",
                data=fields,
                files={"content": (filename, content)},
                timeout=PATIENCE,
            )
        except requests.ConnectionError:
            return 0
    assert answer.status_code == 200 or "no memory left" in answer.text, answer.text
    return answer.status_code


def test_no_memory_is_not_the_clients_fault(roomy: Server) -> None:
    """Uploads at the limit succeed or get a 503, and never a 400. There is no traceback, the server survives,
    and accepts them when there is memory again.
    """
    worker = worker_of(roomy)
    start_threads(roomy, worker)
    limit = status_of(worker, "VmSize") * 1024 + ROOM
    resource.prlimit(worker, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    found: dict[str, int] = {}

    def send(name: str) -> None:
        found[name] = upload(roomy, name)

    threads = [threading.Thread(target=send, args=(f"roomy{number}",)) for number in range(UPLOADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = Counter(found.values())
    assert set(counted) <= {200, 503, 0}
    assert counted[503] > 0
    assert worker_of(roomy) == worker
    resource.prlimit(worker, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for name, status in found.items():
        if status != 200:
            assert upload(roomy, name) == 200
    log = roomy.log.read_text()
    assert "Traceback" not in log
    assert "no memory or no thread left" in log
