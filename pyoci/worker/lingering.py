"""Lingering: connections that we have finished writing to are still read for a while, so that the client gets
the whole answer.

If a connection is reset while its client is sending, the client never sees the answer. gunicorn 27 reads such
connections in its loop, and accepts no others meanwhile.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SECONDS = 2.0
LIMIT = 1024 * 1024  # bytes
# For a client that is still sending a body which nobody will read.
UNREAD_SECONDS = 60.0
UNREAD_LIMIT = 1024**3
_PIECE = 64 * 1024


@dataclass(slots=True)
class _Rest:
    ends_at: float
    left: int  # bytes


class Lingering:
    """Reads what clients still send, and closes each connection at its end, or at a limit of time or size."""

    def __init__(
        self,
        *,
        watch: Callable[[Any], None],
        unwatch: Callable[[Any], None],
        close: Callable[[Any], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch, self._unwatch, self._close, self._clock = watch, unwatch, close, clock
        self._rests: dict[Any, _Rest] = {}

    def begin(self, conn: Any) -> None:
        """Shut down our side of a connection, and wait until the client closes its own."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        seconds, limit = (UNREAD_SECONDS, UNREAD_LIMIT) if conn.sock.unread else (SECONDS, LIMIT)
        self._rests[conn] = _Rest(self._clock() + seconds, limit)
        self._watch(conn)

    def on_readable(self, conn: Any, _sock: Any = None) -> None:
        """Read and discard what has arrived."""
        rest = self._rests[conn]
        try:
            count = len(conn.sock.receive(_PIECE))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        rest.left -= count
        if not count or rest.left <= 0:
            self._end(conn)

    def tick(self) -> None:
        """Call it about once a second: it closes connections whose time is over."""
        now = self._clock()
        for conn in [conn for conn, rest in self._rests.items() if rest.ends_at <= now]:
            self._end(conn)

    def end_oldest(self) -> bool:
        """Close the connection that has lingered longest. False if there is none."""
        oldest = next(iter(self._rests), None)
        if oldest is not None:
            self._end(oldest)
        return oldest is not None

    def _end(self, conn: Any) -> None:
        del self._rests[conn]
        self._unwatch(conn)
        self._close(conn)
