"""A cache directory for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cache.files import FileBackend


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of a FileBackend, which does not exist yet."""
    return tmp_path / "above" / "cache"


@pytest.fixture
def files(directory: Path) -> Iterator[FileBackend]:
    backend = FileBackend(directory)
    yield backend
    backend.close()
