"""Clients: what each connection of a worker waits for, and which one is ended when there are too many."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn  # type: ignore[import-untyped]

from pyoci.worker import answers, bodies, framing, heads, lingering, pace, spool
from pyoci.worker.served import WAITED_SECONDS, Served, take_reason
from pyoci.worker.threads import Threads

SUSPENDED = object()  # a thread's result if its answer has to continue when the reader has taken more


class Clients:
    """Takes each connection of `worker` through its stages: the head is collected, then the body; `threads`
    serve the request; the reader takes the answer; then the next request begins, or the connection is closed.
    Only the loop uses it.
    """

    def __init__(
        self,
        worker: Any,
        threads: Threads,
        reports: pace.Reports,
        body_limit: Callable[[str, str], int],
        allowance: spool.Allowance,
        served: Served,
    ) -> None:
        self._worker, self._threads, self._reports = worker, threads, reports
        self._body_limit, self._served = body_limit, served
        threads.set_groups(served.group)
        self._heads = heads.Heads(
            watch=lambda conn: self._watch(conn, self._heads.on_readable),
            unwatch=self._unwatch,
            complete=self._on_head,
            refuse=self.refuse,
            close=self.close,
        )
        self._bodies = bodies.Bodies(
            allowance,
            max(worker.cfg.threads // 2, 1),
            watch=lambda conn: self._watch(conn, self._bodies.on_readable),
            unwatch=self._unwatch,
            hand_over=self._serve,
            may_stream=lambda: threads.have_one_free and not threads.are_awaited,
            report=self._report,
            give_up=self.refuse,
        )
        self._readers = answers.Readers(
            watch=lambda conn: self._watch(conn, self._readers.on_writable, EVENT_WRITE),
            unwatch=self._unwatch,
            resume=self._on_taken,
            give_up=self._give_up_reader,
        )
        self._lingering = lingering.Lingering(
            watch=lambda conn: self._watch(conn, self._lingering.on_readable),
            unwatch=self._unwatch,
            close=self.close,
        )

    def accept(self, conn: TConn) -> None:
        """A connection was accepted."""
        self._heads.accept(conn, max(self._worker.cfg.keepalive, heads.HEAD_SECONDS))

    def resume(self, conn: TConn) -> None:
        """An idle connection that was kept has become readable."""
        self._worker.keepalived_conns.remove(conn)
        self._heads.resume(conn)

    def answered(self, conn: TConn, kept: Any) -> None:
        """A thread has finished with a connection: `kept` is whether to keep it, or SUSPENDED."""
        self._bodies.ended(conn)
        reason = take_reason(conn)
        if reason is not None:
            self._report(conn, reason)
        if kept is SUSPENDED or conn.sock.outgoing:
            conn.kept = kept
            self._readers.begin(conn)
        else:
            self._keep_or_end(conn, kept)

    def tick(self) -> None:
        """Call it about once a second: it ends connections that have taken too long."""
        self._heads.tick(stopping=not self._worker.alive)
        self._bodies.tick(self._threads.busy if self._threads.are_awaited else ())
        self._readers.tick()
        self._lingering.tick()

    def look(self) -> None:
        """Call it about once a second, and more often while threads are scarce: it finds clients that
        have left, so that their threads can serve others.
        """
        for conn in self._served.departed(self._threads.waiting(0.0)):
            self._threads.forget(conn)
            self.close(conn, pace.CLIENT_LEFT)
        self._served.look(self._threads.busy, self._threads.waiting(WAITED_SECONDS))

    def make_room(self) -> bool:
        """End the connection that matters least: the oldest idle one; else the oldest that lingers; else the
        oldest whose head is incomplete; else the slowest body or reader. False if there is none.
        """
        kept_conns = self._worker.keepalived_conns
        since, kept = self._heads.idle_since(), next(iter(kept_conns), None)
        if kept is not None and (since is None or kept.timeout - self._worker.cfg.keepalive < since):
            kept_conns.popleft()
            self._unwatch(kept)
            self.close(kept, pace.SILENT)
            return True
        if since is None and self._lingering.end_oldest():
            return True
        head = self._heads.pop_oldest()
        if head is not None:
            self.close(head, pace.SILENT)
            return True
        return self._end_slowest()

    def refuse(self, conn: TConn, status: str = "503 Service Unavailable", sentence: str = "") -> None:
        """Send an answer without a thread, as much as the socket takes at once, and end the connection."""
        text = f"{sentence or status[4:]}\n"
        headers = "Retry-After: 5\r\n" if status.startswith("503") else ""
        head = f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n{headers}"
        with suppress(OSError):
            conn.sock.send(f"HTTP/1.1 {status}\r\n{head}\r\n{text}".encode())
        self._lingering.begin(conn)

    def close(self, conn: TConn, reason: str | None = None) -> None:
        """Close a connection; a reason is reported to the operator."""
        if reason is not None:
            self._report(conn, reason)
        self._worker.nr_conns -= 1
        conn.close()

    # Requests

    def _on_head(self, conn: TConn, end: int) -> None:
        """A head is complete. Its request goes to a thread, after its body was collected."""
        frame = framing.read_frame(conn.sock.gathered[:end])
        if frame.length == 0:
            self._worker.enqueue_req(conn)
        elif not self._bodies.begin(conn, frame, end, self._body_limit(frame.method, frame.path)):
            self._serve(conn)

    def _serve(self, conn: TConn) -> None:
        """A request that has a body is ready for a thread."""
        if conn.sock.limit_passed is not None:
            self._report(conn, pace.OVER_LIMIT)
        self._worker.enqueue_req(conn)

    # Answers

    def _on_taken(self, conn: TConn) -> None:
        """A reader has taken everything that was waiting."""
        if conn.kept is SUSPENDED:
            self._threads.add_answer(conn)
        else:
            self._keep_or_end(conn, conn.kept)

    def _keep_or_end(self, conn: TConn, kept: bool) -> None:
        if not kept:
            self._lingering.begin(conn)
            return
        sock = conn.sock
        sock.gathered[:0] = conn.parser.unreader.take_buffered()
        sock.begin_request()
        if sock.gathered:  # at least the beginning of the next request has arrived
            self._heads.begin(conn)
            return
        conn.set_timeout()
        if not self._worker.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self._worker.keepalived_conns.append(conn)
        self._watch(conn, self._worker.on_client_socket_readable)

    def _give_up_reader(self, conn: TConn, reason: str | None) -> None:
        if conn.kept is SUSPENDED:
            self._threads.run(conn.answer.end)  # it may close files and connections
        self.close(conn, reason)

    def _end_slowest(self) -> bool:
        body, reader = self._bodies.slowest(), self._readers.slowest()
        if body is not None and (reader is None or body[0] <= reader[0]):
            self._bodies.drop(body[1])
        elif reader is not None:
            self._readers.end(reader[1])
        else:
            return False
        return True

    def _report(self, conn: TConn, reason: str) -> None:
        self._reports.report(reason, conn.client)

    def _watch(self, conn: TConn, callback: Callable[..., None], events: int = EVENT_READ) -> None:
        self._worker.poller.register(conn.sock, events, partial(callback, conn))

    def _unwatch(self, conn: TConn) -> None:
        with suppress(KeyError, ValueError):  # a connection that waits for a thread is not watched
            self._worker.poller.unregister(conn.sock)
