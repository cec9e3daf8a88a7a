"""What holds for all tests."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings

from tests.live.programs import report_skipped
from tests.workers import has_live_tests, longest_files_first, this_machine, worker_count

# How long one example takes says more about the machine than about the code; pytest-timeout ends what hangs.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


# Collecting makes millions of objects that stay. The collector would look at them again and again.
gc.disable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tables, too, as CI=true does")


def _runs_long(config: pytest.Config) -> bool:
    is_asked_for = config.getoption("--long", default=False) or os.environ.get("CI") == "true"
    return is_asked_for or any("::" in argument for argument in config.args)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """The number of workers that `-n auto` starts; None if xdist's own environment variable says it."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    folder = config.invocation_params.dir
    selected = [folder / argument.split("::")[0] for argument in config.args]
    ignored = [folder / path for path in config.getoption("ignore") or []]
    return worker_count(*this_machine(), live=has_live_tests(selected, ignored))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `long`, unless it is wanted or named on the command line. Workers of xdist
    start with the longest files.
    """
    left_out = [] if _runs_long(config) else [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    if hasattr(config, "workerinput"):
        longest_files_first(items)


def pytest_collection_finish() -> None:
    """The collector leaves alone what was collected, so that collecting before each file takes milliseconds.
    It counts these objects no more and would look at all others far more often by itself: hence the limit.
    """
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 1000)
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Here and not in tests/live: the process that starts xdist's workers reads only this file."""
    report_skipped(terminalreporter)
    if not _runs_long(config):
        terminalreporter.write_line("The long tests were left out; `make test ARGS=--long` runs them, too.")


@pytest.fixture(scope="module", autouse=True)
def _collected() -> None:
    """What other files left to the collector is gone. Harmful JSON takes Python to its recursion limit; if
    the collector comes there, what it finalises fails, and pytest takes that for a failure of the test.
    """
    gc.collect()
