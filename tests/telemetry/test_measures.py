"""The labels of metrics, and how few values each has."""

from __future__ import annotations

import pytest

from pyoci.telemetry.measures import (
    COUNTED,
    MEASURES,
    OTHER,
    Hosts,
    host_and_port,
    known_method,
    known_status,
)
from pyoci.telemetry.traces import RateLimit

LABELS = {
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "url.scheme",
    "error.type",
    "server.address",
    "server.port",
    "pyoci.operation",
    "pyoci.cache.kind",
    "pyoci.cache.result",
    "pyoci.result",
    "pyoci.reason",
    "pyoci.rule",
    "pyoci.mode",
    "pyoci.where",
}


def test_labels_are_known() -> None:
    """A new label has to be added here, and must not have projects or callers."""
    assert {label for measure in MEASURES for label in measure.labels} == LABELS


def test_names_are_unique() -> None:
    """Two measures of one name would be one."""
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    assert set(COUNTED.values()) <= set(MEASURES)


def test_hosts_are_few() -> None:
    """A caller may name any host. The first ones keep their labels."""
    hosts = Hosts(limit=2)
    origins = ("https://a.example", "https://a.example:8443", "https://b.example", "https://a.example")
    assert [hosts.labels(origin) for origin in origins] == [
        ("a.example", "443"),
        ("a.example", "8443"),
        (OTHER, ""),
        ("a.example", "443"),
    ]


@pytest.mark.parametrize(
    ("status", "label"), [(200, "200"), (418, "418"), (499, "400"), (999, "900"), (None, "")]
)
def test_statuses_are_few(status: int | None, label: str) -> None:
    """A registry may answer with any number."""
    assert known_status(status) == label


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://ghcr.io", ("ghcr.io", "443")),
        ("http://127.0.0.1:5000", ("127.0.0.1", "5000")),
        ("https://[::1]:5000", ("::1", "5000")),
        ("embedded://local", ("local", "")),
        ("https://host:port", (OTHER, "")),
        ("https://[", (OTHER, "")),
    ],
)
def test_parts_of_an_origin(origin: str, expected: tuple[str, str]) -> None:
    """Without a port, that of the scheme."""
    assert host_and_port(origin) == expected


@pytest.mark.parametrize(("method", "label"), [("GET", "GET"), ("get", OTHER), ("BREW", OTHER), ("", OTHER)])
def test_methods_are_few(method: str, label: str) -> None:
    """A client may send any word."""
    assert known_method(method) == label


def test_a_rate_limit_recovers() -> None:
    """It allows a burst, then a rate."""
    now = [0.0]
    limit = RateLimit(rate=2, burst=3, clock=lambda: now[0])
    assert [limit.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [limit.take() for _ in range(2)] == [True, False]
    now[0] = 60.0
    assert [limit.take() for _ in range(4)] == [True, True, True, False]
