"""The worker: gunicorn's threaded one, in which whoever waits for a client does so in the loop.

gunicorn 27 gives a connection to a thread with its first byte, and the thread reads the request and sends the
answer for as long as the client likes. Here the worker's own loop collects heads and bodies, and sends what
slow readers have not taken yet. docs/design.rst draws who waits where, and for how long.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker  # type: ignore[import-untyped]

from pyoci.events import Events
from pyoci.heap import give_back
from pyoci.worker.answers import Answer, Readers, informed
from pyoci.worker.bodies import Bodies
from pyoci.worker.framing import read_frame
from pyoci.worker.heads import HEAD_SECONDS, Heads
from pyoci.worker.lanes import Lanes
from pyoci.worker.lingering import Lingering
from pyoci.worker.reports import OVER_LIMIT, SILENT, Reports
from pyoci.worker.sockets import AsText, ClientSocket
from pyoci.worker.spool import Allowance

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_READER_SECONDS = 0.1  # that a thread waits for a reader to take a piece, while nobody waits for the thread
_FINISH_SECONDS = 3600  # that a worker which stops gives its streams; at SIGTERM the arbiter gives fewer
_ASK_SECONDS = 60.0  # between two requests to be replaced
_GIVE_BACK_SECONDS = 30.0  # between two times that free memory is given back; everybody waits meanwhile,
_GIVE_BACK_SHARE = 0.001  # for such a part of the time at most
_LEFT_SECONDS = 0.1  # that connections are left to other workers while all threads here are taken
_AT_ONCE = 100  # connections accepted in one go

# Answered though all threads are taken: whoever asks would restart the server, or send nobody here.
_PROBES = (b"GET /health ", b"GET /ready ")
_QUOTED = ("hdr", "req", "method", "line", "expect", "data", "term", "version", "reason", "info")
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}
_SUSPENDED = object()  # what a thread returns whose answer goes on when the reader has taken more


class Worker(ThreadWorker):  # type: ignore[misc]
    """Collects requests, queues them for the threads, waits for readers and retires, all in its one loop.

    Over TLS of its own (gunicorn's `certfile`) all of a connection is gunicorn's business as before.
    """

    wsgi: WSGIApplication
    alive: bool
    max_requests: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lanes = Lanes()  # what waits for a thread
        self._served: set[TConn] = set()  # by a thread
        self._look_at = self._leftovers_at = self._accept_at = self._ask_at = self._give_back_at = 0.0
        # gunicorn stops accepting at its limit. Here somebody goes then; only where nobody can, it stops.
        self.worker_connections += 1
        # gunicorn would stop accepting at once, and start another worker only when this one is gone.
        self._retire_at, self.max_requests = self.max_requests, sys.maxsize
        self.serve_with(Events(), lambda _method, _path: sys.maxsize, sys.maxsize)

    def serve_with(self, events: Events, body_limit: Callable[[str, str], int], spool: int) -> None:
        """What the application says: who hears of clients that are ended, how long a request's body may be
        (`body_limit` takes method and path), and how many bytes of bodies may wait on the disk.
        """
        self._reports = Reports(events)
        self._body_limit = body_limit
        self._heads = Heads(
            watch=lambda conn: self._watch(conn, self._heads.on_readable),
            unwatch=self._unwatch,
            complete=self._on_head,
            refuse=self._answer,
            close=self._close,
        )
        self._bodies = Bodies(
            Allowance(spool),
            max(self.cfg.threads // 2, 1),
            watch=lambda conn: self._watch(conn, self._bodies.on_readable),
            unwatch=self._unwatch,
            hand_over=self._take,
            may_flow=lambda: self._has_thread() and not self._lanes,
            report=self._report,
            give_up=self._answer,
        )
        self._readers = Readers(
            watch=lambda conn: self._watch(conn, self._readers.on_writable, EVENT_WRITE),
            unwatch=self._unwatch,
            go_on=self._on_taken,
            give_up=self._give_up_reader,
        )
        self._lingering = Lingering(
            watch=lambda conn: self._watch(conn, self._lingering.on_readable),
            unwatch=self._unwatch,
            close=self._close,
        )

    def init_process(self) -> None:
        self.cfg.set("graceful_timeout", _FINISH_SECONDS)  # in this process alone
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=self.cfg.threads + 1)  # one more for the probe

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = informed(self.wsgi, lambda: not self.alive)

    # What the loop calls.

    def set_accept_enabled(self, enabled: bool) -> None:
        """Leave new connections to other workers while all threads here are taken. A worker that stops takes
        those that wait, and refuses others at once: gunicorn lets them wait for its end, and resets them.
        """
        room = self._has_thread() and time.monotonic() >= self._accept_at
        super().set_accept_enabled(enabled and room)
        if not self.alive:
            self._accept_leftovers()
            for listener in self.sockets:
                listener.close()

    def accept(self, listener: Any) -> bool:
        """Take a connection, without a thread for it yet. False where there is none."""
        if self.cfg.is_ssl:
            super().accept(listener)
            return False
        try:
            accepted, client = listener.accept()
            sock = ClientSocket(accepted)
        except OSError as exc:
            # gunicorn's worker would die of it.
            if exc.errno in _FULL and not self._make_room():
                self._accept_at = time.monotonic() + 1
                self.set_accept_enabled(False)
            return False
        if self.nr_conns >= self.cfg.worker_connections:
            self._make_room()
        self.nr_conns += 1
        conn = TConn(self.cfg, sock, client, listener.getsockname())
        conn.data_ready = True  # no thread has to wait for it
        self._heads.accept(conn, max(self.cfg.keepalive, HEAD_SECONDS))
        return True

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """A kept connection has something to say again."""
        if self.cfg.is_ssl:
            super().on_client_socket_readable(conn, client)
            return
        self.keepalived_conns.remove(conn)
        self._heads.go_on(conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Give a request to a thread, or let it wait for one."""
        may_wait = not self.cfg.is_ssl
        urgent = may_wait and conn.sock.gathered.startswith(_PROBES)
        if may_wait and len(self._served) >= self.cfg.threads + urgent:
            self._lanes.add_request(conn)
            return
        self._served.add(conn)
        super().enqueue_req(conn)
        if not self._has_thread():
            self.set_accept_enabled(False)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep the connection or close it, or wait for its reader; and give the thread to the next."""
        self._served.discard(conn)
        kept = False if fs.cancelled() or fs.exception() is not None else fs.result()
        if self.cfg.is_ssl:
            super().finish_request(conn, fs)
        else:
            self._bodies.ended(conn)
            if kept is _SUSPENDED or conn.sock.outgoing:
                conn.kept = kept
                self._readers.begin(conn)
            else:
                self._settle(conn, kept)
        self._give_thread_to_next()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """gunicorn quotes what it can't read, in its answer and in the log: it may be an Authorization. Of a
        request that fails it logs the query, too.
        """
        for name in _QUOTED:
            if isinstance(getattr(exc, name, None), str | bytes):
                setattr(exc, name, "...")
        if req is not None and isinstance(getattr(req, "uri", None), str):
            req.uri = req.uri.partition("?")[0]
        # Its refusals are HTML, without the headers that all HTML has here.
        super().handle_error(req, AsText(client), addr, exc)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Never for long: there is something to do once a second at least."""
        if not self.alive:
            self.notify()
        with suppress(MemoryError):  # the events come again
            super().wait_for_and_dispatch_events(min(timeout, 1.0 if self._has_thread() else _LEFT_SECONDS))

    def murder_keepalived(self, *args: Any, **kwargs: Any) -> None:
        """What gunicorn does in every turn of the loop; and once a second, look around here."""
        super().murder_keepalived(*args, **kwargs)
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + 1
            for conn in self._lanes.pop_late():
                self._answer(conn, "503 Service Unavailable")
            self._heads.look_around(stopping=not self.alive)
            self._bodies.look_around(self._served if self._lanes else ())
            self._readers.look_around()
            self._lingering.look_around()
            self._retire(now)
        if now >= self._leftovers_at and self.alive and not self._has_thread() and now >= self._accept_at:
            self._leftovers_at = now + _LEFT_SECONDS
            self._accept_leftovers()
        if now >= self._give_back_at:
            self._give_back_at = now + max(give_back() / _GIVE_BACK_SHARE, _GIVE_BACK_SECONDS)

    # What threads call.

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request, as far as its reader takes the answer without a wait."""
        if self.cfg.is_ssl:
            return super().handle_request(req, conn)
        conn.answer = Answer(self, req, conn, self._patience)
        return self._outcome(conn.answer, conn.answer.begin())

    def _go_on(self, conn: TConn) -> Any:
        try:
            conn.sock.setblocking(True)
            return self._keepalive_after(conn, self._outcome(conn.answer, conn.answer.go_on()))
        except StopIteration:
            return False
        except OSError as exc:
            if exc.errno not in _GONE:
                self.log.exception("Socket error processing request.")
        except Exception:
            self.log.exception("Error handling request")
        return False

    def _outcome(self, answer: Answer, finished: bool) -> Any:
        return not answer.should_close() if finished else _SUSPENDED

    def _keepalive_after(self, conn: TConn, keepalive: Any) -> Any:
        return keepalive if keepalive is _SUSPENDED else super()._keepalive_after(conn, keepalive)

    def _patience(self) -> float:
        return 0.0 if self._lanes else _READER_SECONDS

    # Requests.

    def _on_head(self, conn: TConn, end: int) -> None:
        """A whole request goes to a thread; a body that is on its way is collected."""
        frame = read_frame(conn.sock.gathered[:end])
        if frame.length == 0:
            self.enqueue_req(conn)
        elif not self._bodies.begin(conn, frame, end, self._body_limit(frame.method, frame.path)):
            self._take(conn)

    def _take(self, conn: TConn) -> None:
        """A request has a body, and is ready for a thread."""
        if conn.sock.limit_passed is not None:
            self._report(conn, OVER_LIMIT)
        self.enqueue_req(conn)

    # Threads.

    def _has_thread(self) -> bool:
        return len(self._served) < int(self.cfg.threads)

    def _give_thread_to_next(self) -> None:
        while self._has_thread() and self._lanes:
            conn, has_begun = self._lanes.pop()
            if not has_begun:
                self.enqueue_req(conn)
                continue
            self._served.add(conn)
            fs = self.tpool.submit(self._go_on, conn)
            fs.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))

    def _on_taken(self, conn: TConn) -> None:
        """A reader has taken all that there was."""
        if conn.kept is _SUSPENDED:
            self._lanes.add_answer(conn)
            self._give_thread_to_next()
        else:
            self._settle(conn, conn.kept)

    def _settle(self, conn: TConn, kept: bool) -> None:
        """A request is answered."""
        if not kept:
            self._lingering.begin(conn)
            return
        sock = conn.sock
        sock.setblocking(False)
        sock.gathered[:0] = conn.parser.unreader.take_buffered()
        sock.begin_request()
        if sock.gathered:  # the next request, or its beginning, came along with this one's
            self._heads.begin(conn)
            return
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self.keepalived_conns.append(conn)
        self._watch(conn, self.on_client_socket_readable)

    # Ends.

    def _make_room(self) -> bool:
        """End the connection that is missed least: the oldest idle one, one that is closed but for the last
        bytes, the oldest head, the slowest body or reader. False where there is none.
        """
        since, kept = self._heads.idle_since(), next(iter(self.keepalived_conns), None)
        if kept is not None and (since is None or kept.timeout - self.cfg.keepalive < since):
            self.keepalived_conns.popleft()
            self._unwatch(kept)
            self._close(kept, SILENT)
            return True
        if since is None and self._lingering.end_oldest():
            return True
        head = self._heads.pop_oldest()
        if head is not None:
            self._close(head, SILENT)
            return True
        return self._end_slowest()

    def _end_slowest(self) -> bool:
        body, reader = self._bodies.slowest(), self._readers.slowest()
        if body is not None and (reader is None or body[0] <= reader[0]):
            self._bodies.drop(body[1])
        elif reader is not None:
            self._readers.end(reader[1])
        else:
            return False
        return True

    def _give_up_reader(self, conn: TConn, reason: str | None) -> None:
        if conn.kept is _SUSPENDED:
            self.tpool.submit(conn.answer.end)  # it may close files and connections
        self._close(conn, reason)

    def _answer(self, conn: TConn, status: str, sentence: str = "") -> None:
        """Answer in a thread's stead, as far as the socket takes it at once."""
        text = f"{sentence or status[4:]}\n"
        headers = "Retry-After: 5\r\n" if status.startswith("503") else ""
        head = f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n{headers}"
        with suppress(OSError):
            conn.sock.send(f"HTTP/1.1 {status}\r\n{head}\r\n{text}".encode())
        self._lingering.begin(conn)

    def _close(self, conn: TConn, reason: str | None = None) -> None:
        if reason is not None:
            self._report(conn, reason)
        self.nr_conns -= 1
        conn.close()

    def _report(self, conn: TConn, reason: str) -> None:
        self._reports.tell(reason, conn.client)

    def _watch(self, conn: TConn, callback: Callable[..., None], events: int = EVENT_READ) -> None:
        self.poller.register(conn.sock, events, partial(callback, conn))

    def _unwatch(self, conn: TConn) -> None:
        with suppress(KeyError, ValueError):  # who waits for a thread is not watched
            self.poller.unregister(conn.sock)

    # Full, and old.

    def _accept_leftovers(self) -> None:
        """What no other worker took in time finds all of them full. It waits here, or is refused."""
        for listener in self.sockets:
            listener.setblocking(False)
            for _ in range(_AT_ONCE):
                if self.nr_conns >= self.worker_connections or not self.accept(listener):
                    break

    def _retire(self, now: float) -> None:
        """After so many requests, have the arbiter start another worker and stop its oldest. Whichever that
        is finishes what it has while the new one serves; in gunicorn's own way nobody would.
        """
        if self.alive and self.nr >= self._retire_at and now >= self._ask_at:
            self._ask_at = now + _ASK_SECONDS
            os.kill(self.ppid, signal.SIGTTIN)
            os.kill(self.ppid, signal.SIGTTOU)
