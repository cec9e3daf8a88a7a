"""What is measured: names, units and labels. docs/telemetry.rst describes each.

Names are those of OpenTelemetry's semantic conventions where there is one. No label names a project or a
caller, and each has few values, whatever callers ask for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

# Seconds, as the semantic conventions advise.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_BYTES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
_HOSTS = 64
_PORTS = {"https": "443", "http": "80"}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STATUSES = frozenset(HTTPStatus)
OTHER = "_OTHER"  # the semantic conventions' value for an unknown method


class Kind(Enum):
    """How values are aggregated: a total, a total that may decrease, or a distribution."""

    COUNTER = "counter"
    LEVEL = "level"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric. `labels` are the names of its attributes, in the order of their values."""

    name: str
    kind: Kind
    unit: str
    about: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


class Recorder(Protocol):
    """Receives measurements."""

    def record(self, measure: Measure, amount: float, values: tuple[str, ...]) -> None:
        """Add `amount`; `values` are those of the measure's labels."""
        ...


def _counter(name: str, unit: str, about: str, *labels: str) -> Measure:
    return Measure(name=name, kind=Kind.COUNTER, unit=unit, about=about, labels=labels)


def _level(name: str, unit: str, about: str, *labels: str) -> Measure:
    return Measure(name=name, kind=Kind.LEVEL, unit=unit, about=about, labels=labels)


def _seconds(name: str, about: str, *labels: str) -> Measure:
    return Measure(name=name, kind=Kind.HISTOGRAM, unit="s", about=about, labels=labels, bounds=_SECONDS)


def _bytes(name: str, about: str, *labels: str) -> Measure:
    return Measure(name=name, kind=Kind.HISTOGRAM, unit="By", about=about, labels=labels, bounds=_BYTES)


_REQUEST = ("http.request.method", "http.route", "http.response.status_code", "url.scheme", "error.type")

REQUESTS = _seconds(
    "http.server.request.duration", "Duration of requests, to the last byte of the answer", *_REQUEST
)
RECEIVED = _bytes(
    "http.server.request.body.size", "Size of request bodies, as far as they were read", *_REQUEST
)
SENT = _bytes(
    "http.server.response.body.size", "Size of response bodies, as far as they were sent", *_REQUEST
)
ACTIVE = _level(
    "http.server.active_requests",
    "{request}",
    "Requests that are being served; each keeps a thread busy",
    "http.request.method",
    "url.scheme",
)
THREADS = _level("pyoci.threads.limit", "{thread}", "Threads that serve requests")
CALLS = _seconds(
    "http.client.request.duration",
    "Duration of requests to registries and the upstream, to the head of an answer that is streamed",
    "http.request.method",
    "server.address",
    "server.port",
    "http.response.status_code",
    "error.type",
    "pyoci.operation",
)

# The measures that `Events.count` accepts.
COUNTED = {
    "cache": _counter(
        "pyoci.cache.lookups",
        "{lookup}",
        "Lookups in the cache, by what was looked up and result",
        "pyoci.cache.kind",
        "pyoci.cache.result",
    ),
    "uploads": _counter("pyoci.uploads", "{upload}", "Uploads by result", "pyoci.result"),
    "tokens": _counter(
        "pyoci.tokens.fetched",
        "{token}",
        "Requests for a registry's tokens, by the status of the answer",
        "server.address",
        "http.response.status_code",
    ),
    "ended": _counter(
        "pyoci.clients.ended",
        "{client}",
        "Clients that were disconnected because they were slow, silent or sent too much",
        "pyoci.reason",
    ),
    "limited": _counter(
        "pyoci.requests.limited",
        "{request}",
        "Requests that got an incomplete answer or none because of a limit, by reason",
        "pyoci.reason",
    ),
    "osv": _counter(
        "pyoci.osv.calls", "{call}", "Requests to the vulnerability service, by result", "pyoci.result"
    ),
    "upstream": _counter(
        "pyoci.upstream.calls",
        "{call}",
        "Requests for the pages of projects to the upstream, by result",
        "pyoci.result",
    ),
    "copies": _counter(
        "pyoci.upstream.copies",
        "{file}",
        "Files of upstream that were to be stored, or read from the store, by result",
        "pyoci.result",
    ),
    "withheld": _counter(
        "pyoci.upstream.withheld",
        "{file}",
        "Files of the upstream that rules withhold, or would withhold",
        "pyoci.rule",
        "pyoci.mode",
        "pyoci.where",
    ),
    "rules": _counter(
        "pyoci.upstream.rules",
        "{read}",
        "Changed rules and databases of malware that were read, by result",
        "pyoci.result",
    ),
}
MEASURES = (REQUESTS, RECEIVED, SENT, ACTIVE, THREADS, CALLS, *COUNTED.values())


class Hosts:
    """The hosts and ports in labels: the first 64 that are called. Others are `_OTHER`, since a caller may
    name any host.
    """

    def __init__(self, limit: int = _HOSTS) -> None:
        self._limit = limit
        self._guard = threading.Lock()
        self._known: set[str] = set()

    def labels(self, origin: str) -> tuple[str, str]:
        """The host and the port of an origin, or `_OTHER` and none."""
        with self._guard:
            if origin not in self._known and len(self._known) >= self._limit:
                return OTHER, ""
            self._known.add(origin)
        return host_and_port(origin)


def known_method(method: str) -> str:
    """The method, or `_OTHER`."""
    return method if method in _METHODS else OTHER


def known_status(status: object) -> str:
    """The status, or x00 for an unknown one (RFC 9110, section 15); empty if there was none."""
    if not isinstance(status, int):
        return ""
    return str(status if status in _STATUSES else status // 100 * 100)


@lru_cache(256)
def host_and_port(origin: str) -> tuple[str, str]:
    """The parts of `https://host:port`. The port is empty for the embedded registry."""
    try:
        parts = urlsplit(origin)
        return parts.hostname or "", str(parts.port or _PORTS.get(parts.scheme, ""))
    except ValueError:
        return OTHER, ""
