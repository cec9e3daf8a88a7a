"""Heads: a connection waits here, without a thread, until the head of its next request is complete."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any

from pyoci.worker.sockets import HEAD_END, HEAD_LIMIT

HEAD_SECONDS = 10.0  # from a head's first byte to its last
_STOP_SECONDS = 2.0  # for heads that are incomplete when the worker stops
_BARE_LF = re.compile(rb"(?<!\r)\n")


class Heads:
    """Collects heads, within limits of time and size.

    `complete` is called with a connection whose head is complete, and the length of the head. `refuse` is
    called with a connection whose head is invalid or late, and a status. `close` is called with a connection
    whose client has left, or was silent for too long.
    """

    def __init__(
        self,
        *,
        watch: Callable[[Any], None],
        unwatch: Callable[[Any], None],
        complete: Callable[[Any, int], None],
        refuse: Callable[[Any, str], None],
        close: Callable[[Any], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch, self._unwatch = watch, unwatch
        self._complete, self._refuse, self._close = complete, refuse, close
        self._clock = clock
        self._ends_at: dict[Any, float] = {}  # the deadline of each
        self._idle: dict[Any, float] = {}  # those that have sent nothing, and since when; the oldest first

    def accept(self, conn: Any, seconds: float) -> None:
        """Wait at most `seconds` for the first byte of a new connection."""
        now = self._idle[conn] = self._clock()
        self._ends_at[conn] = now + seconds
        self._watch(conn)

    def begin(self, conn: Any) -> None:
        """The next head of a connection has arrived, or the beginning of it."""
        self._ends_at[conn] = self._clock() + HEAD_SECONDS
        self._watch(conn)
        self._check(conn)

    def resume(self, conn: Any) -> None:
        """A kept connection has become readable. The caller has watched it until now."""
        self._ends_at[conn] = self._clock() + HEAD_SECONDS
        self.on_readable(conn)
        if conn in self._ends_at:  # usually the head is complete by now
            self._unwatch(conn)
            self._watch(conn)

    def on_readable(self, conn: Any, _sock: Any = None) -> None:
        """Read what has arrived of a head."""
        is_first = not conn.sock.gathered
        try:
            taken = conn.sock.gather()
        except BlockingIOError:
            return
        except OSError:
            taken = 0
        if not taken:
            self._forget(conn)
            self._close(conn)
            return
        if is_first:
            self._ends_at[conn] = self._clock() + HEAD_SECONDS
            self._idle.pop(conn, None)
        self._check(conn)

    def tick(self, *, stopping: bool) -> None:
        """Call it about once a second: it refuses or closes connections whose deadline has passed."""
        now = self._clock()
        for conn, ends_at in list(self._ends_at.items()):
            if stopping:
                self._ends_at[conn] = min(ends_at, now + _STOP_SECONDS)
            if ends_at <= now:
                self.on_readable(conn)  # it may have sent something while the loop was busy
            if self._ends_at.get(conn, math.inf) <= now:
                self._forget(conn)
                if conn.sock.gathered:
                    self._refuse(conn, "408 Request Timeout")
                else:
                    self._close(conn)

    def idle_since(self) -> float | None:
        """Since when the oldest connection that has sent nothing is waiting; None if there is none."""
        return next(iter(self._idle.values()), None)

    def pop_oldest(self) -> Any:
        """Remove and return the oldest connection that has sent nothing, or else the oldest of all. None if
        there is none.
        """
        conn = next(iter(self._idle), None) or next(iter(self._ends_at), None)
        if conn is not None:
            self._forget(conn)
        return conn

    def _check(self, conn: Any) -> None:
        head: bytearray = conn.sock.gathered
        end = head.find(HEAD_END, 0, HEAD_LIMIT)
        if end >= 0:
            self._forget(conn)
            self._complete(conn, end + len(HEAD_END))
        elif len(head) >= HEAD_LIMIT:
            self._forget(conn)
            self._refuse(conn, "431 Request Header Fields Too Large")
        elif _BARE_LF.search(head):
            self._forget(conn)
            self._refuse(conn, "400 Bad Request")

    def _forget(self, conn: Any) -> None:
        del self._ends_at[conn]
        self._idle.pop(conn, None)
        self._unwatch(conn)
