"""A registry and a store over it, new for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyoci.store.service import PackageStore
from tests.registry import TestRegistry


@pytest.fixture
def registry(tmp_path: Path) -> TestRegistry:
    return TestRegistry(tmp_path / "registry")


@pytest.fixture
def store(registry: TestRegistry) -> PackageStore:
    return registry.store()
