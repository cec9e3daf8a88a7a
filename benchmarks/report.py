"""What is told in the end: the table, on the terminal and in README.rst, and everything in results.json."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.results import Results, Row
from benchmarks.servers import CORES, PYOCI, PYPISERVER

_FOLDER = Path(__file__).parent
_README = _FOLDER / "README.rst"
_RESULTS = _FOLDER / "results.json"
_START = ".. written by make bench ARGS=--write; what stands from here to the end is replaced"
_BETTER = {True: ", more is better", False: ", less is better", None: ""}


def machine(busy: float) -> dict[str, object]:
    """What the numbers were measured on; `busy` is the load average before."""
    return {
        "cores": CORES,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": round(busy, 2),
        "date": datetime.now(UTC).date().isoformat(),
    }


def text(results: Results) -> str:
    """The table, as reStructuredText, and below it the bars that were missed."""
    facts = results.machine
    head = (
        f"{facts['date']}: {facts['cores']} cores ({facts['processor']}), Python {facts['python']}."
        f" Medians of {results.rounds} runs."
    )
    missed = "".join(f"\n- MISSED: {failure}" for failure in results.failures)
    return f"{head}\n\n{_table(_lines(results))}\n{missed}"


def save(results: Results) -> None:
    """Write results.json."""
    rows = [{**asdict(row), "medians": row.medians} for row in results.rows]
    document = {
        "machine": results.machine,
        "rounds": results.rounds,
        "seconds": results.seconds,
        "rows": rows,
    }
    _RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def write(results: Results) -> None:
    """Put the table into README.rst, in place of the one that is there."""
    kept = _README.read_text().partition(_START)[0]
    _README.write_text(f"{kept}{_START}\n\n{text(results).strip()}\n")


def _lines(results: Results) -> list[list[str]]:
    labels = results.labels
    lines = [["", *labels, f"{PYOCI} / {PYPISERVER}", "bar"]]
    for row in results.rows:
        unit = f" ({row.unit}{_BETTER[row.more_is_better]})" if row.unit else ""
        medians = row.medians
        values = [_number(medians[label]) if label in medians else "" for label in labels]
        lines.append([f"{row.name}{unit}", *values, _ratio(medians), _bar(row)])
    return lines


def _ratio(medians: dict[str, float]) -> str:
    if PYOCI not in medians or medians.get(PYPISERVER, 0) <= 0:
        return ""
    return _number(medians[PYOCI] / medians[PYPISERVER])


def _bar(row: Row) -> str:
    if not row.barred:
        return ""
    return "MISSED" if row.failures else "ok"


def _number(value: float) -> str:
    """Three digits that count, and no more."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    """A simple table of reStructuredText; an empty first cell would join a line to the one above it."""
    filled = [[line[0] or "row", *(cell or "-" for cell in line[1:])] for line in lines]
    widths = [max(len(cell) for cell in column) for column in zip(*filled, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    written = [
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in filled
    ]
    return "\n".join((rule, written[0].rstrip(), rule, *(line.rstrip() for line in written[1:]), rule))


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else os.uname().machine
