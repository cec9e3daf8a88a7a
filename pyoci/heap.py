"""The memory of a server's processes: Python's garbage collector, and the C library's heaps where it is
glibc.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from contextlib import suppress

_M_ARENA_MAX = -8  # of malloc.h


def share() -> None:
    """Exclude all present objects from garbage collection, before a fork.

    A collection would write to their memory pages, which the processes share until then, and looking at these
    objects would be most of its cost.
    """
    gc.collect()
    gc.freeze()


def keep_one() -> None:
    """Have glibc use one heap for all threads. To be called before there are any.

    glibc makes up to eight heaps a core, and memory that is free in one can't be used by another: with
    sixteen busy threads more memory was free than in use. Threads don't wait for each other there, since a
    thread that allocates nearly always holds Python's lock. The operator's MALLOC_ARENA_MAX takes
    precedence.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> float:
    """Collect garbage, and return all free memory to the system. Returns how many seconds that took.

    By itself Python collects after tens of thousands of new objects, and glibc returns the heap's end only.
    It takes some milliseconds, and a tenth of a second for a process whose caches are full.
    """
    begun = time.perf_counter()
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    return time.perf_counter() - begun
