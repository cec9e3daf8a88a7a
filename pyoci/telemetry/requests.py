"""Each request's log line, metrics and span, written when the answer is sent or its connection broken."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Flask

from pyoci.telemetry.listening import TELEMETRY, Served, Telemetry
from pyoci.telemetry.logs import AUDIT, Log

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH_LIMIT = 500  # characters
_NAME_LIMIT = 255  # characters of a user's, project's or file's name
_HASHES = 1000  # of the files of a version that is yanked or deleted
_PRODUCT = re.compile(r"[A-Za-z0-9._+-]{1,60}(?:/[A-Za-z0-9._+-]{1,60})?")  # the first of a User-Agent


class RequestLog:
    """WSGI middleware. The path is logged without its query. The caller is logged as the short keyed hash
    that the web package computes: it is the same for all requests of one caller while this server runs.
    `telemetry` is also called for requests without a log line.
    """

    def __init__(
        self,
        application: WSGIApplication,
        log: Log,
        clock: Callable[[], float] = time.perf_counter,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._application = application
        self._log = log
        self._clock = clock
        self._telemetry = telemetry

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        record = _RequestRecord(environ, self._clock())
        if self._telemetry is not None:
            record.served = self._telemetry.begin(environ)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            record.status = int(status[:3])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        try:
            body = self._application(environ, start)
        except BaseException:
            self._write(record)
            raise
        return _WatchedBody(body, record, self._write)

    def _write(self, record: _RequestRecord) -> None:
        environ = record.environ
        registry = environ.get("pyoci.registry")
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        seconds = self._clock() - record.started
        self._log.write(
            "request",
            room="web",
            level=_level(record.status),
            method=str(environ.get("REQUEST_METHOD", ""))[:20],
            path=path.encode("latin-1", "replace").decode("utf-8", "replace")[:_PATH_LIMIT],
            status=record.status,
            duration=round(seconds, 4),
            bytes=record.bytes,
            caller=environ.get("pyoci.caller"),
            user=_cut(environ.get("pyoci.user")),
            registry=None if registry is None else str(registry),
            repository=environ.get("pyoci.path"),
            project=_cut(environ.get("pyoci.project")),
            file=_cut(environ.get("pyoci.file")),
            error=environ.get("pyoci.error"),
            origin=environ.get("pyoci.origin"),
            complete=None if record.complete else False,
        )
        audit = environ.get("pyoci.audit")
        if audit is not None:
            self._log.write("audit", room=AUDIT, level="info", **_audited(record, audit))
        if self._telemetry is not None and record.served is not None:
            self._telemetry.end(
                record.served,
                environ,
                status=record.status,
                seconds=seconds,
                sent=record.bytes,
                complete=record.complete,
            )


def _audited(record: _RequestRecord, audit: Mapping[str, Any]) -> dict[str, Any]:
    """The audit line of a request that was to change something. `audit` is what `web` or `embedded` knows."""
    environ = record.environ
    client = _PRODUCT.match(environ.get("HTTP_USER_AGENT", ""))
    registry, error = environ.get("pyoci.registry"), str(environ.get("pyoci.error", ""))
    done, refused = record.status < 400, error.partition(":")[0] or str(record.status)
    facts = {
        "action": audit["action"],
        "registry": None if registry is None else str(registry),
        "repository": _cut(audit.get("repository") or environ.get("pyoci.path")),
        "file": _cut(environ.get("pyoci.file")),
        "kind": audit.get("kind"),
        "tag": _cut(audit.get("tag")),
        "digest": _cut(audit.get("digest")),
        "sha256": list(audit.get("sha256") or ())[:_HASHES],
        "status": audit.get("status"),
        "reason": audit.get("reason"),
        "result": "done" if done else refused,
        "user": _cut(environ.get("pyoci.user")),
        "caller": environ.get("pyoci.caller"),
        "client": client and client[0],
    }
    return {name: fact for name, fact in facts.items() if fact}


def _level(status: int) -> str:
    """The level of a request's line: failures of this server or a registry are errors, limits warnings."""
    if status >= 500:
        return "error"
    return "warning" if status == 429 else "info"


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:_NAME_LIMIT]


def watch(app: Flask, log: Log, telemetry: Telemetry) -> None:
    """Watch all requests to `app`, as the outermost middleware; and serve /metrics if it is switched on."""
    app.extensions[TELEMETRY] = telemetry
    if telemetry.prometheus is not None:
        app.register_blueprint(telemetry.prometheus.blueprint())
    listener = telemetry if telemetry.is_on else None
    app.wsgi_app = RequestLog(app.wsgi_app, log, telemetry=listener)  # type: ignore[method-assign]


@dataclass(slots=True)
class _RequestRecord:
    """The data of a request that is known so far."""

    environ: WSGIEnvironment
    started: float
    status: int = 500
    bytes: int = 0
    complete: bool = False
    served: Served | None = None


class _WatchedBody:
    """A response's body while it is sent. The server closes it when all is sent, or when the client
    disconnects.
    """

    def __init__(
        self, body: Iterable[bytes], record: _RequestRecord, write: Callable[[_RequestRecord], None]
    ) -> None:
        self._body, self._record, self._write = body, record, write
        self._pieces = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._record.complete = True
            raise
        self._record.bytes += len(piece)
        return piece

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._write(self._record)
