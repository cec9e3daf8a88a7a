"""Pauses: how a long computation lets the other threads of the process go on.

Python's threads compute one at a time. One that computes gives way only to a thread that has waited for the
switch interval, and a page waits so in each of its steps: beside a thread that parses a large document it
took several times as long. A short sleep lets all of them go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pyoci import request_scope

COMPUTE_SECONDS = 0.001  # between two pauses
PAUSE_SECONDS = 0.0001  # if nothing else has to be computed
LONG_PAUSE_SECONDS = 0.001
_IS_BUSY = 0.0004  # seconds that the short pause takes if other threads or processes compute

_LARGE = 64 * 1024  # bytes of JSON that take more than a millisecond to parse


class Pauses:
    """The pauses of one computation, which calls this often. They are short, and longer if others compute."""

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
        if self._clock() - begun > _IS_BUSY:
            self._sleep(LONG_PAUSE_SECONDS)
        self._due = self._clock() + COMPUTE_SECONDS

    def after(self, value: Any) -> Any:
        """The same value, after a pause if it is time to."""
        self()
        return value


def json_hook(size: int) -> Callable[[Any], Any] | None:
    """The `object_hook` with which `json.loads` pauses; None for so few bytes that it needs none."""
    return Pauses().after if size > _LARGE else None
