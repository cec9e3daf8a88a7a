"""Heap: how a server's processes keep their memory, by Python's collector of cycles and by the C library.
Of those, glibc's alone needs telling.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from contextlib import suppress

_M_ARENA_MAX = -8  # of malloc.h


def share() -> None:
    """Take what is there out of the collector's sight, before a fork: a look at it would write to its pages,
    which the processes share until then, and be most of what a collection costs.
    """
    gc.collect()
    gc.freeze()


def keep_one() -> None:
    """Keep one heap for all threads, before there are any.

    glibc makes up to eight a core, and what is free in one is of no use to the others: of sixteen busy
    threads that was more than what they used. They don't wait for each other there, since whoever allocates
    has Python's lock as a rule. MALLOC_ARENA_MAX says otherwise.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> float:
    """Return to the system what is free between what is used: by itself glibc returns the heap's end only.
    And collect, for by itself Python does so after tens of thousands of objects, which may hold much more
    than themselves. Returns how many seconds it took: some milliseconds, a tenth of a second for one that
    remembers all that it may.
    """
    begun = time.perf_counter()
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    return time.perf_counter() - begun
