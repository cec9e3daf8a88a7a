"""Traces: a span for each request that is served and for each call to a registry, by OpenTelemetry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.context import Context, attach, create_key, detach, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pyoci.telemetry.measures import host_and_port, known_method

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_NOBODY = Context()
_AGENT_LIMIT = 200  # characters
_RATE = 100.0  # requests a second in one process; recording one costs about as much as answering it
_BURST = 500.0
_W3C = TraceContextTextMapPropagator()
_UNRECORDED = create_key("pyoci-unrecorded")


@dataclass(slots=True)
class ServerSpan:
    """The span of a request that is being served by this thread."""

    span: Span
    token: Token[Context]


class RateLimit:
    """The number of requests a second that are recorded: `rate` on average, and up to `burst` at once after a
    pause.
    """

    def __init__(
        self, rate: float = _RATE, burst: float = _BURST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()
        self._guard = threading.Lock()

    def take(self) -> bool:
        """Whether one more request may be recorded."""
        with self._guard:
            now = self._clock()
            self._left = min(self._left + (now - self._at) * self._rate, self._burst)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Traces:
    """Creates spans with `tracer`. W3C's trace context is accepted from the caller and sent to registries.

    Requests above `limit` are not recorded; the caller's context is then sent to registries unchanged.
    Without a limit every request is recorded.
    """

    def __init__(self, tracer: Tracer, limit: RateLimit | None) -> None:
        self._tracer = tracer
        self._limit = limit

    def begin(self, environ: WSGIEnvironment) -> ServerSpan:
        """Open the span of a request. This thread's spans belong to it until `end`."""
        context = _caller(environ)
        if self._limit is not None and not self._limit.take():
            return ServerSpan(INVALID_SPAN, attach(set_value(_UNRECORDED, True, context)))
        method = known_method(str(environ.get("REQUEST_METHOD", "")))
        span = self._tracer.start_span(
            method,
            context=context,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.scheme": str(environ.get("wsgi.url_scheme", "")),
            },
        )
        return ServerSpan(span, attach(set_span_in_context(span, _NOBODY)))

    def end(self, begun: ServerSpan, environ: WSGIEnvironment, status: int, *, complete: bool) -> None:
        """Close the span, with the attributes that are known by now."""
        detach(begun.token)
        span = begun.span
        if not span.is_recording():
            return
        route, registry = environ.get("pyoci.route"), environ.get("pyoci.registry")
        found: dict[str, str | int | bool] = {"http.response.status_code": status}
        if route:
            found["http.route"] = route
            span.update_name(f"{known_method(environ['REQUEST_METHOD'])} {route}")
        if registry is not None:
            found["pyoci.registry"] = str(registry)
        if agent := environ.get("HTTP_USER_AGENT"):
            found["user_agent.original"] = agent[:_AGENT_LIMIT]
        if not complete:
            found["pyoci.complete"] = False
        if status >= 500:
            found["error.type"] = str(status)
            span.set_status(Status(StatusCode.ERROR))
        span.set_attributes(found)
        span.end()

    def is_unrecorded(self) -> bool:
        """Whether this thread's request is not recorded."""
        return get_value(_UNRECORDED) is not None

    @contextmanager
    def calling(self, operation: str, origin: str, facts: Mapping[str, object]) -> Iterator[None]:
        """The span of one outgoing request."""
        if self.is_unrecorded():
            yield
            return
        method = str(facts["method"])
        host, port = host_and_port(origin)
        known: dict[str, str | int] = {"http.request.method": method, "server.address": host}
        if port:
            known["server.port"] = int(port)
        if operation:
            known["pyoci.operation"] = operation
        name = f"{method} {operation}".rstrip()
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=known)
        token = attach(set_span_in_context(span))
        error: str | None = None
        try:
            yield
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            detach(token)
            _settle(span, facts.get("status"), error)

    def headers(self) -> Mapping[str, str]:
        """`traceparent`, and `tracestate` if the caller sent one."""
        found: dict[str, str] = {}
        _W3C.inject(found)
        return found


def _settle(span: Span, status: object, error: str | None) -> None:
    if isinstance(status, int):
        span.set_attribute("http.response.status_code", status)
        # Registries often answer 401 and 404 in normal operation, so these are not errors.
        if status >= 500:
            error = error or str(status)
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _caller(environ: WSGIEnvironment) -> Context:
    """The caller's trace context; empty if it is missing or invalid."""
    parent = environ.get("HTTP_TRACEPARENT")
    if parent is None:
        return _NOBODY
    state = environ.get("HTTP_TRACESTATE")
    carrier = {"traceparent": parent} if state is None else {"traceparent": parent, "tracestate": state}
    return _W3C.extract(carrier, context=_NOBODY)
