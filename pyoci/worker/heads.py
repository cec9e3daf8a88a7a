"""Heads of requests on their way in. A connection waits here, without a thread, until a head is whole."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from pyoci.worker.sockets import HEAD_END, HEAD_LIMIT

HEAD_SECONDS = 10.0  # from a head's first byte to its last
_STOP_SECONDS = 2.0  # for what hasn't begun in a worker that stops
_BARE_LF = re.compile(rb"(?<!\r)\n")


class Heads:
    """Collects heads, within limits of time and size.

    `complete` takes a connection whose head is whole, and where the head ends; `refuse` one whose head will
    never be right, and a status; `close` one that has left, or was silent for too long.
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
        self._ends_at: dict[Any, float] = {}  # when the time of each is over
        self._idle: dict[Any, float] = {}  # those without a byte, the oldest first, and since when

    def accept(self, conn: Any, seconds: float) -> None:
        """Wait at most so many seconds for the first byte of a new connection."""
        now = self._idle[conn] = self._clock()
        self._ends_at[conn] = now + seconds
        self._watch(conn)

    def begin(self, conn: Any) -> None:
        """A connection whose next head has come, or the beginning of it."""
        self._ends_at[conn] = self._clock() + HEAD_SECONDS
        self._watch(conn)
        self._sort(conn)

    def resume(self, conn: Any) -> None:
        """A kept connection, watched until now for its next request, has something to say."""
        self.on_readable(conn)
        if conn in self._ends_at:  # as a rule the head has come whole
            self._unwatch(conn)
            self._watch(conn)

    def on_readable(self, conn: Any, _sock: Any = None) -> None:
        """Take what has come of a head."""
        if not conn.sock.gathered:
            self._ends_at[conn] = self._clock() + HEAD_SECONDS
            self._idle.pop(conn, None)
        try:
            taken = conn.sock.gather()
        except BlockingIOError:
            return
        except OSError:
            taken = 0
        if taken:
            self._sort(conn)
        else:
            self._forget(conn)
            self._close(conn)

    def tick(self, *, stopping: bool) -> None:
        """To be called about once a second: turn away whoever's time is over."""
        now = self._clock()
        for conn, ends_at in list(self._ends_at.items()):
            if stopping:
                self._ends_at[conn] = min(ends_at, now + _STOP_SECONDS)
            if ends_at <= now:
                self._forget(conn)
                if conn.sock.gathered:
                    self._refuse(conn, "408 Request Timeout")
                else:
                    self._close(conn)

    def idle_since(self) -> float | None:
        """Since when the oldest of those is connected that have sent nothing."""
        return next(iter(self._idle.values()), None)

    def pop_oldest(self) -> Any:
        """Take the oldest out: of those that have sent nothing, else of all. None where there is none."""
        conn = next(iter(self._idle), None) or next(iter(self._ends_at), None)
        if conn is not None:
            self._forget(conn)
        return conn

    def _sort(self, conn: Any) -> None:
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
