"""The status of each kind of error: one table, one handler. No other module knows status codes of errors."""

from __future__ import annotations

import errno
import json
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from pyoci import errors
from pyoci.events import Events
from pyoci.web import addresses, answers, negotiation, people
from pyoci.web.context import site

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CLIENT_LEFT = 499  # nginx's status of a request whose client has left; for the log, since nobody gets it
STATUS: dict[type[errors.PyOCIError], int] = {
    errors.InvalidRequest: 400,
    errors.NotAcceptable: 406,
    errors.UnsupportedCoding: 415,
    errors.RangeNotSatisfiable: 416,
    errors.BodyTimeout: 408,
    errors.Unauthorized: 401,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.NotSupported: 405,
    errors.Withdrawn: 410,
    errors.AlreadyExists: 409,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
    errors.Exhausted: 503,
    errors.Busy: 503,
    errors.RequestEnded: 503,
    errors.ClientLeft: CLIENT_LEFT,
    errors.BulkheadFull: 503,
    errors.ProtocolError: 502,
    errors.AnswerTooLong: 502,
    errors.Unreachable: 504,
    errors.Unavailable: 503,
}
MESSAGE_LIMIT = 500  # characters; the message is also sent in the status line
_BROKEN = "PyOCI failed to handle this request; its log has the details"
_DISK_FULL = "PyOCI has no disk space left for this; nothing was stored"
_AGAIN = 5  # seconds, for Retry-After: other requests have probably freed their memory by then
_SOON = 1  # second, for Retry-After: pip retries five times, which outlasts most restarts
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_WEEK = "public, max-age=604800"


def register_errors(app: Flask) -> None:
    """Answer every error of `app` with one sentence."""
    app.register_error_handler(errors.PyOCIError, _known)
    app.register_error_handler(HTTPException, _routing)
    app.register_error_handler(Exception, _unknown)


def status_of(kind: type[errors.PyOCIError]) -> int:
    """The status of a kind of error, or of its nearest base class that has one."""
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


def one_line(message: str) -> str:
    """The message in a form that a status line allows: one line of printable Latin-1, of limited length."""
    latin = message.encode("latin-1", "replace").decode("latin-1")
    line = " ".join("".join(c if c.isprintable() else " " for c in latin).split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 3] + "..."


def _known(error: errors.PyOCIError) -> Response:
    answer = _answer(status_of(type(error)), error.message, error.kind)
    answer.headers["X-PyOCI"] = type(error).__name__  # by which `pyoci.library` knows a package index
    match error:
        case errors.Unauthorized():
            answer.headers["WWW-Authenticate"] = 'Basic realm="pyoci"'
        case errors.RateLimited(retry_after=int(seconds)):
            answer.headers["Retry-After"] = str(max(seconds, 0))  # never a date: it crashes poetry
        case errors.Exhausted() | errors.RequestEnded():
            _log_exhausted(error)
            answer.headers["Retry-After"] = str(_AGAIN)
        case errors.Unavailable():
            answer.headers["Retry-After"] = str(_SOON)
        case errors.RangeNotSatisfiable(size=size):
            answer.headers["Content-Range"] = f"bytes */{size}"
        case errors.UnsupportedCoding():
            answer.headers["Accept-Encoding"] = "identity"  # RFC 9110, section 12.5.3
        case errors.AlreadyExists() if negotiation.prefers_json(request.headers.get("Accept", "")):
            _as_json(answer, one_line(error.message))
        case addresses.NoRegistry(probed=True) if not people.wanted():
            answer.headers["Cache-Control"] = _WEEK
        case errors.NotSupported():
            answer.headers["Allow"] = "GET, HEAD, POST"
    return answer


def _log_exhausted(error: errors.PyOCIError) -> None:
    """Whoever raises Busy, or ends a request, has logged the reason."""
    if isinstance(error, errors.Exhausted) and not isinstance(error, errors.Busy):
        site().events.error("web", "no memory or no thread left")


def _routing(error: HTTPException) -> Response:
    """The answer to an error of Flask's routing, with a more helpful message where PyOCI has one."""
    status = error.code or 500
    message = error.description or error.name
    if status == 404:
        message = f"there is nothing at this address; expected {addresses.EXPECTED}"
    elif status == 405:
        message = f"{request.method[:20]} is not allowed at this address"
    answer = _answer(status, message, type(error).__name__)
    for name, value in error.get_headers():
        if name.lower() in {"allow", "retry-after"}:
            answer.headers[name] = value
    return answer


def _unknown(error: Exception) -> Response:
    """Handle a defect, or an error of this machine's disk. The client gets one sentence.

    The log gets the lines of the traceback, but not the message, which may contain a URL with a token.
    """
    if errors.is_exhausted(error):
        return _without_memory(error)
    number = error.errno if isinstance(error, OSError) else None
    frames = traceback.extract_tb(error.__traceback__)
    trace = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    name = errno.errorcode.get(number or 0)
    site().events.error("web", "request failed", error=type(error).__name__, errno=name, trace=trace)
    status, message = (507, _DISK_FULL) if number in _FULL else (500, _BROKEN)
    return _answer(status, message, type(error).__name__)


def _without_memory(error: Exception) -> Response:
    traceback.clear_frames(error.__traceback__)  # frees the memory that their variables refer to
    return _known(errors.Exhausted(errors.NO_MEMORY))


class WithoutMemory:
    """WSGI middleware: answers 503 if the application runs out of memory outside its error handlers. Without
    it, the server would log a traceback and answer 500.
    """

    def __init__(self, application: WSGIApplication, events: Events) -> None:
        self._application = application
        self._events = events

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._application(environ, start_response)
        except Exception as exc:
            if not errors.is_exhausted(exc):
                raise
            name = type(exc).__name__
        self._events.error("web", "no memory or no thread left", error=name)
        environ["pyoci.error"] = f"{errors.Exhausted.__name__}: {errors.NO_MEMORY}"
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(errors.NO_MEMORY))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Retry-After", str(_AGAIN)),
            ("Connection", "close"),  # the body may not have been read
        ]
        failure = MemoryError()
        start_response(f"503 {errors.NO_MEMORY}", headers, (MemoryError, failure, None))  # type: ignore[arg-type]
        return [errors.NO_MEMORY.encode()]


def _answer(status: int, message: str, kind: str) -> Response:
    """The message as the body and as the reason phrase: twine prints only the reason. The log line of the
    request has it after the kind of the error.
    """
    line = one_line(message)
    request.environ["pyoci.error"] = f"{kind}: {line}"
    if kind == errors.Exhausted.__name__ or not people.wanted():  # a page takes memory
        return answers.text(line, f"{status} {line}")
    answer = people.refusal(status, message)
    answer.status = f"{status} {line}"
    return answer


def _as_json(answer: Response, message: str) -> None:
    """Turn the answer into the JSON that uv reads when it publishes. Not problem+json, which uv doesn't
    accept.
    """
    answer.content_type = "application/json"
    answer.data = json.dumps({"code": answer.status, "message": message, "title": "Conflict"})
