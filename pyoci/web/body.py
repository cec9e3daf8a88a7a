"""The request's body: read within limits of time and size, and to its end before any answer starts.

Clients read the answer to an upload only after they have sent the whole body. Over TLS, twine, poetry and
flit never received an answer that was sent before the body was read, and always received one that was sent
after it. Every answer therefore waits until the rest of the body has been read and discarded.
"""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import get_content_length

from pyoci.errors import NO_MEMORY, BodyTimeout, Exhausted, InvalidRequest, PyOCIError, TooLarge

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SMALL_BODY = 64 * 1024  # bytes; the limit of bodies that are not uploads
QUERIES_BODY = 1024 * 1024  # bytes; the limit of questions about vulnerabilities
PIECE = 768 * 1024  # bytes; smaller pieces cost processor time, larger ones memory (up to 20 MB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The time limits of a body, in seconds, and how much of an unwanted body is read, in bytes."""

    progress: float = 30.0  # without a single byte
    start: float = 60.0  # in total, in addition to the time that `slowest` allows
    slowest: int = 8 * 1024  # bytes a second, on average; a slower client would occupy a thread for too long
    chunked: float = 3600.0  # in total, for a body of unknown length
    refusal: float = 60.0  # for reading and discarding the rest
    cap: int = 1024**3  # a longer unwanted body is not read; the connection is closed instead

    def in_all(self, length: int | None) -> float:
        """The time limit in seconds of a body of `length` bytes."""
        return self.chunked if length is None else self.start + length / self.slowest


class RequestBody(io.RawIOBase):
    """A request's body, as `wsgi.input`. Reading ends at the body's end, and raises an error if the body is
    cut off.

    Reading raises BodyTimeout, InvalidRequest and Exhausted. It never raises OSError, which callers would
    take for an error of the disk or of the registry's connection. `length` is in bytes, None for a chunked
    body. `limit_passed` is set if the server has found the body to exceed the limit of this address: reading
    then raises TooLarge.
    """

    def __init__(self, environ: WSGIEnvironment, patience: Patience) -> None:
        super().__init__()
        self._stream = environ["wsgi.input"]
        self._patience = patience
        self._has_deadline = not environ.get("server.ends_slow_clients")
        self.limit_passed: int | None = environ.get("server.body_limit")
        self.length = _length(environ)
        self.taken = 0
        self._ended = self.length == 0
        self._failure: PyOCIError | None = None
        self._deadline = _ReadDeadline(
            environ.get("gunicorn.socket") or environ.get("werkzeug.socket"), patience.progress
        )

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, b"" only at the end. Raises BodyTimeout, InvalidRequest."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        if self._failure is not None:
            raise self._failure.bare()
        if self._ended or not size:
            return b""
        if self.limit_passed is not None:
            raise TooLarge(f"the body has more than {self.limit_passed} bytes, the limit of this address")
        data = self._receive(size)
        self.taken += len(data)
        if self.taken == self.length:
            self._end()
        return data

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> bool:
        """Read and discard the rest. Returns False if that took too long, exceeded the limit, or failed."""
        try:
            return self._ended or (self.limit_passed is None and self._drain())
        except PyOCIError:
            return False
        finally:
            self.release()

    def release(self) -> None:
        """Stop the timer, and restore the connection's timeout."""
        self._deadline.stop()

    def _drain(self) -> bool:
        if (self.length or 0) - self.taken > self._patience.cap:
            return False
        self._deadline.start(self._patience.refusal if self._has_deadline else None)
        limit = self.taken + self._patience.cap
        while self.read(PIECE):
            if self.taken > limit:
                return False
        return True

    def _receive(self, size: int) -> bytes:
        if not self._deadline.running:
            self._deadline.start(self._patience.in_all(self.length) if self._has_deadline else None)
        wanted = size if self.length is None else min(size, self.length - self.taken)
        try:
            data: bytes = self._stream.read(wanted)
        except TimeoutError:
            raise self._fail(_timeout(self.taken)) from None
        except MemoryError:
            # The server has lost bytes of the body, so reading can't continue. This is not the client's
            # mistake.
            raise self._fail(Exhausted(NO_MEMORY)) from None
        except Exception as exc:  # a reset, or the server's exceptions for a bad chunk
            late = self._deadline.expired
            raise self._fail(_timeout(self.taken) if late else _cut(self.taken, self.length)) from exc
        if not data:
            if self.length is not None and self._deadline.expired:
                raise self._fail(_timeout(self.taken))
            if self.length is not None:
                raise self._fail(_cut(self.taken, self.length))
            self._end()
        return data

    def _end(self) -> None:
        self._ended = True
        self.release()

    def _fail(self, failure: PyOCIError) -> PyOCIError:
        self._failure = failure
        self.release()
        return failure.bare()


class _ReadDeadline:
    """Time limits of reading from one connection: its timeout limits each read, and a timer limits all of
    them together.

    A client that sends a byte now and then never reaches the socket's timeout, while the server waits for a
    whole piece. When the time is up, the timer therefore shuts down the reading side: the blocked read
    returns, and an answer can still be sent.
    """

    def __init__(self, connection: socket.socket | None, progress: float) -> None:
        self._connection = connection
        self._progress = progress
        self._before: float | None = None
        self._timer: threading.Timer | None = None
        self._expired = False
        self.running = False

    @property
    def expired(self) -> bool:
        """Whether the reading side was shut down, by this class or by the server."""
        return self._expired or bool(getattr(self._connection, "was_cut", False))

    def start(self, seconds: float | None) -> None:
        """Start or restart the timer with `seconds`; None if the server itself disconnects slow clients."""
        self.stop()
        if self._connection is None:
            return
        self._before = self._connection.gettimeout()
        self._connection.settimeout(self._progress)
        self.running = True
        if seconds is None:
            return
        self._timer = threading.Timer(seconds, self._expire, [self._connection])
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:
            self._timer = None
            raise Exhausted(NO_MEMORY) from None

    def stop(self) -> None:
        if not self.running or self._connection is None:
            return
        self.running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with suppress(OSError):  # the server may have closed it already
            self._connection.settimeout(self._before)

    def _expire(self, connection: socket.socket) -> None:
        self._expired = True
        with suppress(OSError):  # the client may have disconnected
            # Not SSLSocket.shutdown, which would continue without encryption.
            socket.socket.shutdown(connection, socket.SHUT_RD)


def read_json(body: RequestBody, limit: int, expected: str) -> object:
    """The value of a body of JSON. Raises InvalidRequest, with what was `expected`, and TooLarge for more
    than `limit` bytes.
    """
    content = bytearray()
    while piece := body.read(min(limit + 1, PIECE)):
        content += piece
        if len(content) > limit:
            raise TooLarge(f"the body has more than {limit} bytes, which is the limit here")
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidRequest(f"the body can't be parsed; {expected}") from None


class ReadToTheEnd:
    """WSGI: gives the application a RequestBody, and lets no answer start before it was read."""

    def __init__(self, application: WSGIApplication, patience: Patience) -> None:
        self._application = application
        self._patience = patience

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = RequestBody(environ, self._patience)
        environ["wsgi.input"] = body
        environ["wsgi.input_terminated"] = True

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if not body.finish():
                headers = [*headers, ("Connection", "close")]
            return start_response(status, headers, *exc_info)

        try:
            return self._application(environ, start)
        finally:
            body.release()


def _length(environ: WSGIEnvironment) -> int | None:
    length = get_content_length(environ)
    if length is not None:
        return length
    # Only a server that says so ends a body of unknown length; elsewhere there is none.
    chunked = environ.get("HTTP_TRANSFER_ENCODING") and environ.get("wsgi.input_terminated")
    return None if chunked else 0


def _timeout(taken: int) -> BodyTimeout:
    return BodyTimeout(f"the request's body took too long; {taken} bytes of it arrived")


def _cut(taken: int, length: int | None) -> InvalidRequest:
    expected = "a whole chunked body" if length is None else f"{length}"
    return InvalidRequest(f"the request's body ended too soon, after {taken} bytes; expected {expected}")
