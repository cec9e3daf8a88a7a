"""Notices: what OpenTelemetry's SDK complains of becomes a line of our log, now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

_PAUSE = 600.0  # seconds between two lines: a collector that is down is no news
_LOGGER = "opentelemetry"
_TOLD = ("exporter", "sdk")


class Notices(logging.Handler):
    """Tells that telemetry is lost, and of which kind; never the text of a complaint, in which a collector
    may repeat the credentials that it was sent.
    """

    def __init__(self, tell: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._clock = clock
        self._next = float("-inf")

    def take_over(self) -> None:
        """Become the only one who hears of the SDK. Of what it thinks of callers' headers nobody does."""
        logger = logging.getLogger(_LOGGER)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        for part in _TOLD:
            logging.getLogger(f"{_LOGGER}.{part}").handlers = [self]
        # The SDK says so for each span that it drops, which costs more than to make one.
        logging.getLogger(f"{_LOGGER}.sdk._shared_internal").setLevel(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + _PAUSE
            parts: tuple[Any, ...] = record.args if isinstance(record.args, tuple) else ()
            errors = [part for part in parts if isinstance(part, BaseException)]
            self._tell(
                "telemetry is being lost",
                room="telemetry",
                level="warning",
                source=record.name.removeprefix(f"{_LOGGER}."),
                status=next((part for part in parts if isinstance(part, int)), None),
                error=type(errors[0]).__name__ if errors else None,
            )
