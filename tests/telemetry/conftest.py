"""Fixtures: a collector, and PyOCI that exports to it, in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from tests.collector import Collector

_PATIENCE = 30.0  # seconds


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as running:
        yield running


@pytest.fixture(autouse=True)
def _quiet_sdk() -> Iterator[None]:
    """Messages of other tests' exporters aren't in a test's log."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("Otel"):
            thread.join(_PATIENCE)
    for name in ("opentelemetry", "opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(name).handlers = [logging.NullHandler()]
