"""The resources of a server's workers: memory, descriptors, threads, spool files (Linux)."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.live.servers import Server

_PATIENCE = 20  # seconds until what was let go must be gone
_FILES, _THREADS = 10, 4  # that come with use: of the cache; for what is learned and probed


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One process."""

    pid: int
    rss: int  # bytes
    threads: int
    sockets: int
    spools: int  # open files below the server's TMPDIR that have no name any more, its locks among them
    others: int  # all other descriptors


def workers(server: Server, folder: Path) -> list[Worker]:
    """The present workers; `folder` is the server's TMPDIR."""
    master = server.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text()
    found = []
    for pid in map(int, children.split()):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(_worker(pid, folder))
    return found


def greedy(server: Server, folder: Path, first: Worker, *, threads: int, sockets: int) -> list[Worker]:
    """The workers that still have more than they should when the patience is over: more than the first one
    had at the start, except threads and kept sockets to the registry.
    """

    def fits(worker: Worker) -> bool:
        return (
            worker.spools <= first.spools
            and worker.sockets <= first.sockets + sockets
            and worker.others <= first.others + _FILES
            and worker.threads <= first.threads + threads + _THREADS
        )

    end = time.monotonic() + _PATIENCE
    while True:
        found = [worker for worker in workers(server, folder) if not fits(worker)]
        if not (found or leftovers(folder)) or time.monotonic() > end:
            return found
        time.sleep(0.2)


def leftovers(folder: Path) -> list[str]:
    """Files of uploads, and directories, that are left. The server's own cache doesn't count."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("pyoci-cache-"))


def _worker(pid: int, folder: Path) -> Worker:
    status = Path(f"/proc/{pid}/status").read_text()
    if "VmRSS" not in status:
        raise ProcessLookupError(f"{pid} is ending")
    kinds: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:"):
                kinds["sockets"] += 1
            elif target.startswith(str(folder)) and target.endswith("(deleted)"):
                kinds["spools"] += 1
            else:
                kinds["others"] += 1
    return Worker(
        pid=pid,
        rss=_number(status, "VmRSS") * 1024,
        threads=_number(status, "Threads"),
        sockets=kinds["sockets"],
        spools=kinds["spools"],
        others=kinds["others"],
    )


def _number(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert found, name
    return int(found[1])
