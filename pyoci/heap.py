"""The memory of a server's processes: Python's garbage collector, and glibc's heaps."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from contextlib import suppress

_M_ARENA_MAX = -8  # of malloc.h


def share() -> None:
    """Exclude all present objects from garbage collection, before a fork.

    A collection writes to the objects that it visits, which would copy memory pages that the processes share.
    Visiting these objects would also be most of a collection's cost.
    """
    gc.collect()
    gc.freeze()


def keep_one() -> None:
    """Have glibc use one heap for all threads. Must be called before threads are started.

    glibc creates up to eight heaps per core, and memory that is free in one can't be used by another: with
    sixteen busy threads, more memory was free than in use. One heap causes no contention, since a thread that
    allocates nearly always holds Python's global lock. The operator's MALLOC_ARENA_MAX takes precedence.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> float:
    """Collect garbage, and return all free memory to the system. Returns how many seconds that took.

    Without this call, Python collects only after tens of thousands of new objects, and glibc returns only the
    end of the heap. The call takes some milliseconds, or a tenth of a second in a process with full caches.
    """
    begun = time.perf_counter()
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    return time.perf_counter() - begun
