"""Nonsense without end, from registries and clients: a sentence for all of it, and never a 500."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.flows.nonsense import QUESTIONS, SCRIPTS, Asked, ask, make_app, playing
from tests.torture.conftest import Tally
from tests.torture.lasting import SECONDS, rounds

pytestmark = [
    pytest.mark.timeout(SECONDS + 600),
    # A thread of the last example may still choose its jitter while the next one is drawn.
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning"),
]
TOGETHER = 100  # examples that hypothesis makes of one seed
SETTINGS = settings(
    max_examples=TOGETHER, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_nonsense(tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    """From the registry in up to seven places, and from the client in up to three requests."""
    statuses: Counter[int] = Counter()
    with playing() as (script, registries, transport):

        @SETTINGS
        @given(replies=SCRIPTS, asked=QUESTIONS)
        def play(replies: dict[str, bytes], asked: Asked) -> None:
            script.replies = replies
            told: list[Any] = []
            statuses.update(ask(make_app(transport, registries, told), told, asked))

        for number in rounds():
            try:
                seed(number)(play)()
            except Exception as exc:  # noqa: BLE001  # it is counted, and fails the test at its end
                tally.add(False, (exc, getattr(exc, "__notes__", [])))
    with capsys.disabled():
        print(f"\n{dict(sorted(statuses.items()))}")
    tally.tried += statuses.total()
    tally.survived += statuses.total()
