"""Which of several workers accepts a connection."""

from __future__ import annotations

import pytest

from pyoci.worker.balance import Balance, Loads
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loads(clock: Clock) -> Loads:
    """Worker 1 has 3 connections, worker 2 has 5."""
    loads = Loads(clock)
    loads.record(1, 3)
    loads.record(2, 5)
    return loads


@pytest.mark.parametrize(
    ("worker", "load", "expected"),
    [
        pytest.param(1, 3, True, id="the least"),
        pytest.param(2, 5, False, id="more than another"),
        pytest.param(2, 3, True, id="as many as another"),
        pytest.param(1, 5, True, id="its own record doesn't count"),
        pytest.param(1, 6, False, id="more than another by now"),
        pytest.param(3, 3, True, id="a new worker, as many"),
        pytest.param(3, 4, False, id="a new worker, more"),
    ],
)
def test_least(loads: Loads, worker: int, load: int, expected: bool) -> None:
    assert loads.is_least(worker, load) is expected


def test_ended_workers_dont_count(loads: Loads, clock: Clock) -> None:
    """A worker that has recorded nothing for two seconds has ended, or hangs."""
    clock.now += 1.5
    loads.record(2, 5)
    assert not loads.is_least(2, 5)
    clock.now += 1
    assert loads.is_least(2, 5)


def test_alone(clock: Clock) -> None:
    """The only worker always has the least."""
    loads = Loads(clock)
    loads.record(1, 100)
    assert loads.is_least(1, 100)


def test_numbers_grow(loads: Loads, clock: Clock) -> None:
    """Each worker that replaces another one has a higher number."""
    clock.now += 3
    for worker in range(1000, 1002):
        loads.record(worker, worker)
    assert loads.is_least(1000, 1000)
    assert not loads.is_least(1001, 1001)


def test_connections_are_left_once(loads: Loads) -> None:
    """The second time the worker accepts, since the other one may be too busy to do so."""
    balance = Balance(loads, 2, lambda: 5)
    assert [balance.leaves_one() for _ in range(4)] == [True, False, True, False]


def test_present_load(loads: Loads) -> None:
    """The load that counts is that of the moment, which the other workers see once it is recorded."""
    present = [5]
    balance = Balance(loads, 2, lambda: present[0])
    present[0] = 2
    assert not balance.leaves_one()
    assert loads.is_least(1, 3)
    balance.record()
    assert not loads.is_least(1, 3)
