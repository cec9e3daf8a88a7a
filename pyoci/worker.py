"""The worker: gunicorn's threaded one, in which slow clients wait outside and a thread gets whole requests.

gunicorn 27 gives a connection to a thread with its first byte, and the thread reads the request's head
for as long as the client likes. Here the worker's own loop gathers heads, and what a client can hold is
a place on the list of connections, or a thread while its body or its answer makes progress.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from pyoci.client_socket import HEAD_END, HEAD_LIMIT, AsText, ClientSocket
from pyoci.heap import give_back

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_HEAD_SECONDS = 10.0  # from a head's first byte to its last
_QUEUE_SECONDS = 10.0  # that a whole request waits for a thread; pip gives up after 15
_LINGER_SECONDS = 2.0  # that a closed connection is still read, so that the client gets all of its answer
_FINISH_SECONDS = 3600  # that a worker which stops gives its streams; at SIGTERM the arbiter gives fewer
_ASK_SECONDS = 60.0  # between two requests to be replaced
_GIVE_BACK_SECONDS = 30.0  # between two times that free memory is given back; everybody waits meanwhile,
_GIVE_BACK_SHARE = 0.001  # for such a part of the time at most
_AT_ONCE = 100  # connections accepted in one go

_BARE_LF = re.compile(rb"(?<!\r)\n")
# Answered though all threads are taken: whoever asks would restart the server, or send nobody here.
_PROBES = (b"GET /health ", b"GET /ready ")
_QUOTED = ("hdr", "req", "method", "line", "expect", "data", "term", "version", "reason", "info")
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Worker(ThreadWorker):  # type: ignore[misc]
    """Gathers heads, queues whole requests for the threads, lingers and retires, all in its one loop.

    Over TLS of its own (gunicorn's `certfile`) heads are gunicorn's business as before.
    """

    wsgi: WSGIApplication
    alive: bool
    max_requests: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # When each connection's time is over.
        self._heads: dict[TConn, float] = {}
        self._queue: dict[TConn, float] = {}
        self._lingering: dict[TConn, float] = {}
        self._busy = 0
        self._look_at = self._accept_at = self._ask_at = self._give_back_at = 0.0
        # gunicorn would stop accepting at once, and start another worker only when this one is gone.
        self._retire_at, self.max_requests = self.max_requests, sys.maxsize

    def init_process(self) -> None:
        self.cfg.set("graceful_timeout", _FINISH_SECONDS)  # in this process alone
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=self.cfg.threads + 1)  # one more for the probe

    def load_wsgi(self) -> None:
        """Close the connection where the application says so. gunicorn drops that header, keeps a connection
        whose body was cut, and would take the rest of the body for a request. And tell the application, by
        `server.stopping` in the environ, when it serves its last requests.
        """
        super().load_wsgi()
        application = self.wsgi

        def heeded(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
            def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
                if ("Connection", "close") in headers:
                    start_response.__self__.force_close()
                return start_response(status, headers, *exc_info)

            environ["server.stopping"] = not self.alive
            return application(environ, start)

        self.wsgi = heeded

    # What the loop calls.

    def set_accept_enabled(self, enabled: bool) -> None:
        """Leave new connections to other workers while all threads here are taken. A worker that stops takes
        those that wait, and refuses others at once: gunicorn lets them wait for its end, and resets them.
        """
        room = self._busy < self.cfg.threads and time.monotonic() >= self._accept_at
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
            if exc.errno in _FULL:  # gunicorn's worker would die of it
                self._accept_at = time.monotonic() + 1
                self.set_accept_enabled(False)
            return False
        self.nr_conns += 1
        conn = TConn(self.cfg, sock, client, listener.getsockname())
        conn.data_ready = True  # no thread has to wait for it
        self._heads[conn] = time.monotonic() + max(self.cfg.keepalive, _HEAD_SECONDS)
        self._watch(conn, self._on_head)
        return True

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """A kept connection has something to say again."""
        if self.cfg.is_ssl:
            super().on_client_socket_readable(conn, client)
            return
        self.keepalived_conns.remove(conn)
        self._on_head(conn)
        if conn in self._heads:  # as a rule the head has come whole
            self.poller.modify(conn.sock, EVENT_READ, partial(self._on_head, conn))

    def enqueue_req(self, conn: TConn) -> None:
        """Give a whole request to a thread, or let it wait for one."""
        may_wait = not self.cfg.is_ssl
        urgent = may_wait and conn.sock.gathered.startswith(_PROBES)
        if may_wait and self._busy >= self.cfg.threads + urgent:
            self._queue[conn] = time.monotonic() + _QUEUE_SECONDS
            return
        self._busy += 1
        super().enqueue_req(conn)
        if self._busy >= self.cfg.threads:
            self.set_accept_enabled(False)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep the connection or close it, and give the thread to the next."""
        self._busy -= 1
        kept = not fs.cancelled() and fs.exception() is None and fs.result()
        if self.cfg.is_ssl:
            super().finish_request(conn, fs)
        elif not kept:
            self._linger(conn)
        elif _begun(conn):
            # The next request, or its beginning, came along with this one's.
            conn.sock.setblocking(False)
            self._heads[conn] = time.monotonic() + _HEAD_SECONDS
            self._watch(conn, self._on_head)
            self._sort(conn)
        else:
            super().finish_request(conn, fs)
        if self._queue and self._busy < self.cfg.threads:
            waiting = next(iter(self._queue))
            del self._queue[waiting]
            self.enqueue_req(waiting)

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
        """Never long: gunicorn 25 would let its last requests finish without a sign of life."""
        if not self.alive:
            self.notify()
        super().wait_for_and_dispatch_events(min(timeout, 1.0))

    def murder_keepalived(self, *args: Any, **kwargs: Any) -> None:
        """What gunicorn does once in every turn of the loop; and once in a second, look around here."""
        super().murder_keepalived(*args, **kwargs)
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + 1
            self._end_late(now)
            self._retire(now)
            if self.alive and self._busy >= self.cfg.threads and now >= self._accept_at:
                self._accept_leftovers()
        if now >= self._give_back_at:
            self._give_back_at = now + max(give_back() / _GIVE_BACK_SHARE, _GIVE_BACK_SECONDS)

    # Heads.

    def _on_head(self, conn: TConn, _sock: Any = None) -> None:
        if not _begun(conn):
            self._heads[conn] = time.monotonic() + _HEAD_SECONDS
        try:
            taken = conn.sock.gather()
        except BlockingIOError:
            return
        except OSError:
            taken = 0
        if taken:
            self._sort(conn)
        else:
            self._drop(conn, self._heads)

    def _sort(self, conn: TConn) -> None:
        """A whole head goes to a thread, and one that will never be right is answered."""
        head = _begun(conn)
        if head.find(HEAD_END, 0, HEAD_LIMIT) >= 0:
            self._unwatch(conn, self._heads)
            self.enqueue_req(conn)
        elif len(head) >= HEAD_LIMIT:
            self._refuse(conn, self._heads, "431 Request Header Fields Too Large")
        elif _BARE_LF.search(head):
            self._refuse(conn, self._heads, "400 Bad Request")

    # Ends.

    def _end_late(self, now: float) -> None:
        """Turn away whoever's time is over; what hasn't begun by then is soon over in a worker that stops."""
        for conn, deadline in list(self._heads.items()):
            if not self.alive:
                self._heads[conn] = min(deadline, now + _LINGER_SECONDS)
            if deadline <= now and _begun(conn):
                self._refuse(conn, self._heads, "408 Request Timeout")
            elif deadline <= now:
                self._drop(conn, self._heads)
        for conn, deadline in list(self._queue.items()):
            if deadline <= now:
                self._refuse(conn, self._queue, "503 Service Unavailable", "Retry-After: 5\r\n")
        for conn, deadline in list(self._lingering.items()):
            if deadline <= now:
                self._drop(conn, self._lingering)

    def _refuse(self, conn: TConn, place: dict[TConn, float], status: str, headers: str = "") -> None:
        """Answer in a thread's stead, as far as the socket takes it at once."""
        self._unwatch(conn, place)
        text = f"{status[4:]}\n"
        head = f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n{headers}"
        with suppress(OSError):
            conn.sock.send(f"HTTP/1.1 {status}\r\n{head}\r\n{text}".encode())
        self._linger(conn)

    def _linger(self, conn: TConn) -> None:
        """Say that this is all, and close when the client has heard it. gunicorn 27 waits for that in its
        loop, and accepts nobody meanwhile.
        """
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn, self._lingering)
            return
        self._lingering[conn] = time.monotonic() + _LINGER_SECONDS
        self._watch(conn, self._on_linger)

    def _on_linger(self, conn: TConn, _sock: Any = None) -> None:
        try:
            if conn.sock.discard():
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(conn, self._lingering)

    def _drop(self, conn: TConn, place: dict[TConn, float]) -> None:
        self._unwatch(conn, place)
        self.nr_conns -= 1
        conn.close()

    def _watch(self, conn: TConn, callback: Callable[..., None]) -> None:
        self.poller.register(conn.sock, EVENT_READ, partial(callback, conn))

    def _unwatch(self, conn: TConn, place: dict[TConn, float]) -> None:
        if place.pop(conn, None) is not None:
            with suppress(KeyError, ValueError):  # who waits for a thread is not watched
                self.poller.unregister(conn.sock)

    # Full, and old.

    def _accept_leftovers(self) -> None:
        """What no other worker took within a second finds all of them full. It waits here, or is told."""
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


def _begun(conn: TConn) -> bytes | bytearray:
    """What has come of the next request."""
    parsed: bytes = b"" if conn.parser is None else conn.parser.unreader.buf.getvalue()
    gathered: bytearray = conn.sock.gathered
    return parsed + gathered if parsed else gathered
