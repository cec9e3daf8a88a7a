"""What was measured: rows of medians, and the bars that they have to clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

_Measured = TypeVar("_Measured")
_Named = TypeVar("_Named")


class Missed(Exception):
    """A measurement makes no sense: a server answered something else than what was to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `runs` holds every single measurement, by the label of what was measured."""

    name: str
    unit: str
    runs: Mapping[str, tuple[float, ...]]
    more_is_better: bool | None = None  # None: there is nothing to win
    failures: tuple[str, ...] = ()
    barred: bool = False  # whether there is a bar at all
    details: Mapping[str, object] = field(default_factory=dict)  # for results.json alone

    @property
    def medians(self) -> dict[str, float]:
        return {label: median(values) for label, values in self.runs.items()}


@dataclass(frozen=True, slots=True)
class Results:
    """All rows of one run of the benchmark, and what it ran on."""

    rows: tuple[Row, ...]
    rounds: int
    machine: Mapping[str, object]
    seconds: int

    @property
    def failures(self) -> list[str]:
        return [failure for row in self.rows for failure in row.failures]

    @property
    def labels(self) -> list[str]:
        """What was measured, in the order in which it first appears."""
        return list(dict.fromkeys(label for row in self.rows for label in row.runs))


def alternate(
    things: Sequence[_Named], rounds: int, measure: Callable[[_Named, int], _Measured]
) -> list[tuple[_Named, list[_Measured]]]:
    """Measure each thing once a round. Another one goes first each round, so that none has the better time.

    `measure` is given the thing and the number of the round.
    """
    found: dict[int, list[_Measured]] = {number: [] for number in range(len(things))}
    for turn in range(rounds):
        for step in range(len(things)):
            number = (turn + step) % len(things)
            found[number].append(measure(things[number], turn))
    return [(things[number], values) for number, values in found.items()]
