"""Every fault at every step of every operation, and kills at every step; servers that share nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.builders import make_wheel
from tests.live.servers import Servers, running_pyoci
from tests.store.shelf import HELLO, NOBODY
from tests.store.writing.two_servers import simulate
from tests.stores import page_of
from tests.torture.conftest import Tally
from tests.torture.felling import fell_at_each_step
from tests.torture.lag import Lag
from tests.torture.operations import OPERATIONS, Packages, steps, survives
from tests.torture.relay import FAULTS, Relay, relay_to
from tests.torture.survival import kill_at_each_step

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def relay(registry: str) -> Iterator[Relay]:
    with relay_to(registry) as relay:
        yield relay


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_fault(registry: str, relay: Relay, name: str, lasting: bool, tally: Tally) -> None:
    """The file is there if the client was told so; otherwise nothing is half-done. The same operation again
    succeeds.
    """
    operation, space = OPERATIONS[name], f"acme/n{uuid.uuid4().hex[:12]}"
    for step in range(len(steps(relay, registry, f"{space}/first", operation))):
        for number, fault in enumerate(FAULTS.values()):
            path = f"{space}/s{step}f{number}"
            try:
                survives(
                    relay,
                    registry,
                    path,
                    operation,
                    fault,
                    lambda n, step=step: n >= step if lasting else n == step,  # type: ignore[misc]
                )
            except Exception as exc:  # noqa: BLE001  # it is counted, and fails the test at its end
                tally.add(False, (name, step, list(FAULTS)[number], repr(exc)))
            else:
                tally.add(True)


def test_killed(registry: str, tally: Tally) -> None:
    """After each request of each operation."""
    for _ in kill_at_each_step(registry, f"acme/n{uuid.uuid4().hex[:12]}", *OPERATIONS):
        tally.add(True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_felled(registry: str, relay: Relay, servers: Servers, name: str, tally: Tally) -> None:
    """gunicorn's worker is killed after each request that it makes, and another takes its place."""
    settings = {"PYOCI_REGISTRIES": f"lab={relay.url}", "WEB_CONCURRENCY": "1"}
    with running_pyoci(servers, "felled", **settings) as server:
        for _ in fell_at_each_step(server, relay, registry, f"acme/n{uuid.uuid4().hex[:12]}", name):
            tally.add(True)


def test_lag(registry: str, relay: Relay, tally: Tally) -> None:
    """For three seconds after each write of a tag it reads as before: eight at a time publish one version."""
    wheels = [make_wheel(tag=f"cp3{number}-none-any") for number in range(32)]
    relay.reset(Lag(seconds=3.0).choose)
    packages = Packages.at(relay.url, f"acme/n{uuid.uuid4().hex[:12]}")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda wheel: packages.publish(*wheel), wheels))
    relay.reset()
    page = page_of(Packages.at(registry, packages.namespace.path).store, packages.namespace, HELLO, NOBODY)
    there = {file.filename for file in page.files}
    for filename, _ in wheels:
        tally.add(filename in there, filename)


@pytest.mark.parametrize("mean", [0.01, 0.1, 0.3, 1.0])
def test_simulated_servers_apart(mean: float, tally: Tally) -> None:
    """Two servers that share nothing, three workers each, all writing one version all the time; a call takes
    an exponential time. What is promised is that hardly any of the files taken is lost: one in a thousand.
    """
    for seed in range(200):
        outcome = simulate(seed, mean=mean)
        tally.tried += len(outcome.accepted)
        tally.survived += len(outcome.accepted - outcome.lost)
    assert tally.survived >= tally.tried * 0.999
