"""When a long computation pauses, and what ends it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pyoci import request_scope
from pyoci.errors import ClientLeft
from pyoci.pauses import COMPUTE_SECONDS, LONG_PAUSE_SECONDS, PAUSE_SECONDS, Pauses
from pyoci.request_scope import RequestScope
from pyoci.worker.answers import ServerThread
from tests.clock import Clock


@dataclass
class LateClock(Clock):
    """A clock whose sleeps end `late` seconds later than they were asked to."""

    late: float = 0.0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.now += self.late


@pytest.fixture
def clock() -> LateClock:
    return LateClock(now=0.0)


def test_pauses_have_time_to_compute_between_them(clock: LateClock) -> None:
    pause = Pauses(clock, clock.sleep)
    pause()
    assert clock.slept == []
    for _ in range(2):
        clock.now += COMPUTE_SECONDS
        pause()
        pause()
    assert clock.slept == [PAUSE_SECONDS, PAUSE_SECONDS]


def test_pauses_are_longer_while_others_compute(clock: LateClock) -> None:
    pause = Pauses(clock, clock.sleep)
    clock.now, clock.late = COMPUTE_SECONDS, 0.001
    pause()
    assert clock.slept == [PAUSE_SECONDS, LONG_PAUSE_SECONDS]


def test_the_value_is_unchanged(clock: LateClock) -> None:
    value = {"name": "hello-world"}
    assert Pauses(clock, clock.sleep).after(value) is value


def test_the_computation_of_an_ended_request_ends(clock: LateClock) -> None:
    scope = RequestScope(ServerThread())
    request_scope.enter(scope)
    try:
        pause = Pauses(clock, clock.sleep)
        scope.end(ClientLeft("the client has left"))
        pause()
        clock.now += COMPUTE_SECONDS
        with pytest.raises(ClientLeft):
            pause()
    finally:
        request_scope.enter(None)
    assert clock.slept == []
