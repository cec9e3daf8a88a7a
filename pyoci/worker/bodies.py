"""Bodies: the loop collects most request bodies, and threads read some of them while they arrive.

The body of a slow client is collected in a spool. The body of a fast client goes to a thread before it is
complete, so that a large upload reaches the registry while it arrives. A body for which the spools have no
room also goes to a thread, if one is free.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pyoci.worker import framing, sockets, spool
from pyoci.worker.pace import SLOW, SLOW_BODY, WINDOW

STALL_SECONDS = 30.0  # without a byte, after which a body is ended
NO_MEMORY = "PyOCI has no memory left for this request; try again later"
_SLOW = "the request's body took too long"
_PIECE = 64 * 1024  # bytes that are taken from a client at once
_JUDGED_AFTER = 128 * 1024  # bytes; a client that has sent fewer doesn't count as fast
_FAST = 1024 * 1024  # bytes a second
_ROOM = 2 * _PIECE  # bytes that are freed at once for each body without room that isn't slow
_PATIENCE = 10.0  # seconds that a body without room waits before the slowest one is ended, even a fast one


@dataclass(slots=True)
class Body:
    """A body that the loop collects. `left` is in bytes; None if chunked: then `scanner` finds the end."""

    conn: Any
    left: int | None
    limit: int
    now: float
    scanner: framing.ChunkScanner = field(default_factory=framing.ChunkScanner)
    taken: int = 0
    stalls_at: float = 0.0
    paused_at: float | None = None

    def take(self, piece: bytes | bytearray) -> None:
        """Count a piece that has arrived."""
        self.taken += len(piece)
        if self.left is None:
            self.scanner.feed(piece)
        else:
            self.left = max(self.left - len(piece), 0)

    @property
    def is_whole(self) -> bool:
        return self.scanner.ended if self.left is None else self.left == 0

    def is_over(self) -> bool:
        """Whether a chunked body is over its limit. Chunks of one byte each take six bytes."""
        if self.scanner.announced <= self.limit and self.taken <= 6 * self.limit + _PIECE:
            return False
        self.conn.sock.limit_passed = self.limit
        return True


class Bodies:
    """The bodies that the loop collects, and those that it has given to a thread before they were complete.

    `watch` and `unwatch` tell the loop whether to read from a connection. `hand_over` gives a request to a
    thread; `may_stream` returns whether a thread is free for an incomplete body. `report` is called with a
    client that is ended and the reason, and `give_up` ends a client with a status and a sentence. At most
    `streams` bodies are read by threads while they arrive.
    """

    def __init__(
        self,
        allowance: spool.Allowance,
        streams: int,
        *,
        watch: Callable[[Any], None],
        unwatch: Callable[[Any], None],
        hand_over: Callable[[Any], None],
        may_stream: Callable[[], bool],
        report: Callable[[Any, str], None],
        give_up: Callable[[Any, str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowance, self._streams = allowance, streams
        self._watch, self._unwatch = watch, unwatch
        self._hand_over, self._may_stream = hand_over, may_stream
        self._report, self._give_up = report, give_up
        self._clock = clock
        self._collected: dict[Any, Body] = {}
        self._streamed: set[Any] = set()

    def begin(self, conn: Any, frame: framing.Frame, head: int, limit: int) -> bool:
        """Collect the body of a request; `head` is the length of its head in bytes. False if there is nothing
        to wait for: the body has arrived completely, or is over the limit.
        """
        sock: sockets.ClientSocket = conn.sock
        if frame.length is not None and frame.length > limit:
            sock.limit_passed = limit
            return False
        body = Body(conn, frame.length, limit, self._clock())
        body.take(sock.gathered[head:])
        if body.is_whole or body.is_over():
            return False
        if frame.expects_continue and not body.taken:
            sock.continued = True
            try:
                sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            except OSError:
                return False  # a thread's parser will get the same error
        sock.spool = spool.Spool(self._allowance)
        body.stalls_at = self._clock() + STALL_SECONDS
        self._collected[conn] = body
        sock.pace.wait()
        self._watch(conn)
        return True

    def on_readable(self, conn: Any, _sock: Any = None) -> None:
        """Read what has arrived of a body."""
        body, sock = self._collected[conn], conn.sock
        size = _PIECE if body.left is None else min(_PIECE, body.left)
        if not sock.spool.can_take(size):
            self._pause(body)
            return
        try:
            piece = sock.receive(size)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._release(body)  # incomplete; the client may still read an answer
            return
        sock.pace.moved(len(piece))
        sock.pace.wait()
        body.stalls_at = self._clock() + STALL_SECONDS
        body.take(piece)
        try:
            sock.spool.append(piece)
        except spool.NoRoom:  # the disk is full; the spool holds these bytes in memory
            self._pause(body)
        except MemoryError:  # the piece is lost, so the body can't go on
            self._forget(body)
            self._give_up(conn, "503 Service Unavailable", NO_MEMORY)
            return
        if body.is_whole or body.is_over():
            self._release(body)
        elif body.taken >= _JUDGED_AFTER and sock.pace.rate >= _FAST:
            self._stream(body)

    def ended(self, conn: Any) -> None:
        """A thread has finished with a request."""
        self._streamed.discard(conn)

    def tick(self, served: Iterable[Any] = ()) -> None:
        """Call it about once a second: it ends bodies that have stalled, and makes room for paused ones. If
        others wait for threads, `served` are the connections that have one, and the slowest sender of them
        is cut.
        """
        now = self._clock()
        for body in list(self._collected.values()):
            if body.paused_at is None and now >= body.stalls_at:
                self._drop(body)
        paused = [body for body in self._collected.values() if body.paused_at is not None]
        paused.sort(key=lambda body: body.conn.sock.pace.rate, reverse=True)
        if not all(body.conn.sock.spool.can_take(_PIECE) for body in paused):
            not_slow = sum(body.conn.sock.pace.rate >= SLOW for body in paused)
            waited = now - min(body.paused_at or now for body in paused)
            self._make_room(max(not_slow, 1) * _ROOM, waited)
        for body in paused:  # the fastest first
            if body.conn in self._collected:
                self._resume(body)
        needed = any(body.paused_at is not None for body in self._collected.values())
        self._cut_slowest({*served, *(self._streamed if needed else ())})

    def slowest(self) -> tuple[float, Any] | None:
        """The slowest client whose body is collected, after its rate in bytes a second."""
        rates = ((body.conn.sock.pace.rate, id(conn), conn) for conn, body in self._collected.items())
        found = min(rates, default=None)
        return None if found is None else (found[0], found[2])

    def drop(self, conn: Any) -> None:
        """End a client whose body is collected."""
        self._drop(self._collected[conn])

    # Bodies for which there is no room

    def _pause(self, body: Body) -> None:
        if body.paused_at is None:
            body.paused_at = self._clock()
            body.conn.sock.pace.moved(0)  # the pause doesn't count as the client's time
            self._unwatch(body.conn)
        if not body.is_whole:
            self._stream(body)

    def _resume(self, body: Body) -> None:
        if self._stream(body) or not body.conn.sock.spool.can_take(_PIECE):
            return
        body.paused_at = None
        body.stalls_at = self._clock() + STALL_SECONDS
        body.conn.sock.pace.wait()
        self._watch(body.conn)

    def _make_room(self, size: int, waited: float) -> None:
        """Drop the slowest bodies that have bytes on the disk, until `size` bytes are free. A body that isn't
        slow is dropped only if others have waited for long.
        """
        held = [body for body in self._collected.values() if body.conn.sock.spool.on_disk]
        judged = [body for body in held if body.conn.sock.pace.seconds >= WINDOW]
        judged.sort(key=lambda body: body.conn.sock.pace.rate)
        freed = 0
        for body in judged:
            is_slow = body.conn.sock.pace.rate < SLOW
            if freed >= size or not (is_slow or (waited >= _PATIENCE and not freed)):
                return
            freed += body.conn.sock.spool.on_disk
            self._drop(body)

    def _cut_slowest(self, served: Iterable[Any]) -> None:
        """Cut the slowest client that a thread is waiting for. Clients that send at 256 kbit/s are kept."""
        paces = [(conn.sock.pace.rate, id(conn), conn) for conn in served if self._is_slow(conn)]
        if paces:
            conn = min(paces)[2]
            conn.sock.cut(socket.SHUT_RD)  # the application answers
            self._report(conn, SLOW_BODY)

    def _is_slow(self, conn: Any) -> bool:
        pace = conn.sock.pace
        return bool(not conn.sock.was_cut and pace.waiting and pace.seconds >= WINDOW and pace.rate < SLOW)

    # What becomes of a body

    def _stream(self, body: Body) -> bool:
        if len(self._streamed) >= self._streams or not self._may_stream():
            return False
        self._streamed.add(body.conn)
        self._release(body)
        return True

    def _release(self, body: Body) -> None:
        self._forget(body)
        self._hand_over(body.conn)

    def _drop(self, body: Body) -> None:
        self._forget(body)
        self._report(body.conn, SLOW_BODY)
        self._give_up(body.conn, "408 Request Timeout", _SLOW)

    def _forget(self, body: Body) -> None:
        del self._collected[body.conn]
        body.conn.sock.pace.moved(0)
        if body.paused_at is None:
            self._unwatch(body.conn)
