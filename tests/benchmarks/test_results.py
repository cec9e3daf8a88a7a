"""The benchmark's rows: which of them miss their limit."""

from __future__ import annotations

import pytest

from benchmarks.results import Bar, Row, alternate, at_most, more, times


def make_row(runs: tuple[float, ...], others: tuple[float, ...] = (), bar: Bar | None = None) -> Row:
    return Row(name="a row", runs=runs, beside="another" if others else "", others=others, bar=bar)


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        (make_row((9.0,)), False),
        (make_row((105,), bar=at_most(105)), False),
        (make_row((106,), bar=at_most(105)), True),
        (make_row((13.0,), (10.0,), times(1.3)), False),
        (make_row((14.0,), (10.0,), times(1.3)), True),
        (make_row((200.0,), (10.0,), times(20, at_least=True)), False),
        (make_row((199.0,), (10.0,), times(20, at_least=True)), True),
        (make_row((1.5,), (0.5,), more(1, "s")), False),
        (make_row((1.6,), (0.5,), more(1, "s")), True),
        (make_row((5.0,), (0.0,), times(1.3)), True),
    ],
    ids=[
        "no bar",
        "a value that may be",
        "a value too high",
        "a ratio that may be",
        "a ratio too high",
        "a ratio that has to be",
        "a ratio too low",
        "as much more as may be",
        "too much more",
        "beside nothing measured",
    ],
)
def test_a_row_misses_its_bar(row: Row, missed: bool) -> None:
    """Limits are for ratios, for differences, or for the value itself."""
    assert (row.failure is not None) is missed


def test_ratios_are_those_of_the_same_round() -> None:
    """A machine that is three times slower in one round changes no ratio."""
    assert make_row((10.0, 30.0, 10.0), (5.0, 15.0, 5.0), times(2)).compared == 2


def test_what_was_missed_is_said_in_one_sentence() -> None:
    """With the other value, the result, and what was expected."""
    row = make_row((14.0,), (10.0,), times(1.3))
    assert row.failure == "a row, beside another: 1.4; expected <= 1.3 x"


def test_another_one_goes_first_each_round() -> None:
    """Each is measured once a round."""
    order: list[str] = []

    def measure(thing: str, turn: int) -> int:
        order.append(thing)
        return turn

    assert alternate("ab", 2, measure) == [("a", [0, 1]), ("b", [0, 1])]
    assert "".join(order) == "abba"
