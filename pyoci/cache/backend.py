"""Backend: what every place where bytes are remembered can do. Knows neither registries nor packages."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Position:
    """How far a journal had come. Equal positions: nothing was recorded in between. Unequal ones don't tell
    that something was, for names may share a journal: ask `since`.

    `epoch` tells one life of the journal from the next: a journal that was lost begins a new one, and no
    position of the old one equals one of the new.
    """

    epoch: str
    count: int


class Backend(Protocol):
    """A place that remembers bytes, and loses them whenever it likes: that costs time, and where
    there is an upstream the knowledge of which names were once the registry's.

    No method raises for a place that fails: `get` then has nothing, `put` does nothing, and `position`
    says None. Keys and names are text of any length and no secret. One is made before the server forks, and
    used by all threads.
    """

    def get(self, key: str) -> bytes | None:
        """What was put under `key`; None where it is gone, or too old."""
        ...

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        """Remember `value`, for `seconds` where given, else as long as there is room."""
        ...

    def discard(self, key: str) -> None:
        """Forget what was put under `key`."""
        ...

    def position(self, name: str) -> Position | None:
        """How far the journal `name` has come, for all who share it; a page asks this each time it is served.

        None where that can't be told: then nothing may be served that a neighbour could have changed.
        """
        ...

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        """The entries recorded after `position`; None where they aren't all there any more."""
        ...

    def record(self, name: str, entry: str) -> None:
        """Record an entry (at most 200 characters, no line break) that everybody sees from now on."""
        ...

    def lock(self, name: str, seconds: float) -> AbstractContextManager[bool]:
        """Hold the lock `name` among all threads, processes and hosts that share this place.

        Gives False where it isn't to be had in `seconds`; whoever holds it and dies blocks nobody for longer
        than 30 seconds. A place that can't be reached still keeps the workers of one server apart.
        """
        ...

    def close(self) -> None:
        """Let go of connections, and of a directory that is nobody else's."""
        ...
