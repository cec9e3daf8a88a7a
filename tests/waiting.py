"""Waiting for what happens a moment later: a line in a log, a worker that ends, a server that is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(found: Callable[[], T | None], what: str, *, seconds: float = 60.0, pause: float = 0.02) -> T:
    """Call `found` until it gives something true, and return that.

    Raises AssertionError, saying `what` was waited for, after so many seconds.
    """
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(pause)
    return result
