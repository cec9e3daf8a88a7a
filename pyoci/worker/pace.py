"""Pace: how fast a client is, in a sliding window. Reports: each client that the worker ends is counted by
reason, and logged.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pyoci.events import Events

WINDOW = 5.0  # seconds of waiting; the rate is that of the last one to two windows
SLOW = 32 * 1024  # bytes a second, 256 kbit/s: slower clients may be cut when threads or space run short

SLOW_BODY = "slow body"
SLOW_READER = "slow reader"
SILENT = "silent"
OVER_LIMIT = "over the limit"
CLIENT_LEFT = "client left"

_LINES = 10  # for each reason, in a second: clients that reconnect all at once must not fill the disk


class Pace:
    """The pace of one client. Only the time between `wait` and `moved` counts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._seconds = self._earlier_seconds = 0.0
        self._bytes = self._earlier_bytes = 0

    def wait(self) -> None:
        """Waiting for the client begins."""
        if self._since is None:
            self._since = self._clock()

    def moved(self, count: int) -> None:
        """`count` bytes were received or sent, which ends the waiting."""
        since, self._since = self._since, None
        if since is not None:
            self._seconds += self._clock() - since
        self._bytes += count
        if self._seconds >= WINDOW:
            self._earlier_seconds, self._earlier_bytes = self._seconds, self._bytes
            self._seconds, self._bytes = 0.0, 0

    @property
    def waiting(self) -> bool:
        """Whether somebody is waiting for the client now."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Seconds spent waiting for the client, within the window."""
        since = self._since
        return self._seconds + self._earlier_seconds + (self._clock() - since if since is not None else 0.0)

    @property
    def rate(self) -> float:
        """Bytes a second, within the window; infinite if nobody has waited for the client yet."""
        seconds = self.seconds
        return (self._bytes + self._earlier_bytes) / seconds if seconds else float("inf")


class Reports:
    """Reports each client that was ended to `events`, with its address."""

    def __init__(self, events: Events, clock: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._clock = clock
        self._second = 0
        self._lines: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def report(self, reason: str, client: Any) -> None:
        """Count and log a client. Lines over the limit are left out; the next line has their number."""
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
