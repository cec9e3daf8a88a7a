"""Places: how many threads may wait for upstream, so that the rest stay free for the registry's pages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyoci.errors import Unreachable

PATIENCE = 1.0  # seconds; who has waited longer tells that upstream is slow


class Places:
    """For one process. Who finds all places taken waits for a moment; not at all while upstream is slow."""

    def __init__(
        self, count: int, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count, self._patience, self._clock = count, patience, clock
        self._changed = threading.Condition()
        self._since: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place in the block. Raises Unreachable where none is to be had."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_room() or self._is_slow(), self._patience)
            if not self._has_room():
                raise Unreachable(
                    "too many requests wait for the upstream package index already; try again later"
                )
            since = self._clock()
            self._since.append(since)
        try:
            yield
        finally:
            with self._changed:
                self._since.remove(since)
                self._changed.notify()

    def _has_room(self) -> bool:
        return len(self._since) < self._count

    def _is_slow(self) -> bool:
        return self._clock() - min(self._since) > self._patience
