"""Live tests whose programs are missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.live.environments import CHECKOUT, Environments
from tests.live.programs import Requirements, report_skipped

# The hooks of tests/conftest.py and tests/live/conftest.py, where skopeo is missing.
_CONFTEST = "from tests.conftest import pytest_terminal_summary\n"
_LIVE_CONFTEST = """\
from pathlib import Path
from tests.live.environments import Environments
from tests.live.programs import Requirements
REQUIREMENTS = Requirements(Environments(Path("clients")), {}, find=lambda program: None)
def pytest_configure(config):
    config.addinivalue_line("markers", "live")
def pytest_runtest_setup(item):
    REQUIREMENTS.check(item)
"""
_TESTS = """\
import pytest
@pytest.mark.live("skopeo")
def test_thing(): ...
@pytest.mark.live("skopeo")
@pytest.mark.parametrize("case", [1, 2])
def test_cases(case): ...
"""


@dataclass(frozen=True, slots=True)
class Item:
    """The attributes of a pytest.Item, and of its report, that the rule uses."""

    programs: tuple[str, ...]
    nodeid: str = "tests/live/test_some.py::test_thing"
    user_properties: list[tuple[str, object]] = field(default_factory=list)

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]:
        yield pytest.Mark(name, self.programs, {}, _ispytest=True)


class Terminal:
    """Records what a pytest.TerminalReporter would show of skipped tests."""

    def __init__(self, *skipped: Item) -> None:
        self.stats = {"skipped": skipped}
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(title)

    def write_line(self, line: str) -> None:
        self.lines.append(line)


def make_requirements(environments: Path, found: str | None = None, **environ: str) -> Requirements:
    return Requirements(Environments(environments), environ, find=lambda program: found)


def lines_about(*items: Item) -> list[str]:
    terminal = Terminal(*items)
    report_skipped(terminal)
    return terminal.lines


def test_all_there(tmp_path: Path) -> None:
    """The test runs, and nothing is reported."""
    item = Item(("skopeo", "docker-registry"))
    make_requirements(tmp_path, "/usr/bin/skopeo", CI="true").check(item)
    assert lines_about(item) == []


def test_skipped(tmp_path: Path) -> None:
    """Without CI the test is skipped, and the last lines name the package to install."""
    item = Item(("go",))
    with pytest.raises(pytest.skip.Exception, match="Debian's package golang-go brings it"):
        make_requirements(tmp_path).check(item)
    assert lines_about(item) == [
        "live tests that were skipped",
        "apt-get install golang-go: 1 skipped",
        "    tests/live/test_some.py::test_thing",
    ]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_skipped_by_a_worker(tmp_path: Path, workers: str) -> None:
    """The last lines are the same if xdist's workers run the tests."""
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "conftest.py").write_text(_LIVE_CONFTEST)
    (tmp_path / "live" / "test_some.py").write_text(_TESTS)
    command = [sys.executable, "-m", "pytest", "-n", workers, "-p", "no:cacheprovider", "--rootdir", "."]
    environ = {"PATH": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line]
    start = next(at for at, line in enumerate(lines) if "live tests that were skipped" in line)
    assert lines[start + 1 : start + 4] == [
        "apt-get install skopeo: 3 skipped",
        "    live/test_some.py::test_cases (2 cases)",
        "    live/test_some.py::test_thing",
    ]


def test_failed(tmp_path: Path) -> None:
    """With CI=true the same test fails."""
    with pytest.raises(pytest.fail.Exception, match="skopeo is not installed"):
        make_requirements(tmp_path, CI="true").check(Item(("skopeo",)))


def test_at_hand(tmp_path: Path) -> None:
    """npm is used if it is installed. Otherwise the test is skipped and reported, also with CI=true."""
    item = Item(("npm", "renovate"))
    with pytest.raises(pytest.skip.Exception, match="npm is not installed"):
        make_requirements(tmp_path, CI="true").check(item)
    assert lines_about(item)[1] == "apt-get install npm: 1 skipped"


def test_unknown_program(tmp_path: Path) -> None:
    """A marker with an unknown program is an error, not a reason to skip."""
    with pytest.raises(pytest.fail.Exception, match="'skoepo'"):
        make_requirements(tmp_path, "/usr/bin/skoepo").check(Item(("skoepo",)))


def test_no_pypi(tmp_path: Path) -> None:
    """If clients can't be installed, PyPI is reported as missing. It is tried only once."""
    unusable = tmp_path / "a-file"
    unusable.touch()
    requirements, items = make_requirements(unusable), [Item(("twine",)), Item(("twine",))]
    for item in items:
        with pytest.raises(pytest.skip.Exception):
            requirements.check(item)
    assert lines_about(*items)[1] == "PyPI can't be reached: 2 skipped"
