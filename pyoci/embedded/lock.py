"""One writer at a time in a repository: a lock on a file, which threads and processes alike respect.

The system drops the lock with its holder, however that ends, so a dead one blocks nobody.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyoci.embedded.errors import Busy

LOCK_LIMIT = 10.0  # seconds; calls that move documents have ten in all
_PAUSE = 0.004  # seconds between two tries; a write takes about as long


@contextmanager
def locked(
    path: Path,
    limit: float = LOCK_LIMIT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the lock on the file `path`. Raises Busy where it isn't to be had within `limit` seconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = clock() + limit
        while not try_lock(descriptor):
            if clock() >= end:
                raise Busy
            sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody has it locked; closing it gives the lock back."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
