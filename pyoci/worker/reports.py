"""What the operator learns of clients that the worker ends: a count by reason, and a line of the log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pyoci.events import Events

SLOW_BODY = "slow body"
SLOW_READER = "slow reader"
SILENT = "silent"
OVER_LIMIT = "over the limit"

_LINES = 10  # of a reason, in a second; a crowd that comes back at once would fill a disk


class Reports:
    """Tells `events` of each client that was ended, with the address of its end of the connection."""

    def __init__(self, events: Events, clock: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._clock = clock
        self._second = 0
        self._lines: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def report(self, reason: str, client: Any) -> None:
        """One more. Beyond some lines a second none is written; a later one says how many were left out."""
        self._events.count("ended", reason)
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._lines.clear()
        self._lines[reason] += 1
        if self._lines[reason] > _LINES:
            self._left_out[reason] += 1
            return
        peer = client[0] if isinstance(client, tuple) else str(client)
        left_out = self._left_out.pop(reason, None)
        self._events.warning("worker", "client ended", reason=reason, peer=peer, left_out=left_out)
