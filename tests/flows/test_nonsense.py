"""The whole application answers with a sentence, and never a 500, whatever registries and clients send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyoci.net.transport import Transport
from pyoci.oci.registries import Registries
from pyoci.store.state import State
from tests.flows.nonsense import (
    QUESTIONS,
    SCRIPTS,
    STATE,
    Asked,
    Script,
    as_bytes,
    ask,
    make_app,
    nearly,
    playing,
)

# A thread of the last example may still choose its jitter while the next one is drawn.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
Stage = tuple[Script, Registries, Transport]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


@settings(max_examples=60, derandomize=True)
@given(replies=SCRIPTS, asked=QUESTIONS)
def test_there_is_a_sentence(stage: Stage, replies: dict[str, bytes], asked: Asked) -> None:
    """One line, with a fitting status."""
    script, registries, transport = stage
    script.replies = replies
    told: list[Any] = []
    ask(make_app(transport, registries, told), told, asked)


@settings(derandomize=True)
@given(nearly(STATE).map(as_bytes) | st.binary(max_size=40))
def test_what_lies_in_a_cache(kept: bytes) -> None:
    """A state from a cache that others can write is valid, or ignored."""
    state = State.from_json(kept)
    if state is not None:
        assert State.from_json(state.to_json()) is not None
