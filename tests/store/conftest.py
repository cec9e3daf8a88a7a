"""A registry and a store over it, new for each test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness
from tests.clock import Clock
from tests.registry import TestRegistry
from tests.store.shelf import SwitchableBackend
from tests.stores import make_cache


@pytest.fixture
def registry(tmp_path: Path) -> TestRegistry:
    return TestRegistry(tmp_path / "registry")


@pytest.fixture
def store(registry: TestRegistry) -> PackageStore:
    return registry.store()


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)  # when the wheels of these tests are published


@pytest.fixture
def backend(clock: Clock) -> SwitchableBackend:
    return SwitchableBackend(clock=clock)


@pytest.fixture
def make_store(
    registry: TestRegistry, backend: SwitchableBackend, clock: Clock
) -> Callable[..., PackageStore]:
    """Makes stores that share a backend, as the workers of one server do."""

    def make(freshness: Freshness | None = None, **settings: Any) -> PackageStore:
        cache = make_cache(backend, freshness, clock=clock, now=clock)
        return registry.store(cache=cache, now=lambda: _moment(clock), **settings)

    return make


def _moment(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now, UTC)
