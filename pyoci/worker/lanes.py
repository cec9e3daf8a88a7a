"""What waits for a thread: pages, transfers, and answers whose readers have taken what there was.

Each has a lane of its own, and the lanes take turns: a page waits for few transfers, however many of them
came before it. In a lane the first and the last take turns: so a crowd that came at once delays nobody who
comes after it, and is served all the same.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 10.0  # that a request waits for a thread; pip gives up after 15

_TRANSFER = re.compile(rb"\s*(?:GET \S+\.(?:whl|gz|zip)[ ?]|GET /v2/|POST |PUT |PATCH |DELETE )")


class Lanes:
    """The connections that wait for a thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pages: dict[Any, float] = {}
        self._transfers: dict[Any, float] = {}
        self._answers: dict[Any, float] = {}
        self._turns = deque(
            (lane, is_last)
            for is_last in (False, True)
            for lane in (self._pages, self._transfers, self._answers)
        )

    def __len__(self) -> int:
        return len(self._pages) + len(self._transfers) + len(self._answers)

    def add_request(self, conn: Any) -> None:
        """Let a request wait, for a limited time."""
        lane = self._transfers if _TRANSFER.match(conn.sock.gathered) else self._pages
        lane[conn] = self._clock() + SECONDS

    def add_answer(self, conn: Any) -> None:
        """Let an answer wait that has begun."""
        self._answers[conn] = float("inf")

    def pop(self) -> tuple[Any, bool]:
        """The next one, and whether it is an answer that has begun. There has to be one."""
        while True:
            lane, is_last = self._turns[0]
            self._turns.rotate(-1)
            if lane:
                conn = next(reversed(lane) if is_last and lane is not self._answers else iter(lane))
                del lane[conn]
                return conn, lane is self._answers

    def pop_late(self) -> Iterator[Any]:
        """The requests that have waited for too long."""
        now = self._clock()
        for lane in (self._pages, self._transfers):
            for conn in [conn for conn, ends_at in lane.items() if ends_at <= now]:
                del lane[conn]
                yield conn
