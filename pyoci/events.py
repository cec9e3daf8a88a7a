"""What happened, as plain callables that `app` plugs telemetry into. By default nothing listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nobody(event: str, **facts: object) -> None:
    """The default listener."""


@dataclass(frozen=True, slots=True)
class Events:
    """Who listens. `tell` takes the room that speaks, the level, the event and its facts.

    Facts are values that may be logged: never a credential, a token, or a full query.
    """

    tell: Callable[..., None] = _nobody

    def debug(self, room: str, event: str, **facts: object) -> None:
        self.tell(event, room=room, level="debug", **facts)

    def warning(self, room: str, event: str, **facts: object) -> None:
        self.tell(event, room=room, level="warning", **facts)

    def error(self, room: str, event: str, **facts: object) -> None:
        self.tell(event, room=room, level="error", **facts)
