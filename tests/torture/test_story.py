"""Random sequences of publish, yank, delete and look, compared with a model."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.store.story import Story
from tests.torture.conftest import Tally
from tests.torture.lasting import SECONDS, rounds

pytestmark = pytest.mark.timeout(SECONDS + 600)
TOGETHER = 10  # stories that hypothesis makes of one seed
SETTINGS = settings(
    max_examples=TOGETHER,
    stateful_step_count=50,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a story is long enough to tell by itself what went wrong
)


def test_stories(tally: Tally) -> None:
    """Fifty steps each, at three servers, two of which share a cache."""
    for number in rounds():
        story = seed(number)(type("Story", (Story,), {}))
        try:
            run_state_machine_as_test(story, settings=SETTINGS)
        except Exception as exc:  # noqa: BLE001  # it is counted, and fails the test at its end
            tally.add(False, (number, exc, *getattr(exc, "__notes__", [])))
        else:
            tally.tried += TOGETHER
            tally.survived += TOGETHER
