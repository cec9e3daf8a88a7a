"""Which provenance is served while upstream can't be asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from pyoci.cache.backend import Backend
from pyoci.errors import NotFound, PyOCIError, Unavailable
from pyoci.simple_api.model import File
from pyoci.upstream.file_source import Wanted
from pyoci.upstream.provenance import FRESH_TTL, ProvenanceCache
from tests.clock import Clock
from tests.upstream_pages import make_upstream_file

FILE = make_upstream_file(provenance="https://files.example/provenance")
WANTED = Wanted.provenance_of(FILE, "flask")


@dataclass
class Upstream:
    """Has one document, or a failure. Stands in for a store of copies as well."""

    content: str = '{"version": 1}'
    failure: PyOCIError | None = None
    asked: int = 0
    stored: bytes | None = None

    def fetch(self, file: File) -> str:
        assert file == FILE
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.content

    def provenance(self, wanted: Wanted) -> bytes | None:
        return self.stored


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


def read(upstream: Upstream, backend: Backend, clock: Clock, **options: Any) -> bytes:
    assert WANTED is not None
    cache = ProvenanceCache(upstream.fetch, backend, upstream, now=clock, **options)  # type: ignore[arg-type]
    return cache.read(WANTED)


def test_it_is_asked_for_once_an_hour(upstream: Upstream, backend: Backend, clock: Clock) -> None:
    """All workers share the answer. A change is seen."""
    for _ in range(2):
        assert read(upstream, backend, clock) == b'{"version": 1}'
    assert upstream.asked == 1
    upstream.content = '{"version": 2}'
    clock.now += FRESH_TTL
    assert read(upstream, backend, clock) == b'{"version": 2}'


def test_an_old_one_while_upstream_is_down(upstream: Upstream, backend: Backend, clock: Clock) -> None:
    """However old it is; a copy only if nothing is remembered."""
    read(upstream, backend, clock)
    upstream.failure, upstream.stored = Unavailable("down"), b'{"stored": 1}'
    clock.now += 1000 * FRESH_TTL
    assert read(upstream, backend, clock) == b'{"version": 1}'
    for data in (b"", b"x", b"1\n2\nx"):
        backend.put("provenance\0https://files.example/provenance", data)
        assert read(upstream, backend, clock) == b'{"stored": 1}'
    upstream.stored = None
    with pytest.raises(Unavailable):
        read(upstream, backend, clock)


def test_one_that_upstream_no_longer_has(upstream: Upstream, backend: Backend, clock: Clock) -> None:
    """Its answer counts."""
    read(upstream, backend, clock)
    upstream.failure = NotFound("gone")
    clock.now += FRESH_TTL
    with pytest.raises(NotFound):
        read(upstream, backend, clock)


def test_offline(upstream: Upstream, backend: Backend, clock: Clock) -> None:
    """Upstream is never asked: what is remembered or stored is served."""
    with pytest.raises(NotFound, match="PYOCI_UPSTREAM_OFFLINE"):
        read(upstream, backend, clock, offline=True)
    upstream.stored = b'{"stored": 1}'
    assert read(upstream, backend, clock, offline=True) == b'{"stored": 1}'
    assert upstream.asked == 0
