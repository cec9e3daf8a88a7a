"""The worker: gunicorn's threaded worker, changed so that its loop waits for clients instead of its threads.

gunicorn 27 gives a connection to a thread at its first byte, and a slow client occupies that thread until its
request is read and its answer is sent. Here the worker's loop collects heads and bodies, and sends what slow
readers have not taken yet. docs/design.rst shows which client waits where, and for how long.
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
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]

from pyoci.events import Events
from pyoci.heap import GiveBack
from pyoci.worker.accepting import Accepting
from pyoci.worker.answers import Answer, with_server_facts
from pyoci.worker.clients import SUSPENDED, Clients
from pyoci.worker.pace import Reports
from pyoci.worker.served import Served
from pyoci.worker.sockets import AsText
from pyoci.worker.spool import Allowance
from pyoci.worker.threads import Threads

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_READER_SECONDS = 0.1  # that a thread waits for a reader to take a piece, if no request waits for a thread
_FINISH_SECONDS = 3600  # for streams to end when a worker stops; at SIGTERM the arbiter allows less
_LOOK_SECONDS = 0.25  # between two looks at who has left, while threads are scarce
_ASK_SECONDS = 60.0  # between two requests to the arbiter to replace this worker
_LEFT_SECONDS = 0.1  # for which connections are left to other workers while all threads here are busy

# These are answered even if all threads are busy. If a probe gets no answer, an orchestrator restarts the
# server, or sends it no requests.
_PROBES = (b"GET /health ", b"GET /ready ")
_QUOTED = ("hdr", "req", "method", "line", "expect", "data", "term", "version", "reason", "info")
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}


class Worker(Accepting):
    """Accepts connections. `Clients` waits for them, `Threads` serves them. Replaced after some requests.

    If gunicorn itself does TLS (`certfile`), gunicorn's own code handles the connections, as without PyOCI.
    """

    wsgi: WSGIApplication
    max_requests: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._notify_at = self._tick_at = self._leftovers_at = self._look_at = self._ask_at = 0.0
        self._give_back = GiveBack()
        self._threads = Threads(
            int(self.cfg.threads),
            executor=lambda: self.tpool,
            serve=self.handle,
            resume=self._resume,
            done=lambda conn, future: self.method_queue.defer(self.finish_request, conn, future),
            refuse=self._refuse,
        )
        # gunicorn stops accepting at its limit. Here another client is ended first, if that is possible.
        self.worker_connections += 1
        # gunicorn would stop accepting at its limit, and start another worker only when this one has ended.
        self._retire_at, self.max_requests = self.max_requests, sys.maxsize
        self.serve_with(Events(), lambda _method, _path: sys.maxsize, sys.maxsize, Served())

    def serve_with(
        self, events: Events, body_limit: Callable[[str, str], int], spool: int, served: Served
    ) -> None:
        """Set what the application has configured: where ended clients are reported, the most bytes of a
        request's body (`body_limit` takes method and path), how many bytes of bodies may be on the disk, and
        how the application learns of the requests that have a thread or wait for one.
        """
        self._clients = Clients(self, self._threads, Reports(events), body_limit, Allowance(spool), served)

    def init_process(self) -> None:
        self.cfg.set("graceful_timeout", _FINISH_SECONDS)  # in this process alone
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=self.cfg.threads + 1)  # one more for the probe

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = with_server_facts(self.wsgi, lambda: not self.alive)

    # Called by the loop

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """An idle connection that was kept has become readable."""
        if self._has_tls:
            super().on_client_socket_readable(conn, client)
        else:
            self._clients.resume(conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Give a request to a thread, or queue it."""
        may_wait = not self._has_tls
        urgent = may_wait and conn.sock.gathered.startswith(_PROBES)
        self._threads.add_request(conn, may_wait=may_wait, extra=int(urgent))
        if not self._threads.have_one_free:
            self.set_accept_enabled(False)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep the connection, close it, or wait for its reader. The thread gets the next request."""
        self._threads.finished(conn)
        if self._has_tls:
            super().finish_request(conn, fs)
        else:
            self._clients.answered(conn, fs.exception() is None and fs.result())
        self._threads.serve_next()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer and log what can't be parsed or has failed, without credentials."""
        _hide_credentials(req, exc)
        # gunicorn's refusals are HTML without the security headers that PyOCI sends; plain text needs none.
        super().handle_error(req, AsText(client), addr, exc)

    def notify(self) -> None:
        """Tell the arbiter that the worker is alive. It is a system call, so it is made once a second."""
        now = time.monotonic()
        if now >= self._notify_at:
            self._notify_at = now + 1
            super().notify()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, for at most a second: there are periodic tasks."""
        if self.alive:
            self._balance.record()  # others must not leave connections to a worker that stops
        else:
            self.notify()
        longest = 1.0 if self._threads.have_one_free else _LEFT_SECONDS
        with suppress(MemoryError):  # the events are reported again
            super().wait_for_and_dispatch_events(min(timeout, longest, self._pause()))

    def murder_keepalived(self, *args: Any, **kwargs: Any) -> None:
        """gunicorn calls this in every turn of the loop. It also does the periodic tasks."""
        super().murder_keepalived(*args, **kwargs)
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + 1
            self._threads.tick()
            self._clients.tick()
            self._retire(now)
        if now >= self._look_at:
            self._look_at = now + (_LOOK_SECONDS if self._threads.are_scarce else 1)
            self._clients.look()
        if now >= max(self._leftovers_at, self._accept_at) and self.alive and not self._threads.have_one_free:
            self._leftovers_at = now + _LEFT_SECONDS
            self._accept_leftovers(self.sockets)
        self._give_back(now)

    def _refuse(self, conn: TConn) -> None:
        if self._has_tls:  # the handshake, which an answer needs, is made in a thread
            self._clients.close(conn)
        else:
            self._clients.refuse(conn)

    def _retire(self, now: float) -> None:
        """After `max_requests`, have the arbiter start another worker and stop its oldest one, which finishes
        its requests meanwhile. gunicorn by itself would start the new one only after that.
        """
        if self.alive and self.nr >= self._retire_at and now >= self._ask_at:
            self._ask_at = now + _ASK_SECONDS
            os.kill(self.ppid, signal.SIGTTIN)
            os.kill(self.ppid, signal.SIGTTOU)

    # Called by threads

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request, until the answer is finished or its reader has to be waited for."""
        if self._has_tls:
            return super().handle_request(req, conn)
        conn.answer = Answer(self, req, conn, self._patience)
        return _outcome(conn.answer, conn.answer.begin())

    def _resume(self, conn: TConn) -> Any:
        try:
            return self._keepalive_after(conn, _outcome(conn.answer, conn.answer.resume()))
        except StopIteration:
            return False
        except OSError as exc:
            if exc.errno not in _GONE:
                self.log.exception("Socket error processing request.")
        except Exception:
            self.log.exception("Error handling request")
        return False

    def _keepalive_after(self, conn: TConn, keepalive: Any) -> Any:
        return keepalive if keepalive is SUSPENDED else super()._keepalive_after(conn, keepalive)

    def _patience(self) -> float:
        return 0.0 if self._threads.are_awaited else _READER_SECONDS


def _hide_credentials(req: Any, exc: Exception) -> None:
    """Remove credentials from gunicorn's messages. It quotes what it can't parse, in its answer and in the
    log, and that may be an Authorization header. It also logs the query of a request that fails.
    """
    for name in _QUOTED:
        if isinstance(getattr(exc, name, None), str | bytes):
            setattr(exc, name, "...")
    if req is not None and isinstance(getattr(req, "uri", None), str):
        req.uri = req.uri.partition("?")[0]


def _outcome(answer: Answer, finished: bool) -> Any:
    return not answer.should_close() if finished else SUSPENDED
