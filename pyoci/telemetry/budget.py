"""Budget: how many requests a second are worth a span and a log record in a collector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

RATE = 100.0  # requests a second, of one process; to record one costs about as much as to answer it
BURST = 500.0


class Budget:
    """A bucket of so many at most, which fills at a rate."""

    def __init__(
        self, rate: float = RATE, burst: float = BURST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()
        self._guard = threading.Lock()

    def take(self) -> bool:
        """Whether there is one left."""
        with self._guard:
            now = self._clock()
            self._left = min(self._left + (now - self._at) * self._rate, self._burst)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
