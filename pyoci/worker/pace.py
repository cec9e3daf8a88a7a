"""How fast a client is, and what the operator learns of clients that the worker ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pyoci.events import Events

WINDOW = 5.0  # seconds of waiting; the rate is that of the last one to two windows
SLOW = 32 * 1024  # bytes a second, 256 kbit/s: clients below are cut where room is short

SLOW_BODY = "slow body"
SLOW_READER = "slow reader"
SILENT = "silent"
OVER_LIMIT = "over the limit"

_LINES = 10  # of a reason, in a second; a crowd that comes back at once would fill a disk


class Pace:
    """The pace of one client. Waiting is between `wait` and `moved`; other time doesn't count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._seconds = self._earlier_seconds = 0.0
        self._bytes = self._earlier_bytes = 0

    def wait(self) -> None:
        """The client is waited for from now on."""
        if self._since is None:
            self._since = self._clock()

    def moved(self, count: int) -> None:
        """So many bytes have moved, which ends the wait."""
        since, self._since = self._since, None
        if since is not None:
            self._seconds += self._clock() - since
        self._bytes += count
        if self._seconds >= WINDOW:
            self._earlier_seconds, self._earlier_bytes = self._seconds, self._bytes
            self._seconds, self._bytes = 0.0, 0

    @property
    def waiting(self) -> bool:
        """Whether the client is waited for at this moment."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """How long the client was waited for, within the window."""
        since = self._since
        return self._seconds + self._earlier_seconds + (self._clock() - since if since is not None else 0.0)

    @property
    def rate(self) -> float:
        """Bytes a second, within the window; infinite before the client was waited for at all."""
        seconds = self.seconds
        return (self._bytes + self._earlier_bytes) / seconds if seconds else float("inf")


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
