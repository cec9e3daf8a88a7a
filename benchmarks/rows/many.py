"""A page of ten thousand files: the time to build and render it."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.environments import CHECKOUT
from benchmarks.many import HTML, JSON
from benchmarks.results import Missed, Row, at_most, times
from benchmarks.servers import Stage
from benchmarks.wheels import MB

_TIMEOUT = 120  # seconds
_ABOUT = "page of 10,000 files, one version changed"


def many_rows(stage: Stage, rounds: int) -> list[Row]:
    """Compared with json.dumps of the same structure in the same process."""
    found = _measured(stage, rounds)
    dumps = tuple(seconds * 1000 for seconds in found["dumps"])
    return [
        *(
            Row(
                name=f"{_ABOUT}, {shape}",
                unit="ms",
                runs=tuple(seconds * 1000 for seconds in found[accept]),
                beside="json.dumps",
                others=dumps,
                bar=times(limit),
            )
            for shape, accept, limit in (("JSON", JSON, 3), ("HTML", HTML, 6))
        ),
        Row(
            name="page of 10,000 files, memory that 20 more take",
            unit="MB",
            runs=(found["grown"][0] / MB,),
            bar=at_most(5, "MB"),
        ),
    ]


def _measured(stage: Stage, rounds: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.many", str(rounds)]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
        env={"TMPDIR": str(stage.folder)},
    )
    if done.returncode != 0:
        raise Missed(f"benchmarks.many failed: {done.stderr[-2000:].strip()}")
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found
