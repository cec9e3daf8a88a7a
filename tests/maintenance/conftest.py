"""Two registries with a namespace each, new for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.maintenance.places import Place


@pytest.fixture
def source(tmp_path: Path) -> Place:
    return Place(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Place:
    return Place(tmp_path / "target")
