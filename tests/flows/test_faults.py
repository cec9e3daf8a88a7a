"""Faults between PyOCI and its registry: nothing is lost, nothing half-done shows, the same again succeeds.

`make torture` plays every fault at every step; here each step gets one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pyoci.embedded import create_registry_app
from tests.builders import make_wheel
from tests.serving import served
from tests.store.shelf import HELLO, NOBODY
from tests.torture.lag import Lag
from tests.torture.operations import (
    BEFORE,
    MINE,
    MINE_BYTES,
    NEIGHBOURS,
    OPERATIONS,
    Packages,
    steps,
    survives,
)
from tests.torture.relay import FAULTS, Relay, relay_to

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a registry on a real socket."""
    folder = tmp_path_factory.mktemp("registry")
    with served(create_registry_app(folder, htpasswd=None, local_only=False)) as url:
        yield url


@pytest.fixture(scope="module")
def relay(registry: str) -> Iterator[Relay]:
    with relay_to(registry) as relay:
        yield relay


@pytest.mark.parametrize("name", ["upload", "yank", "last delete"])
def test_a_fault_at_each_step(registry: str, relay: Relay, name: str) -> None:
    """Resets, stalls, incomplete, duplicate and late answers, and a busy registry: each at another step."""
    operation, faults, space = OPERATIONS[name], list(FAULTS), name.replace(" ", "-")
    count = len(steps(relay, registry, f"acme/{space}", operation))
    for step in range(count):
        fault = FAULTS[faults[(step * 5 + count) % len(faults)]]
        survives(relay, registry, f"acme/{space}-{step}", operation, fault, lambda n, step=step: n == step)  # type: ignore[misc]


@pytest.mark.parametrize("fault", ["reset before", "503"])
def test_a_registry_that_goes_away(registry: str, relay: Relay, fault: str) -> None:
    """During the last steps of an upload: its image index isn't written, or can't be read back."""
    path, operation = f"acme/away-{fault.replace(' ', '-')}", OPERATIONS["upload"]
    count = len(steps(relay, registry, f"{path}-0", operation))
    assert not survives(relay, registry, path, operation, FAULTS[fault], lambda n: n >= count - 3)


def test_a_registry_that_lags(registry: str, relay: Relay) -> None:
    """For half a second after a write it answers with the old state. Accepted files stay."""
    relay.reset(Lag(seconds=0.5).choose)
    packages = Packages.at(relay.url, "acme/lag")
    for filename, content in {**NEIGHBOURS, MINE: MINE_BYTES}.items():
        packages.publish(filename, content)
    packages.store.yank(packages.namespace, HELLO, MINE, "broken", NOBODY)
    another = make_wheel(tag="cp313-none-any")
    packages.publish(*another)
    packages.store.delete(packages.namespace, HELLO, another[0], NOBODY)
    time.sleep(0.6)
    relay.reset()
    assert Packages.at(registry, "acme/lag").state() == {**BEFORE, MINE: "broken"}
