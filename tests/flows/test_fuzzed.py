"""The fuzzer's targets with inputs that are nearly valid; `make torture` searches for more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import make_zip
from tests.torture.targets import TARGETS

# Each was found by the fuzzer once, and made smaller by hand.
FOUND = {
    "a member of a zip without a name": ("zipped", make_zip({"a/PKG-INFO": b"", "": b""})),
}
edits = st.lists(st.tuples(st.integers(0), st.integers(0, 40), st.binary(max_size=8)), min_size=1, max_size=6)


def edited(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The seed with some bytes removed and others inserted."""
    for place, length, piece in changes:
        start = place % (len(seed) + 1)
        seed = seed[:start] + piece + seed[start + length :]
    return seed


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, derandomize=True)
@given(data=st.data())
def test_nearly_valid_input(name: str, data: st.DataObject) -> None:
    """It is parsed, or refused with an error of pyoci.errors."""
    target = TARGETS[name]
    target.feed(edited(data.draw(st.sampled_from(target.seeds)), data.draw(edits)))


@pytest.mark.parametrize(("name", "content"), FOUND.values(), ids=FOUND)
def test_found(name: str, content: bytes) -> None:
    """Inputs that the fuzzer has found are still handled."""
    TARGETS[name].feed(content)
