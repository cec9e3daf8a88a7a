"""Two servers that share nothing publish files of one version: what is answered with success stays."""

from __future__ import annotations

import pytest

from pyoci.store.writing.lag import Durations
from tests.store.apart import course


@pytest.mark.parametrize("mean", [0.02, 0.1, 0.3], ids=lambda mean: f"{mean} s a call")
def test_nothing_is_lost(mean: float) -> None:
    """Calls of an exponential length, three workers in each of two servers, all writing all the time. Looking
    back once after a moment would lose every tenth file here. Same seeds, same courses.
    """
    outcomes = [course(seed, mean=mean) for seed in range(8)]
    assert [outcome.lost for outcome in outcomes] == [set()] * 8
    assert sum(len(outcome.taken) for outcome in outcomes) == 8 * 2 * 3 * 6


class TestDurations:
    """How long the waits before the looks back are."""

    def test_the_longest_counts(self) -> None:
        """Of the registry that is asked about."""
        durations = Durations(lambda: 0.0)
        for seconds in (0.2, 0.5, 0.1):
            durations.note("https://registry.example", seconds)
        assert durations.waits("https://registry.example") == (0.5, 0.5)
        assert durations.waits("https://other.example") == (0.0, 0.0)

    def test_lately_only(self) -> None:
        """A registry that was slow for a moment isn't slow for ever, and others may go."""
        now = [0.0]
        durations = Durations(lambda: now[0])
        durations.note("https://registry.example", 2.0)
        durations.contest("https://registry.example")
        now[0] = 100.0
        durations.note("https://registry.example", 0.1)
        assert durations.waits("https://registry.example") == (2.0, 4.0)
        now[0] = 130.0
        assert durations.waits("https://registry.example") == (0.1, 0.1)

    def test_others_may_be_slower(self) -> None:
        """Where somebody writes who shares nothing with us, the second look comes later."""
        durations = Durations(lambda: 0.0)
        durations.contest("https://registry.example")
        assert durations.waits("https://registry.example") == (0.0, 1.0)
        durations.note("https://registry.example", 0.7)
        assert durations.waits("https://registry.example") == (0.7, 1.4)
        assert durations.waits("https://other.example") == (0.0, 0.0)

    def test_within_reason(self) -> None:
        """Four seconds each at most: an uploader waits for both."""
        durations = Durations(lambda: 0.0)
        durations.note("https://registry.example", 60.0)
        assert durations.waits("https://registry.example") == (4.0, 4.0)
