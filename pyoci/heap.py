"""Heap: how the C library keeps the memory of a process with many threads. glibc's alone needs telling."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_ARENA_MAX = -8  # of malloc.h


def keep_one() -> None:
    """Keep one heap for all threads, before there are any.

    glibc makes up to eight a core, and what is free in one is of no use to the others: of sixteen busy
    threads that was more than what they used. They don't wait for each other there, since whoever allocates
    has Python's lock as a rule. MALLOC_ARENA_MAX says otherwise.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what is free between what is used: by itself glibc returns the heap's end only.
    Takes a fraction of a millisecond.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
