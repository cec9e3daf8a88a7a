"""The results: rows that compare PyOCI with one other thing, and the limits that they must reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

_Measured = TypeVar("_Measured")
_Named = TypeVar("_Named")


class Missed(Exception):
    """A measurement is invalid: a server sent another answer than the one to be measured."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The limit for a row: for its ratio, its difference, or, without a comparison, its value."""

    limit: float
    at_least: bool
    unit: str = ""
    difference: bool = False

    def holds(self, found: float) -> bool:
        return found >= self.limit if self.at_least else found <= self.limit

    def __str__(self) -> str:
        sign = "+" if self.difference else ""
        return f"{'>=' if self.at_least else '<='} {sign}{self.limit:g}{self.unit and f' {self.unit}'}"


def times(limit: float, *, at_least: bool = False) -> Bar:
    """A limit for the ratio to the other value."""
    return Bar(limit, at_least, "x")


def more(limit: float, unit: str) -> Bar:
    """A limit for the difference from the other value."""
    return Bar(limit, at_least=False, unit=unit, difference=True)


def at_most(limit: float, unit: str = "") -> Bar:
    """A limit for the value itself."""
    return Bar(limit, at_least=False, unit=unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `runs` and `others` have every measurement, by round."""

    name: str
    unit: str = ""
    runs: tuple[float, ...]
    beside: str = ""  # what it is compared with; empty: with nothing
    others: tuple[float, ...] = ()
    bar: Bar | None = None
    details: Mapping[str, object] = field(default_factory=dict)  # for results.json alone

    @property
    def value(self) -> float:
        return median(self.runs)

    @property
    def other(self) -> float | None:
        return median(self.others) if self.others else None

    @property
    def compared(self) -> float:
        """The value for the limit: the median of the rounds' comparisons. Values of one round are compared,
        because the machine changes between rounds.
        """
        if not self.others:
            return self.value
        if len(self.runs) != len(self.others):
            return self._compared(self.value, median(self.others))
        return median(self._compared(*pair) for pair in zip(self.runs, self.others, strict=True))

    @property
    def failure(self) -> str | None:
        """A sentence if the limit is missed."""
        if self.bar is None or self.bar.holds(self.compared):
            return None
        beside = f", beside {self.beside}" if self.beside else ""
        return f"{self.name}{beside}: {self.compared:.3g}; expected {self.bar}"

    def _compared(self, value: float, other: float) -> float:
        if self.bar is not None and self.bar.difference:
            return value - other
        return value / other if other else float("inf")


@dataclass(frozen=True, slots=True)
class Results:
    """All rows of one run of the benchmark, and its machine. `broken` has the parts that failed."""

    rows: tuple[Row, ...]
    broken: tuple[str, ...]
    rounds: int
    machine: Mapping[str, object]
    seconds: int

    @property
    def failures(self) -> list[str]:
        return [*self.broken, *(row.failure for row in self.rows if row.failure is not None)]


def alternate(
    things: Sequence[_Named], rounds: int, measure: Callable[[_Named, int], _Measured]
) -> list[tuple[_Named, list[_Measured]]]:
    """Measure each thing once a round. The first one differs in each round, so that none has an advantage.
    `measure` gets the thing and the number of the round.
    """
    found: dict[int, list[_Measured]] = {number: [] for number in range(len(things))}
    for turn in range(rounds):
        for step in range(len(things)):
            number = (turn + step) % len(things)
            found[number].append(measure(things[number], turn))
    return [(things[number], values) for number, values in found.items()]
