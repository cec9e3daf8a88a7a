"""Pauses: how a long computation lets the other threads of the process go on.

Only one thread computes at a time in Python. Another one goes on after it has waited for the switch interval,
and a request waits that long in each of its steps: while a thread parses a large document, a page takes
several times as long. A short sleep of the thread that computes lets the others go on at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pyoci import request_scope

COMPUTE_SECONDS = 0.001  # between two pauses
PAUSE_SECONDS = 0.0001  # if nothing else has to be computed
LONG_PAUSE_SECONDS = 0.002
_BUSY_SECONDS = 0.0004  # a short pause that takes longer shows that other threads or processes compute

_LARGE = 64 * 1024  # bytes of JSON that take more than a millisecond to parse


class Pauses:
    """The pauses of one computation, which calls this often. While other threads or processes compute, the
    pauses are longer.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._due = clock() + COMPUTE_SECONDS

    def __call__(self) -> None:
        """Pause if it is time to. Raises RequestEnded if this thread's request was ended."""
        begun = self._clock()
        if begun < self._due:
            return
        request_scope.check()
        self._sleep(PAUSE_SECONDS)
        if self._clock() - begun > _BUSY_SECONDS:
            self._sleep(LONG_PAUSE_SECONDS)
        self._due = self._clock() + COMPUTE_SECONDS

    def after(self, value: Any) -> Any:
        """The same value, after a pause if it is time to."""
        self()
        return value


def json_hook(size: int) -> Callable[[Any], Any] | None:
    """The `object_hook` with which `json.loads` pauses; None for `size` bytes that take no time to parse."""
    return Pauses().after if size > _LARGE else None
