"""Telemetry: metrics and traces in addition to the log. Their libraries are imported only if they are
switched on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyoci.events import Events
from pyoci.telemetry import measures
from pyoci.telemetry.logs import Log
from pyoci.telemetry.measures import COUNTED, Hosts, Measure, Recorder, known_method, known_status

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from pyoci.telemetry.otlp import Otlp
    from pyoci.telemetry.prometheus import Prometheus
    from pyoci.telemetry.traces import ServerSpan

LAST = 5.0  # seconds to send what is left when a process ends; anything later is lost
TELEMETRY = "pyoci.telemetry"  # the key of the Telemetry in app.extensions
_UNTRACED = nullcontext()


@dataclass(slots=True)
class Served:
    """A request that is being served."""

    span: ServerSpan | None
    labels: tuple[str, str]
    otlp: Otlp | None


class Telemetry:
    """Metrics and traces of one process, and of all those that are forked from it.

    `otlp` creates a process's SDK, at the first request of the process or when the server calls `start`.
    `threads` is the number of threads that serve requests. `kept` is any object that has to live as long as
    this one.
    """

    def __init__(
        self,
        otlp: Callable[[], Otlp] | None = None,
        prometheus: Prometheus | None = None,
        *,
        threads: int = 0,
        kept: object = None,
    ) -> None:
        self._kept = kept
        self._make_otlp = otlp
        self.prometheus = prometheus
        self._threads = threads
        self._guard = threading.Lock()
        self._process = 0
        self._otlp: Otlp | None = None
        self._recorders: tuple[Recorder, ...] = ()
        self._hosts = Hosts()

    @property
    def is_on(self) -> bool:
        """Whether metrics or traces are recorded at all."""
        return self._make_otlp is not None or self.prometheus is not None

    def events(self, log: Log) -> Events:
        """The events to hand to all packages."""
        if not self.is_on:
            return Events(log.write)
        log.listener = self.log
        return Events(log.write, count=self.count, calling=self.calling, headers=self.headers)

    def start(self) -> None:
        """Begin to record in this process. Further calls have no effect."""
        with self._guard:
            if self._process != os.getpid():
                self._otlp = self._make_otlp() if self._make_otlp is not None else None
                self._recorders = tuple(each for each in (self._otlp, self.prometheus) if each is not None)
                self._process = os.getpid()
                self._record(measures.THREADS, self._threads, ())

    def stop(self, seconds: float = LAST) -> None:
        """Send what is left before this process ends, for at most `seconds`."""
        with self._guard:
            otlp, self._otlp = self._otlp, None
            self._recorders = ()
        if otlp is not None and self._process == os.getpid():
            otlp.stop(seconds)

    def mark_process_dead(self, process: int) -> None:
        """Preserve the metrics of a process of this server that has ended."""
        if self.prometheus is not None:
            self.prometheus.mark_process_dead(process)

    # Requests

    def begin(self, environ: WSGIEnvironment) -> Served:
        """Record the start of a request."""
        if self._process != os.getpid():
            self.start()
        labels = (known_method(str(environ.get("REQUEST_METHOD", ""))), str(environ.get("wsgi.url_scheme")))
        self._record(measures.ACTIVE, 1, labels)
        otlp = self._otlp
        return Served(otlp.traces.begin(environ) if otlp is not None else None, labels, otlp)

    def end(
        self,
        served: Served,
        environ: WSGIEnvironment,
        *,
        status: int,
        seconds: float,
        sent: int,
        complete: bool,
    ) -> None:
        """Record the end of a request, whose answer is complete or was broken off."""
        if served.span is not None and served.otlp is not None:
            served.otlp.traces.end(served.span, environ, status, complete=complete)
        method, scheme = served.labels
        error = str(status) if status >= 500 else ""
        values = (method, str(environ.get("pyoci.route", "")), str(status), scheme, error)
        self._record(measures.ACTIVE, -1, served.labels)
        self._record(measures.REQUESTS, seconds, values)
        self._record(measures.SENT, sent, values)
        # The web package's own body counts what it has read.
        received = getattr(environ.get("wsgi.input"), "taken", 0)
        if received:
            self._record(measures.RECEIVED, received, values)

    # Events

    def log(self, event: str, room: str, level: str, facts: Mapping[str, object]) -> None:
        """Handle a line of the log."""
        otlp = self._otlp
        if otlp is not None:
            otlp.log(event, room, level, facts)

    def count(self, name: str, *values: object, amount: int = 1) -> None:
        """Add `amount` to a measure of COUNTED. If its first label is a host, the value is an origin."""
        measure = COUNTED[name]
        shown = tuple(known_status(value) or str(value) for value in values)
        if measure.labels[0] == "server.address":
            shown = (self._hosts.labels(shown[0])[0], *shown[1:])
        self._record(measure, amount, shown)

    @contextmanager
    def calling(self, operation: str, origin: str, facts: Mapping[str, object]) -> Iterator[None]:
        """Record one outgoing request."""
        begun = time.monotonic()
        otlp = self._otlp
        span: AbstractContextManager[None] = _UNTRACED
        if otlp is not None:
            span = otlp.traces.calling(operation, origin, facts)
        error = ""
        try:
            with span:
                yield
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            seconds = time.monotonic() - begun
            self._record(measures.CALLS, seconds, self._labels(operation, origin, facts, error))

    def headers(self) -> Mapping[str, str]:
        """The trace context headers of an outgoing request."""
        otlp = self._otlp
        return {} if otlp is None else otlp.traces.headers()

    def _labels(
        self, operation: str, origin: str, facts: Mapping[str, object], error: str
    ) -> tuple[str, ...]:
        host, port = self._hosts.labels(origin)
        status = known_status(facts.get("status"))
        if status >= "500":
            error = error or status
        return (str(facts["method"]), host, port, status, error, operation)

    def _record(self, measure: Measure, amount: float, values: tuple[str, ...]) -> None:
        for recorder in self._recorders:
            recorder.record(measure, amount, values)


def exporter(
    endpoint: str, authorization: str, resource: Mapping[str, str], version: str, log: Log
) -> Callable[[], Otlp]:
    """A function that creates a process's SDK, which sends to the collector at `endpoint`."""
    from pyoci.telemetry.otlp import Collector, Otlp, SdkLog
    from pyoci.telemetry.traces import RateLimit

    SdkLog(log.write).take_over()
    collector = Collector(endpoint, authorization)
    attributes = {"service.name": "pyoci", "service.version": version, **resource}
    # With a sampler of the operator's choice, the sampler limits how much is recorded.
    chosen = "OTEL_TRACES_SAMPLER" in os.environ
    return lambda: Otlp(collector, attributes, version, None if chosen else RateLimit())


def prometheus_metrics(directory: Path, log: Log) -> Prometheus:
    """The metrics of all processes, in files of that directory. Raises OSError."""
    from pyoci.telemetry.prometheus import Prometheus

    return Prometheus(directory, log)
