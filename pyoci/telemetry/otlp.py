"""Otlp: sends logs, traces and metrics to a collector, by OpenTelemetry's SDK and OTLP over HTTP.

Each serving process has its own SDK, since threads and locks don't survive a fork. Queues are bounded:
telemetry that a collector doesn't accept in time is dropped, and requests don't wait for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import requests
from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from pyoci.telemetry.logs import AUDIT
from pyoci.telemetry.measures import MEASURES, Kind, Measure
from pyoci.telemetry.traces import RateLimit, Traces

_EVERY = 30_000.0  # milliseconds
_LOG_PAUSE = 600.0  # seconds between two lines about lost telemetry
_LOGGER = "opentelemetry"
_LOGGED = ("exporter", "sdk")
_NUMBERS = frozenset({"http.response.status_code", "server.port"})
_ADDED_UP = frozenset({Kind.COUNTER, Kind.LEVEL})
_MINOR = frozenset({"debug", "info"})
_AUDIT = f"pyoci.{AUDIT}"  # no line of it is left out
_SEVERITY = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
}


@dataclass(frozen=True, slots=True)
class Collector:
    """The collector that telemetry is sent to. Without an endpoint, OpenTelemetry's own variables (such as
    OTEL_EXPORTER_OTLP_ENDPOINT) name it.
    """

    endpoint: str = ""
    authorization: str = field(default="", repr=False)

    def address(self, signal: str) -> str | None:
        """The URL that one kind of telemetry is sent to; None leaves it to the exporter."""
        return f"{self.endpoint.rstrip('/')}/v1/{signal}" if self.endpoint else None

    def options(self, signal: str) -> dict[str, Any]:
        """The arguments of the exporter for one kind of telemetry."""
        headers = {"Authorization": self.authorization} if self.authorization else {}
        return {"endpoint": self.address(signal), "headers": headers, "session": _session()}


class Otlp:
    """One process's SDK. It consists of three providers, which start the exporting threads.

    Without a `limit` everything is recorded.
    """

    def __init__(
        self,
        collector: Collector,
        attributes: Mapping[str, str],
        version: str,
        limit: RateLimit | None = None,
    ) -> None:
        resource = Resource.create({**attributes, **OTELResourceDetector().detect().attributes})
        spans = BatchSpanProcessor(
            OTLPSpanExporter(**collector.options("traces")),
            schedule_delay_millis=_interval("OTEL_BSP_SCHEDULE_DELAY"),
        )
        records = BatchLogRecordProcessor(
            OTLPLogExporter(**collector.options("logs")),
            schedule_delay_millis=_interval("OTEL_BLRP_SCHEDULE_DELAY"),
        )
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(**collector.options("metrics")),
            export_interval_millis=_interval("OTEL_METRIC_EXPORT_INTERVAL"),
        )
        # At exit the SDK would wait for a collector without a limit.
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(spans)
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        loggers.add_log_record_processor(records)
        meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        self.traces = Traces(tracers.get_tracer("pyoci", version), limit)
        self._logger: Logger = loggers.get_logger("pyoci", version)
        meter = meters.get_meter("pyoci", version)
        self._sums = {measure.name: Sums(measure) for measure in MEASURES if measure.kind in _ADDED_UP}
        for measure in MEASURES:
            if measure.kind in _ADDED_UP:
                _show(meter, measure, self._sums[measure.name])
        self._histograms = {
            measure.name: _histogram(meter, measure) for measure in MEASURES if measure.kind is Kind.HISTOGRAM
        }
        self._ends: tuple[Callable[[], None], ...] = (tracers.shutdown, loggers.shutdown, meters.shutdown)

    def record(self, measure: Measure, amount: float, values: tuple[str, ...]) -> None:
        """Add to a measure."""
        if measure.kind is Kind.HISTOGRAM:
            self._histograms[measure.name].record(amount, _attributes(measure, values))
        else:
            self._sums[measure.name].add(amount, values)

    def log(self, event: str, room: str, level: str, facts: Mapping[str, object]) -> None:
        """Send a log record as part of this thread's current span."""
        if level in _MINOR and room != _AUDIT and self.traces.is_unrecorded():
            return
        now = time.time_ns()
        self._logger.emit(
            timestamp=now,
            observed_timestamp=now,
            severity_number=_SEVERITY[level],
            severity_text=level.upper(),
            body=event,
            attributes={"pyoci.room": room, **{name: _plain(fact) for name, fact in facts.items()}},
        )

    def stop(self, seconds: float) -> None:
        """Send what is left, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        threads = [threading.Thread(target=end, name="last-export", daemon=True) for end in self._ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))


def _session() -> requests.Session:
    """A session for one exporter. It ignores ~/.netrc, but uses the environment's proxies."""
    session = requests.Session()
    session.auth = lambda request: request
    return session


def _interval(variable: str) -> float | None:
    """The interval in milliseconds; None if the SDK's own variable sets it."""
    return None if os.environ.get(variable) else _EVERY


class Sums:
    """The sums of one measure, by its labels. The SDK reads them when it exports: reporting each change to
    the SDK costs ten times as much.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._guard = threading.Lock()
        self._sums: dict[tuple[str, ...], float] = {}

    def add(self, amount: float, values: tuple[str, ...]) -> None:
        with self._guard:
            self._sums[values] = self._sums.get(values, 0) + amount

    def observed(self, _options: CallbackOptions) -> list[Observation]:
        """The callback for the SDK."""
        with self._guard:
            sums = dict(self._sums)
        return [Observation(total, _attributes(self._measure, values)) for values, total in sums.items()]


def _show(meter: Meter, measure: Measure, sums: Sums) -> None:
    create = (
        meter.create_observable_counter
        if measure.kind is Kind.COUNTER
        else meter.create_observable_up_down_counter
    )
    create(measure.name, [sums.observed], measure.unit, measure.about)


def _histogram(meter: Meter, measure: Measure) -> Histogram:
    return meter.create_histogram(
        measure.name, measure.unit, measure.about, explicit_bucket_boundaries_advisory=measure.bounds
    )


@lru_cache(4096)
def _attributes(measure: Measure, values: tuple[str, ...]) -> dict[str, str | int]:
    """The attributes of a measurement. Empty values are left out."""
    pairs = zip(measure.labels, values, strict=True)
    return {name: int(value) if name in _NUMBERS else value for name, value in pairs if value}


def _plain(fact: object) -> Any:
    if isinstance(fact, str | bool | int | float):
        return fact
    return [str(item) for item in fact] if isinstance(fact, list | tuple) else str(fact)


class SdkLog(logging.Handler):
    """Logs that the SDK loses telemetry, and of which kind, at most every ten minutes. The text of the SDK's
    record is not logged, since it may contain credentials that a collector's answer repeats.
    """

    def __init__(self, write: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._clock = clock
        self._next = float("-inf")

    def take_over(self) -> None:
        """Handle all log records of the SDK. Those about the headers of callers are dropped."""
        logger = logging.getLogger(_LOGGER)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        for part in _LOGGED:
            logging.getLogger(f"{_LOGGER}.{part}").handlers = [self]
        # The SDK logs every span that it drops, which costs more than creating one.
        logging.getLogger(f"{_LOGGER}.sdk._shared_internal").setLevel(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + _LOG_PAUSE
            parts: tuple[Any, ...] = record.args if isinstance(record.args, tuple) else ()
            errors = [part for part in parts if isinstance(part, BaseException)]
            self._write(
                "telemetry is being lost",
                room="telemetry",
                level="warning",
                source=record.name.removeprefix(f"{_LOGGER}."),
                status=next((part for part in parts if isinstance(part, int)), None),
                error=type(errors[0]).__name__ if errors else None,
            )
