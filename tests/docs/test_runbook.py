"""docs/runbook.rst: the log lines, metrics and settings that it names exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT
from tests.test_deploy import known_settings

TEXT = (ROOT / "docs" / "runbook.rst").read_text()
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "pyoci").rglob("*.py")))
TELEMETRY = (ROOT / "docs" / "telemetry.rst").read_text()
# The second column of each row.
CELLS = [row.split("     - ")[0] for row in TEXT.split("   * - ")[1:] for row in row.split("\n     - ")[1:2]]
QUOTED = [literal for cell in CELLS for literal in re.findall(r"``([^`]+)``", cell)]


@pytest.mark.parametrize("literal", sorted(set(QUOTED)))
def test_log_lines_and_metrics_exist(literal: str) -> None:
    """A reader looks for them in the log, and in the metrics."""
    assert f'"{literal}"' in SOURCE or f"class {literal}(" in SOURCE or f"``{literal}``" in TELEMETRY


def test_settings_exist() -> None:
    named = set(re.findall(r"``([A-Z][A-Z_]+[A-Z])(?:=[^`]*)?``", TEXT))
    assert {"PYOCI_REGISTRIES", "PYOCI_THREADS"} <= named
    assert named <= known_settings() | {"TMPDIR"}


def test_rows_are_found() -> None:
    """Nearly every row has a log line or a metric in its second cell."""
    assert len(CELLS) > 15
    assert len(QUOTED) > 15
