"""A collector of telemetry as OTLP over HTTP has it: decodes what it is sent, and keeps it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_PATIENCE = 15.0  # seconds
_REQUESTS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


@dataclass
class Collector:
    """What has come. `answer` is the status that it answers with; while `held` it answers nobody."""

    url: str = ""
    answer: int = 200
    text: Callable[[dict[str, str]], str] = lambda _headers: ""
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    traces: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Keep one request; gives the status of its answer."""
        self.headers.append(headers)
        if self.held.is_set():
            self.released.wait()
        if path not in _REQUESTS:
            return 404
        if self.answer == 200:
            self.raw.append(body)
            getattr(self, path.rpartition("/")[2]).append(_REQUESTS[path].FromString(body))
        return self.answer

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def records(self) -> list[Any]:
        return [
            record
            for request in self.logs
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def resources(self) -> list[dict[str, Any]]:
        """The attributes of everything that has been sending."""
        return [
            attributes(resource.resource)
            for requests, name in (
                (self.traces, "resource_spans"),
                (self.metrics, "resource_metrics"),
                (self.logs, "resource_logs"),
            )
            for request in requests
            for resource in getattr(request, name)
        ]

    def points(self, name: str) -> list[tuple[dict[str, Any], float]]:
        """The last value of a metric by its attributes, one of each sender: a histogram's is its count."""
        last: dict[Any, tuple[dict[str, Any], float]] = {}
        for request in self.metrics:
            for resource in request.resource_metrics:
                sender = attributes(resource.resource)["service.instance.id"]
                for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                    for point in _points(metric) if metric.name == name else ():
                        found = attributes(point)
                        last[sender, *sorted(found.items())] = (found, _value(point))
        return list(last.values())

    def total(self, name: str, **wanted: Any) -> float:
        """The sum of a metric's values; `wanted` names attributes with _ for the dots."""
        return sum(
            value
            for found, value in self.points(name)
            if wanted.items() <= {key.replace(".", "_"): each for key, each in found.items()}.items()
        )

    @contextmanager
    def running(self) -> Iterator[Collector]:
        """Listen on a free port."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            self.released.set()
            server.shutdown()
            thread.join(5)
            server.server_close()


def attributes(thing: Any) -> dict[str, Any]:
    """Names and values of a resource, a span, a record or a data point."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in thing.attributes}


def _points(metric: Any) -> Any:
    return getattr(metric, metric.WhichOneof("data")).data_points


def _value(point: Any) -> float:
    if hasattr(point, "bucket_counts"):
        return float(point.count)
    return float(getattr(point, point.WhichOneof("value")))


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = collector.take(self.path, headers, body)
            text = collector.text(headers).encode()
            self.send_response(status, "as told")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    return Handler
