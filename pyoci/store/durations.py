"""Durations: how long changes took lately, from the look at a tag to the write of it, at each registry.

Another server may have looked before we wrote, and overwrite us as much later as such a change takes it:
looking back any sooner would find nothing wrong.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from cachetools import LRUCache

_REGISTRIES = 1024
_CHANGES = 64  # of each registry, the latest
_LATELY = 120.0  # seconds
_CONTESTED = 1.0  # seconds at least, where others write as well: they may be slower than we are
_LONGEST = 4.0  # seconds; there are two looks back. Some uploaders give up after ten; a lost file is worse


class Durations:
    """One for the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._seen: LRUCache[str, deque[tuple[float, float]]] = LRUCache(_REGISTRIES)
        self._contested: LRUCache[str, float] = LRUCache(_REGISTRIES)  # when that was seen last

    def note(self, origin: str, seconds: float) -> None:
        """Remember how long a change took at the registry of that origin."""
        with self._guard:
            if origin not in self._seen:
                self._seen[origin] = deque(maxlen=_CHANGES)
            self._seen[origin].append((self._clock(), seconds))

    def contest(self, origin: str) -> None:
        """Remember that somebody else changes tags at that registry, of whose changes nobody tells us."""
        with self._guard:
            self._contested[origin] = self._clock()

    def waits(self, origin: str) -> tuple[float, float]:
        """Seconds to wait before the first look back, and from there to the second: as many as the longest
        change took lately. Where there are others the second is twice that, and at least one. At most four.
        """
        since = self._clock() - _LATELY
        with self._guard:
            seen = self._seen.get(origin, ())
            longest = max((seconds for when, seconds in seen if when >= since), default=0.0)
            contested = self._contested.get(origin, since) > since
        # What was overwritten is found soon, as a rule; the second look is for who is slower than we are.
        second = max(2 * longest, _CONTESTED) if contested else longest
        return min(longest, _LONGEST), min(second, _LONGEST)
