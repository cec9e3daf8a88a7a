"""The duration of tests that could go on without end: TORTURE_SECONDS, by default a quarter of an hour."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

SECONDS = float(os.environ.get("TORTURE_SECONDS", "900"))


def rounds(seconds: float = SECONDS) -> Iterator[int]:
    """0, 1, 2 and so on, until the time is over."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        yield number
        number += 1
