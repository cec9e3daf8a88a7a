"""MemoryBackend and FileBackend fulfil the contract of Backend. tests/live/test_redis.py tests Redis."""

from __future__ import annotations

import pytest

from pyoci.cache.backend import Backend
from pyoci.cache.files import FileBackend
from pyoci.cache.memory import MemoryBackend
from tests.cache import contract


@pytest.fixture(params=["memory", "file"])
def backend(request: pytest.FixtureRequest, files: FileBackend) -> Backend:
    return MemoryBackend() if request.param == "memory" else files


class TestValues(contract.Values):
    """Memory and files."""


class TestJournals(contract.Journals):
    """Memory and files."""


class TestLocks(contract.Locks):
    """Memory and files."""


class TestWorkers(contract.Workers):
    """Files only: MemoryBackend is for one process."""

    @pytest.fixture
    def backend(self, files: FileBackend) -> Backend:
        return files
