"""The peak of a server's memory, by Linux's counters."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Missed

_PAUSE = 0.01  # seconds between two looks at what has no peak of its own


@dataclass(slots=True)
class Memory:
    """Resident memory in bytes: all of it, and the anonymous part, which is the program's data."""

    total: int = 0
    anonymous: int = 0


def worker_of(master: int) -> int:
    """The process of the only worker of a gunicorn. Raises Missed if there are others."""
    found = [pid for pid in _pids() if _parent(pid) == master]
    if len(found) != 1:
        raise Missed(f"there are {len(found)} workers; expected one")
    return found[0]


def now(pid: int) -> Memory:
    """The present memory of a process."""
    return Memory(_status(pid, "VmRSS"), _status(pid, "RssAnon"))


def highest(pid: int) -> int:
    """The highest resident memory of a process until now, in bytes; 0 if it has just ended."""
    try:
        return _status(pid, "VmHWM")
    except (Missed, FileNotFoundError, ProcessLookupError):
        return 0


@contextmanager
def peak(pid: int) -> Iterator[Memory]:
    """The peak of a process's memory in the block, filled in at its end. The total is the kernel's own peak,
    reset at the start. The anonymous part has no such counter, and is sampled a hundred times a second.
    """
    found = now(pid)
    # "5" sets VmHWM back to VmRSS (proc(5), clear_refs).
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    over = threading.Event()

    def look() -> None:
        while not over.wait(_PAUSE):
            found.anonymous = max(found.anonymous, _status(pid, "RssAnon"))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()
        found.total = _status(pid, "VmHWM")


def _status(pid: int, key: str) -> int:
    found = re.search(rf"^{key}:\s*(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise Missed(f"the kernel doesn't tell {key} of a process; expected Linux 4.5 or newer")
    return int(found[1]) * 1024


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
