"""The memory of a server's processes: Python's garbage collector, and glibc's heaps."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from contextlib import suppress
from pathlib import Path

# Parameters of mallopt, from malloc.h.
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
_MAPPED = 2 * 1024 * 1024  # bytes of a block that glibc takes from the system, and gives back at once
_UNUSED = 16 * 1024 * 1024  # bytes that may be free at the heap's end
_LARGE = 200 * 1024 * 1024  # bytes of memory from which a process returns what is free more often

# Generation 0 is collected after 3,000 new objects, generation 1 after three collections of generation 0, and
# generation 2, which has all other objects, after a hundred collections of generation 1.
_THRESHOLDS = (3_000, 3, 100)

# Returning free memory stops all threads for a moment.
_SECONDS = 30.0  # the least time between two such moments
_SHARE = 0.001  # the largest share of the time that they may take
_SECONDS_IF_LARGE, _SHARE_IF_LARGE = 1.0, 0.02  # the same for a process that has much memory


def freeze() -> None:
    """Exclude all present objects from garbage collection, before a fork.

    A collection writes to the objects that it visits, which would copy memory pages that the processes share.
    Visiting these objects would also be most of a collection's cost.
    """
    gc.collect()
    gc.freeze()


def collect_rarely() -> None:
    """Have Python's collector visit few objects at a time, and all of them rarely.

    Reference counts free nearly everything without the collector. A large document is tens of thousands of
    objects, none of them garbage: with Python's own thresholds, all threads stop for up to 130 ms, several
    times a second, while one is parsed.
    """
    gc.set_threshold(*_THRESHOLDS)


def use_one_heap() -> None:
    """Have glibc use one heap for all threads. Must be called before threads are started.

    glibc creates up to eight heaps per core, and memory that is free in one can't be used by another: with
    sixteen busy threads, more memory is free than in use. One heap causes no contention, since a thread that
    allocates nearly always holds Python's global lock. The operator's MALLOC_ARENA_MAX takes precedence.

    glibc raises its threshold for separate blocks to the largest block that was freed. Documents of several
    megabytes would then leave gaps in the heap that small objects prevent from being returned.
    """
    for variable, parameter, value in (
        ("MALLOC_ARENA_MAX", _M_ARENA_MAX, 1),
        ("MALLOC_MMAP_THRESHOLD_", _M_MMAP_THRESHOLD, _MAPPED),
        ("MALLOC_TRIM_THRESHOLD_", _M_TRIM_THRESHOLD, _UNUSED),
    ):
        if variable not in os.environ:
            with suppress(AttributeError, OSError):  # another C library
                ctypes.CDLL(None).mallopt(parameter, value)


def is_large() -> bool:
    """Whether this process has so much memory that free memory is worth returning.

    Always False on systems other than Linux.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return pages * os.sysconf("SC_PAGE_SIZE") > _LARGE


def give_back(*, collect: bool = True) -> float:
    """Collect garbage, and return all free memory to the system. Returns how many seconds that took.

    Without this call, Python collects only after tens of thousands of new objects, and glibc returns only the
    end of the heap. The call takes some milliseconds, or a tenth of a second in a process with full caches,
    and without `collect` some milliseconds.
    """
    begun = time.perf_counter()
    if collect:
        gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    return time.perf_counter() - begun


class GiveBack:
    """Calls `give_back` periodically: more often, and without a collection, while the process is large."""

    def __init__(self) -> None:
        self._due = self._due_if_large = 0.0

    def __call__(self, now: float) -> None:
        """Return free memory if it is time to. `now` is in seconds, of a monotonic clock."""
        if now >= self._due:
            self._due = now + max(give_back() / _SHARE, _SECONDS)
        elif now >= self._due_if_large:
            took = give_back(collect=False) if is_large() else 0.0
            self._due_if_large = now + max(took / _SHARE_IF_LARGE, _SECONDS_IF_LARGE)
