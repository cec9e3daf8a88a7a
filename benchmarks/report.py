"""The report: the table on the terminal and in README.rst, and everything in results.json."""

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
from benchmarks.servers import CORES

_FOLDER = Path(__file__).parent
_README = _FOLDER / "README.rst"
_RESULTS = _FOLDER / "results.json"
_START = ".. written by make bench ARGS=--write; what stands from here to the end is replaced"


def machine(busy: float) -> dict[str, object]:
    """The machine of the measurements; `busy` is the load average before them."""
    return {
        "cores": CORES,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": round(busy, 2),
        "date": datetime.now(UTC).date().isoformat(),
    }


def text(results: Results) -> str:
    """The table in reStructuredText, and the limits that were missed."""
    facts = results.machine
    head = (
        f"{facts['date']}: {facts['cores']} cores ({facts['processor']}), Python {facts['python']}."
        f" Medians of {results.rounds} runs,"
        f" {results.seconds} s in all."
    )
    missed = "".join(f"\n- MISSED: {failure}" for failure in results.failures)
    return f"{head}\n\n{_table(_lines(results))}\n{missed}"


def save(results: Results) -> None:
    """Write results.json."""
    rows = [
        {**asdict(row), "median": row.value, "other": row.other, "compared": row.compared, "bar": _bar(row)}
        for row in results.rows
    ]
    document = {
        "machine": results.machine,
        "rounds": results.rounds,
        "seconds": results.seconds,
        "failures": results.failures,
        "rows": rows,
    }
    _RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def write(results: Results) -> None:
    """Replace the table in README.rst."""
    kept = _README.read_text().partition(_START)[0]
    _README.write_text(f"{kept}{_START}\n\n{text(results).strip()}\n")


def _lines(results: Results) -> list[list[str]]:
    lines = [["row", "PyOCI", "beside", "", "PyOCI / beside", "bar", ""]]
    for row in results.rows:
        unit = f" ({row.unit})" if row.unit else ""
        other = "" if row.other is None else _number(row.other)
        compared = "" if row.other is None else _compared(row)
        verdict = "" if row.bar is None else "MISSED" if row.failure else "ok"
        lines.append(
            [f"{row.name}{unit}", _number(row.value), row.beside, other, compared, _bar(row), verdict]
        )
    return lines


def _compared(row: Row) -> str:
    if row.bar is not None and row.bar.difference:
        return f"{row.compared:+.3g}"
    return _number(row.compared)


def _bar(row: Row) -> str:
    return "" if row.bar is None else str(row.bar)


def _number(value: float) -> str:
    """A number with three significant digits."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    """A simple table of reStructuredText. No cell is empty."""
    filled = [[cell or "-" for cell in line] for line in lines]
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
