"""One log line for each request, written when its last byte is out or its connection broken."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pyoci.oci.credentials import fingerprint
from pyoci.telemetry.logs import Log

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH_LIMIT = 500  # characters


class RequestLog:
    """WSGI middleware. The path is logged without its query, the caller as a short keyed hash: equal for the
    requests of one caller while this process lives, and good for nothing else.
    """

    def __init__(
        self, application: WSGIApplication, log: Log, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._application = application
        self._log = log
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = self._clock()
        seen: dict[str, Any] = {"status": 500, "bytes": 0}

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            seen["status"] = int(status[:3])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        try:
            body = self._application(environ, start)
        except BaseException:
            self._write(environ, seen, started, complete=False)
            raise
        return self._watched(environ, seen, started, body)

    def _watched(
        self, environ: WSGIEnvironment, seen: dict[str, Any], started: float, body: Iterable[bytes]
    ) -> Iterator[bytes]:
        complete = False
        try:
            for piece in body:
                seen["bytes"] += len(piece)
                yield piece
            complete = True
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
            self._write(environ, seen, started, complete=complete)

    def _write(
        self, environ: WSGIEnvironment, seen: dict[str, Any], started: float, *, complete: bool
    ) -> None:
        caller, registry = environ.get("pyoci.caller"), environ.get("pyoci.registry")
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self._log.tell(
            "request",
            room="web",
            level="info",
            method=str(environ.get("REQUEST_METHOD", ""))[:20],
            path=path.encode("latin-1", "replace").decode("utf-8", "replace")[:_PATH_LIMIT],
            status=seen["status"],
            duration=round(self._clock() - started, 4),
            bytes=seen["bytes"],
            caller=None if caller is None else fingerprint(caller, self._key),
            registry=None if registry is None else str(registry),
            repository=environ.get("pyoci.path"),
            complete=None if complete else False,
        )
