"""What the benchmark reports when its time is over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from benchmarks.results import Row, times
from benchmarks.run import end_in_time, measured
from benchmarks.servers import Stage

ROW = Row(name="row", unit="s", runs=(1.0,), beside="other", others=(1.0,), bar=times(2.0))


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    """The signals are handled as in a run."""
    numbers = (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    end_in_time()
    yield
    signal.alarm(0)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def too_slow(_stage: Stage, _rounds: int) -> list[Row]:
    os.kill(os.getpid(), signal.SIGALRM)
    return [ROW]


def test_what_was_measured_in_time_is_kept() -> None:
    """The report names the group that was running."""
    groups = {"first": lambda _stage, _rounds: [ROW], "second": too_slow, "third": too_slow}
    results = measured(tuple(groups), 1, groups)
    assert results.rows == (ROW,)
    assert results.broken == ("second and what follows could not be measured: 900 s are over",)
