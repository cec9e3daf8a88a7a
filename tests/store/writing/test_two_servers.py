"""Two servers that share nothing publish files of one version: no accepted file is lost."""

from __future__ import annotations

import pytest

from tests.store.writing.two_servers import simulate


@pytest.mark.parametrize("mean", [0.02, 0.1, 0.3], ids=lambda mean: f"{mean} s a call")
def test_nothing_is_lost(mean: float) -> None:
    """Calls of exponential length; two servers of three workers that write all the time. With a single
    read-back after a short wait, a tenth of the files would be lost.
    """
    outcomes = [simulate(seed, mean=mean) for seed in range(8)]
    assert [outcome.lost for outcome in outcomes] == [set()] * 8
    assert sum(len(outcome.accepted) for outcome in outcomes) == 8 * 2 * 3 * 6
