"""Balance: whether a worker accepts a new connection, or leaves it to one that has less to do.

The system wakes all workers for a new connection, and the first one that runs accepts it. Left to that, one
worker may accept most connections of a client, which then sends most of its requests to that worker.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from functools import cache

_RECORDS = 64  # with more workers, some share a record
_RECORD = struct.Struct("=dq")  # when it was written, on the system's monotonic clock; the load
_CURRENT = 2.0  # seconds for which a record counts; the loop of a worker runs at least once a second


class Loads:
    """The loads of all workers that are forked after its creation. Workers are numbered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records = mmap.mmap(-1, _RECORDS * _RECORD.size)

    def record(self, worker: int, load: int) -> None:
        """Let all workers see the load of this one."""
        _RECORD.pack_into(self._records, worker % _RECORDS * _RECORD.size, self._clock(), load)

    def is_least(self, worker: int, load: int) -> bool:
        """Whether no other worker has a smaller load. Workers that have ended or hang don't count."""
        since, own = self._clock() - _CURRENT, worker % _RECORDS
        return all(
            load <= other or at < since or number == own
            for number, (at, other) in enumerate(_RECORD.iter_unpack(self._records))
        )


@cache
def shared_loads() -> Loads:
    """The loads of this server's workers, for the process that forks them."""
    return Loads()


class Balance:
    """What a worker, whose present load is `load()`, leaves to others. Only its loop uses it."""

    def __init__(self, loads: Loads, worker: int, load: Callable[[], int]) -> None:
        self._loads, self._worker, self._load = loads, worker, load
        self._has_left_one = False

    def record(self) -> None:
        """Let the other workers see the load."""
        self._loads.record(self._worker, self._load())

    def leaves_one(self) -> bool:
        """Whether a connection is left to others. It isn't left twice: the others may be too busy to accept
        it.
        """
        self._has_left_one = not self._has_left_one and not self._loads.is_least(self._worker, self._load())
        return self._has_left_one
