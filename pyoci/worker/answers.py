"""Answers: a thread sends an answer piece by piece. If the reader is slow, the thread returns the connection
to the loop, which sends what is waiting; after that a thread continues.
"""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]

from pyoci.worker.pace import SLOW_READER
from pyoci.worker.sockets import STALL_SECONDS, ClientSocket

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_TURN_SECONDS = 0.1  # after which an answer gives its thread back between two pieces, if others wait for one
_FILE_PIECE = 1024 * 1024  # bytes that the system is asked to send at once


def with_server_facts(application: WSGIApplication, is_stopping: Callable[[], bool]) -> WSGIApplication:
    """The application, with facts about the server in its environ. If it answers `Connection: close`, the
    connection is closed. gunicorn alone would drop that header and keep the connection, even if the body
    wasn't read to its end, and would then read the rest of the body as a request.

    `server.stopping`: whether the worker serves its last requests. `server.body_limit`: the limit in bytes if
    the body is over it, and so must not be read; else None. `server.ends_slow_clients`: whether the server
    ends slow clients, so that the application needs no time limit for a body. `server.thread`: a
    ServerThread.
    """

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sock = environ["gunicorn.socket"]

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if ("Connection", "close") in headers:
                start_response.__self__.force_close()  # type: ignore[attr-defined]
                if isinstance(sock, ClientSocket):
                    sock.unread = True
            return start_response(status, headers, *exc_info)

        environ["server.stopping"] = is_stopping()
        if isinstance(sock, ClientSocket):
            environ["server.body_limit"] = sock.limit_passed
            environ["server.ends_slow_clients"] = True
        return application(environ, start)

    return call


@dataclass(slots=True, eq=False)
class ServerThread:
    """A request's thread, as server and application describe it to each other.

    `since` is when the request got the thread, None while it has none; `client_has_left` is set when that is
    known. The application may note a `scope` of its own, and why it has ended the request (`ended_for`).
    """

    since: float | None = None
    client_has_left: bool = False
    scope: Any = None
    ended_for: str | None = None


class Answer:
    """The answer to one request, made by one thread at a time. All threads use the same context variables.

    Call `begin`, and then `resume` until one of them returns True or raises: then the answer is finished.
    Each call may be made by a different thread. An answer that is given up before that must be ended by
    `end`. `patience` returns for how many seconds a thread may wait for the reader now.
    """

    def __init__(self, worker: Any, request: Any, conn: Any, patience: Callable[[], float]) -> None:
        self._worker, self._request, self._conn = worker, request, conn
        self._patience = patience
        self._sock: ClientSocket = conn.sock
        self._context = contextvars.copy_context()
        self._started = time.monotonic()
        self.thread = ServerThread()
        self.takes_interim = request.version >= (1, 1)
        self._response: Any = None
        self._environ: dict[str, Any] = {}
        self._made: Any = None  # what the application returned
        self._pieces: Iterator[bytes | None] = iter(())
        self._all_made = self._ended = False

    def begin(self) -> bool:
        """Call the application, and send what it returns."""
        return self._run(self._begin)

    def resume(self) -> bool:
        """Continue, after the reader has taken everything that was waiting."""
        return self._run(self._resume)

    def should_close(self) -> bool:
        """Whether the connection has to be closed after this answer."""
        return bool(self._response.should_close())

    def end(self) -> None:
        """Write the access log, and let the application finish. Further calls do nothing."""
        if not self._ended:
            self._ended = True
            self._context.run(self._end)

    def _run(self, step: Callable[[], bool]) -> bool:
        finished = True
        self.thread.since = time.monotonic()
        try:
            finished = self._context.run(step)
        except OSError:
            raise
        except (Exception, SystemExit):
            if self._response is None or not self._response.headers_sent:
                raise
            self._worker.log.exception("Error handling request")
            raise StopIteration from None  # gunicorn then closes the connection after half an answer
        finally:
            if finished:
                self.end()
            self.thread.since = None
        return finished

    def _begin(self) -> bool:
        worker, conn, request = self._worker, self._conn, self._request
        worker.cfg.pre_request(worker, request)
        if self._sock.continued or self._sock.limit_passed is not None:
            request._expected_100_continue = False  # it was already sent, or the body won't be read
        response, self._environ = wsgi.create(request, self._sock, conn.client, conn.server, worker.cfg)
        self._response = response
        self._environ["wsgi.multithread"] = True
        self._environ["server.thread"] = self.thread
        worker.nr += 1
        full = len(worker.keepalived_conns) >= worker.max_keepalived
        if not worker.alive or not worker.cfg.keepalive or full:
            response.force_close()
        self._made = worker.wsgi(self._environ, response.start_response)
        self._pieces = self._file() if self._is_file() else iter(self._made)
        return self._resume()

    def _resume(self) -> bool:
        if not self._sock.flush(self._patience()):
            return False
        for piece in self._pieces:
            if piece is not None:
                self._write(piece)
            elif not self._sock.is_writable(self._patience()):
                return False
            if self._sock.outgoing and not self._sock.flush(self._patience()):
                return False
            if self._turn_is_over():
                return False
        if not self._all_made:
            self._all_made = True
            self._response.close()
        return self._sock.flush(self._patience())

    def _turn_is_over(self) -> bool:
        """Whether the answer has had its thread for long enough, while others wait for one. An answer may
        have any number of pieces.
        """
        since = self.thread.since or 0.0
        return not self._patience() and time.monotonic() - since >= _TURN_SECONDS

    def _write(self, piece: bytes) -> None:
        self._sock.is_corked = True  # the head goes with the first piece
        try:
            self._response.write(piece)
        finally:
            self._sock.is_corked = False

    def _end(self) -> None:
        try:
            if self._made is not None:
                took = timedelta(seconds=time.monotonic() - self._started)
                self._worker.log.access(self._response, self._request, self._environ, took)
                close = getattr(self._made, "close", None)
                if close is not None:
                    close()
        finally:
            self._worker.cfg.post_request(self._worker, self._request, self._environ, self._response)

    def _is_file(self) -> bool:
        response, made = self._response, self._made
        return (
            isinstance(made, wsgi.FileWrapper)
            and response.can_sendfile()
            and response.response_length is not None
            and not response._omits_body
            and hasattr(made.filelike, "fileno")
        )

    def _file(self) -> Iterator[None]:
        """Let the system send the file. Yields None when the reader has to be waited for."""
        response, file = self._response, self._made.filelike.fileno()
        offset, left = os.lseek(file, 0, os.SEEK_CUR), response.response_length
        response.send_headers()
        while left:
            if self._sock.outgoing:  # the head
                yield None
                continue
            sent = self._sock.send_file(file, offset, min(left, _FILE_PIECE))
            if not sent and offset >= os.fstat(file).st_size:
                raise OSError("the file has become shorter while it was sent")
            offset, left = offset + sent, left - sent
            response.sent += sent
            if not sent:
                yield None


class Readers:
    """Slow readers of answers. The loop sends them what is waiting, and then calls `resume` for more.

    `watch` and `unwatch` tell the loop whether to wait until a connection is writable. `give_up` ends a
    connection: with a reason, or with None if the client has left.
    """

    def __init__(
        self,
        *,
        watch: Callable[[Any], None],
        unwatch: Callable[[Any], None],
        resume: Callable[[Any], None],
        give_up: Callable[[Any, str | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch, self._unwatch = watch, unwatch
        self._resume, self._give_up = resume, give_up
        self._clock = clock
        self._stall_at: dict[Any, float] = {}

    def begin(self, conn: Any) -> None:
        """Wait for the reader of an answer."""
        conn.sock.pace.wait()
        self._stall_at[conn] = self._clock() + STALL_SECONDS
        self._watch(conn)

    def on_writable(self, conn: Any, _sock: Any = None) -> None:
        """Send what the client takes."""
        sock = conn.sock
        before = sock.sent
        try:
            done = sock.send_waiting()
        except OSError:
            self._end(conn, None)
            return
        sock.pace.moved(sock.sent - before)
        self._stall_at[conn] = self._clock() + STALL_SECONDS
        if done:
            self._forget(conn)
            self._resume(conn)
        else:
            sock.pace.wait()

    def tick(self) -> None:
        """Call it about once a second: it ends readers that have taken nothing for too long."""
        now = self._clock()
        for conn in [conn for conn, stall_at in self._stall_at.items() if stall_at <= now]:
            self.end(conn)

    def slowest(self) -> tuple[float, Any] | None:
        """The slowest reader, after its rate in bytes a second."""
        rates = ((conn.sock.pace.rate, id(conn), conn) for conn in self._stall_at)
        found = min(rates, default=None)
        return None if found is None else (found[0], found[2])

    def end(self, conn: Any) -> None:
        """End a reader as too slow."""
        self._end(conn, SLOW_READER)

    def _end(self, conn: Any, reason: str | None) -> None:
        self._forget(conn)
        self._give_up(conn, reason)

    def _forget(self, conn: Any) -> None:
        del self._stall_at[conn]
        self._unwatch(conn)
