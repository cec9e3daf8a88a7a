"""The command: start the servers, measure the rows, print the report."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.environments import NotInstalled
from benchmarks.results import Missed, Results, Row
from benchmarks.rows import ROWS
from benchmarks.servers import Stage

_LIMIT = 900  # seconds for everything

Measure = Callable[[Stage, int], list[Row]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. The exit status is 1 if a limit was missed or a part failed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.rst")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each measurement (default: 3)")
    parser.add_argument("--only", choices=tuple(ROWS), action="append", help="only these; may be repeated")
    chosen = parser.parse_args(arguments)
    end_in_time()
    results = measured(chosen.only or tuple(ROWS), max(chosen.rounds, 1))
    print(f"\n{report.text(results)}")
    report.save(results)
    if chosen.write:
        report.write(results)
    return 1 if results.failures else 0


def measured(chosen: Sequence[str], rounds: int, groups: Mapping[str, Measure] = ROWS) -> Results:
    """The rows of the chosen groups. A group that can't be measured, or that runs when the time is over,
    is named in the results.
    """
    started, busy = time.monotonic(), os.getloadavg()[0]
    rows: list[Row] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pyoci-bench-") as folder, Stage(Path(folder)) as stage:
        for name in chosen:
            began = time.monotonic()
            print(f"{name} ...", end="", file=sys.stderr, flush=True)
            try:
                with stage.scene():
                    rows += groups[name](stage, rounds)
            except (NotInstalled, Missed, AssertionError, OSError) as exc:
                print(f" {exc}", file=sys.stderr)
                broken.append(f"{name} could not be measured")  # the table is kept, and names no paths
            except _TooLong:
                broken.append(f"{name} and what follows could not be measured: {_LIMIT} s are over")
                break
            print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - started)
    return Results(tuple(rows), tuple(broken), rounds, report.machine(busy), seconds)


class _TooLong(BaseException):
    """The time limit is over. What was measured before is reported."""


def end_in_time() -> None:
    """End after a time limit, and stop the servers however this program ends."""

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGALRM:
            raise _TooLong
        sys.exit(128 + number)

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    signal.alarm(_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
