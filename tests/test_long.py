"""Which tests run: those that are marked `long` only where they are wanted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LONG = "tests/flows/test_killed.py"
NAMED = f"{LONG}::test_at_each_request"


def collect(*arguments: str, **environ: str) -> str:
    """What pytest prints of the tests that it would run."""
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    root = Path(__file__).parent.parent
    return subprocess.run(
        command, cwd=root, env={**inherited, **environ}, capture_output=True, text=True, timeout=250
    ).stdout


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        pytest.param((LONG, "--long"), {}, id="by an option"),
        pytest.param((LONG,), {"CI": "true"}, id="in CI"),
        pytest.param((NAMED,), {}, id="by its name"),
    ],
)
def test_a_long_test_runs_where_it_is_wanted(arguments: tuple[str, ...], environ: dict[str, str]) -> None:
    """It is collected, and nothing is said to be left out."""
    output = collect(*arguments, **environ)
    assert NAMED in output
    assert "left out" not in output


def test_a_long_test_is_left_out_otherwise() -> None:
    """The output says so, and how to run it."""
    output = collect(LONG)
    assert NAMED not in output
    assert "make test ARGS=--long" in output
