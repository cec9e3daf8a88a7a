"""The pace of a client, with a clock that the test advances."""

from __future__ import annotations

import itertools

from pyoci.worker.pace import WINDOW, Pace, Reports
from tests.clock import Clock
from tests.worker.doubles import Listener


def test_rate() -> None:
    """Bytes divided by the time of waiting."""
    clock = Clock()
    pace = Pace(clock)
    assert pace.rate == float("inf")
    pace.wait()
    clock.now += 2
    pace.moved(100)
    assert (pace.rate, pace.seconds, pace.waiting) == (50, 2, False)


def test_other_time_does_not_count() -> None:
    """Time that a registry, a lock or a queue takes."""
    clock = Clock()
    pace = Pace(clock)
    pace.wait()
    clock.now += 1
    pace.moved(100)
    clock.now += 1000
    assert pace.rate == 100


def test_a_wait_that_lasts() -> None:
    """It counts before it ends."""
    clock = Clock()
    pace = Pace(clock)
    pace.wait()
    clock.now += 1
    pace.moved(100)
    pace.wait()
    clock.now += 9
    assert (pace.waiting, pace.rate) == (True, 10)


def test_window() -> None:
    """A client that was fast in the first window, and then sends a byte a second, becomes slow."""
    clock = Clock()
    pace = Pace(clock)
    pace.wait()
    clock.now += 1
    pace.moved(10_000_000)
    for _ in range(int(3 * WINDOW)):
        pace.wait()
        clock.now += 1
        pace.moved(1)
    assert pace.rate == 1


def test_reports() -> None:
    """Ten lines of a reason are logged in a second; the next second logs how many were left out. All are
    counted.
    """
    clock, listener = Clock(), Listener()
    reports = Reports(listener.events, clock)
    for number in itertools.islice(itertools.count(), 15):
        reports.report("silent", (f"192.0.2.{number}", 1234, 0, 0))
    clock.now += 1
    reports.report("slow body", "a socket of this machine")
    reports.report("silent", ("192.0.2.99", 1234))
    assert [facts["peer"] for facts in listener.lines] == [
        *(f"192.0.2.{number}" for number in range(10)),
        "a socket of this machine",
        "192.0.2.99",
    ]
    assert listener.lines[-1]["left_out"] == 5
    assert listener.counted == [("ended", "silent")] * 15 + [("ended", "slow body"), ("ended", "silent")]
