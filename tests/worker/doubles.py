"""A clock that a test moves, and a listener to events."""

from __future__ import annotations

from typing import Any

from pyoci.events import Events


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.counted: list[tuple[object, ...]] = []
        self.events = Events(log=self._log, count=lambda *values: self.counted.append(values))

    def _log(self, event: str, **facts: object) -> None:
        self.lines.append({"event": event, **facts})
