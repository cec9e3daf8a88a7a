"""Package indexes of one test, and Upstream objects that request their pages, with a clock that only the test
advances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyoci.cache.backend import Backend
from pyoci.cache.memory import MemoryBackend
from pyoci.net.transport import Transport
from pyoci.upstream.address import UpstreamAddress
from pyoci.upstream.circuit import Circuit
from pyoci.upstream.service import Upstream
from tests.clock import Clock
from tests.upstreams import PackageIndex, package_index

MakeUpstream = Callable[..., Upstream]


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """Another package index, which has the project hello-world."""
    with package_index() as found:
        found.add_wheel("hello-world", requires_python=">=3.8")
        yield found


@pytest.fixture
def backend() -> Backend:
    return MemoryBackend()


@pytest.fixture
def make_upstream(elsewhere: PackageIndex, backend: Backend, clock: Clock) -> Iterator[MakeUpstream]:
    """Makes Upstream objects that share a cache, each with connections and memory of its own."""
    made: list[Transport] = []

    def make(url: str = "", authorization: str | None = None, **settings: Any) -> Upstream:
        seconds = settings.pop("document_seconds", 30.0)
        transport = Transport(sleep=lambda _: None, jitter=lambda: 0.5, document_seconds=seconds)
        made.append(transport)
        address = UpstreamAddress.parse(url or elsewhere.simple, authorization)
        usual = {"clock": clock, "now": clock, "circuit": Circuit(clock=clock)}
        return Upstream(address, transport, settings.pop("backend", backend), **{**usual, **settings})

    yield make
    for transport in made:
        transport.close()
