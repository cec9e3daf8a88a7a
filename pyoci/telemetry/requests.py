"""One log line for each request, written when its last byte is out or its connection broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyoci.telemetry.logs import Log

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH_LIMIT = 500  # characters


class RequestLog:
    """WSGI middleware. The path is logged without its query, the caller as the short keyed hash that the web
    room leaves: equal for the requests of one caller while this server lives, and good for nothing else.
    """

    def __init__(
        self, application: WSGIApplication, log: Log, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._application = application
        self._log = log
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen = _Seen(environ, self._clock())

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            seen.status = int(status[:3])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        try:
            body = self._application(environ, start)
        except BaseException:
            self._write(seen)
            raise
        return _WatchedBody(body, seen, self._write)

    def _write(self, seen: _Seen) -> None:
        environ = seen.environ
        registry = environ.get("pyoci.registry")
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self._log.tell(
            "request",
            room="web",
            level="info",
            method=str(environ.get("REQUEST_METHOD", ""))[:20],
            path=path.encode("latin-1", "replace").decode("utf-8", "replace")[:_PATH_LIMIT],
            status=seen.status,
            duration=round(self._clock() - seen.started, 4),
            bytes=seen.bytes,
            caller=environ.get("pyoci.caller"),
            registry=None if registry is None else str(registry),
            repository=environ.get("pyoci.path"),
            complete=None if seen.complete else False,
        )


@dataclass(slots=True)
class _Seen:
    """What is known of a request so far."""

    environ: WSGIEnvironment
    started: float
    status: int = 500
    bytes: int = 0
    complete: bool = False


class _WatchedBody:
    """A response's body on its way out; the server closes it when all is sent, or the client is gone."""

    def __init__(self, body: Iterable[bytes], seen: _Seen, write: Callable[[_Seen], None]) -> None:
        self._body, self._seen, self._write = body, seen, write
        self._pieces = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._seen.complete = True
            raise
        self._seen.bytes += len(piece)
        return piece

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._write(self._seen)
