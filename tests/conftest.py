"""What holds for all tests."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from tests.live.programs import report_skipped

# How long one example takes says more about the machine than about the code; pytest-timeout ends what hangs.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Here and not in tests/live: the process that starts xdist's workers reads only this file."""
    report_skipped(terminalreporter)


@pytest.fixture(scope="module", autouse=True)
def _collected() -> None:
    """What other files left to the collector is gone. Harmful JSON takes Python to its recursion limit; if
    the collector comes there, what it finalises fails, and pytest takes that for a failure of the test.
    """
    gc.collect()
