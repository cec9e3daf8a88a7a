"""Commands that the benchmark measures as a whole."""

from __future__ import annotations

import sys

import pytest

from benchmarks.commands import run
from benchmarks.results import Missed


def test_the_peak_is_that_of_the_command() -> None:
    """Not that of this process, which has more: the memory is freed again before the command ends."""
    here = b"x" * 400_000_000
    code = "import time; a = bytearray(200_000_000); time.sleep(0.5); del a; time.sleep(0.5)"
    ran = run([sys.executable, "-c", code], {})
    assert 200_000_000 < ran.peak < len(here)


def test_its_time() -> None:
    ran = run([sys.executable, "-c", "import time; time.sleep(0.5); sum(range(5_000_000))"], {})
    assert ran.seconds >= 0.5
    assert 0 < ran.cpu < ran.seconds


def test_a_failure_is_told() -> None:
    with pytest.raises(Missed, match="ended with 3: too bad"):
        run([sys.executable, "-c", "print('too bad'); raise SystemExit(3)"], {})
