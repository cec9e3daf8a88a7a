"""Retries: which calls are sent again, the wait before each attempt, and the deadline."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pyoci.errors import Unreachable
from pyoci.net.addresses import Reach
from pyoci.net.messages import Answer, Call, Stream

LONGEST_WAIT = 24 * 3600  # seconds; a longer Retry-After is reduced to this
_ATTEMPTS = 3
_BUSY = frozenset({500, 502, 503, 504})

Answered = TypeVar("Answered", Answer, Stream)


class Retries:
    """Repeats calls. A Transport has one. Threads don't share deadlines."""

    def __init__(
        self, sleep: Callable[[float], None], clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self._sleep, self.clock, self._jitter = sleep, clock, jitter
        self._thread = threading.local()

    @contextmanager
    def shared_deadline(self, seconds: float, until: float = math.inf) -> Iterator[None]:
        """Limit all calls of this thread in the block to `seconds` in total, and to the time `until`. The
        deadline of an outer block still applies. Raises Unreachable if `until` has passed.
        """
        now = self.clock()
        if now >= until:
            raise Unreachable("reading from the registry took too long for one request; try again later")
        outer = getattr(self._thread, "deadline", None)
        if outer is None:
            self._thread.deadline = min(now + seconds, until)
        try:
            yield
        finally:
            if outer is None:
                del self._thread.deadline

    def wait(self, attempt: int) -> None:
        """Wait before another attempt: longer after each attempt, with jitter."""
        self._sleep(self._pause(attempt))

    def run(self, call: Call, send: Callable[[float], Answered], seconds: float) -> Answered:
        """Call `send`, with the remaining seconds, until it succeeds. It is repeated after a lost connection,
        a status of a busy server, or 429. Returns or raises the last outcome within `seconds` and the shared
        deadline.
        """
        deadline = self.clock() + seconds
        deadline = min(deadline, getattr(self._thread, "deadline", deadline))
        for attempt in range(1, _ATTEMPTS + 1):
            pause = self._pause(attempt)
            last = attempt == _ATTEMPTS or call.reach is Reach.EMBEDDED or not call.repeatable
            try:
                answer = send(max(deadline - self.clock(), 0.1))
            except Unreachable:
                if last or self.clock() + pause >= deadline:
                    raise
            else:
                wait = _requested_wait(answer, pause)
                if last or wait is None or self.clock() + wait >= deadline:
                    return answer
                if isinstance(answer, Stream):
                    answer.close()
                pause = wait
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int) -> float:
        return 0.2 * 2.0 ** (attempt - 1) * (0.5 + self._jitter())


def _requested_wait(answer: Answer | Stream, pause: float) -> float | None:
    """Seconds to wait before another attempt; None if another attempt is useless."""
    if answer.status not in _BUSY and answer.status != 429:
        return None
    requested = retry_after_seconds(answer.headers.get("retry-after"))
    return pause if requested is None else max(float(requested), pause)


def retry_after_seconds(header: str | None, now: datetime | None = None) -> int | None:
    """A Retry-After header (RFC 9110, section 10.2.3) in whole seconds from now, from a number or a date.
    None if it is missing or invalid.
    """
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return int(text) if len(text) < 9 and int(text) < LONGEST_WAIT else LONGEST_WAIT
    try:
        wait = parsedate_to_datetime(text) - (now or datetime.now(UTC))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(math.ceil(wait.total_seconds()), 0), LONGEST_WAIT)
