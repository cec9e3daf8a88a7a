"""Places to remember things, each test with one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci.cache.files import FileBackend


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a FileBackend keeps everything; not there yet."""
    return tmp_path / "above" / "cache"


@pytest.fixture
def files(directory: Path) -> Iterator[FileBackend]:
    backend = FileBackend(directory)
    yield backend
    backend.close()
