"""What becomes of a live test whose program is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.environments import Environments
from tests.live.programs import Requirements


@dataclass(frozen=True, slots=True)
class Item:
    """As much of a pytest.Item as the rule looks at."""

    programs: tuple[str, ...]
    nodeid: str = "tests/live/test_some.py::test_thing"

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]:
        yield pytest.Mark(name, self.programs, {}, _ispytest=True)


class Terminal:
    """Keeps what a pytest.TerminalReporter would show."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(title)

    def write_line(self, line: str) -> None:
        self.lines.append(line)


def make_requirements(environments: Path, found: str | None = None, **environ: str) -> Requirements:
    return Requirements(Environments(environments), environ, find=lambda program: found)


def test_all_there(tmp_path: Path) -> None:
    """A test whose programs are there runs, and nothing is reported."""
    requirements, terminal = make_requirements(tmp_path, "/usr/bin/skopeo", CI="true"), Terminal()

    requirements.check(Item(("skopeo", "docker-registry")))
    requirements.report(terminal)

    assert terminal.lines == []


def test_skipped(tmp_path: Path) -> None:
    """At a desk the test is skipped, and the last lines say which package would bring the program."""
    requirements, terminal = make_requirements(tmp_path), Terminal()

    with pytest.raises(pytest.skip.Exception, match="Debian's package golang-go brings it"):
        requirements.check(Item(("go",)))
    requirements.report(terminal)

    assert terminal.lines == [
        "live tests that were skipped",
        "apt-get install golang-go: 1 skipped",
        "    tests/live/test_some.py::test_thing",
    ]


def test_failed(tmp_path: Path) -> None:
    """With CI=true the same test fails."""
    with pytest.raises(pytest.fail.Exception, match="skopeo is not installed"):
        make_requirements(tmp_path, CI="true").check(Item(("skopeo",)))


def test_at_hand(tmp_path: Path) -> None:
    """npm is used where it is at hand: without it the test is skipped and reported, with CI=true too."""
    requirements, terminal = make_requirements(tmp_path, CI="true"), Terminal()

    with pytest.raises(pytest.skip.Exception, match="npm is not installed"):
        requirements.check(Item(("npm", "renovate")))
    requirements.report(terminal)

    assert terminal.lines[1] == "apt-get install npm: 1 skipped"


def test_unknown_program(tmp_path: Path) -> None:
    """A marker that names a program nobody knows is a mistake, not a reason to skip."""
    with pytest.raises(pytest.fail.Exception, match="'skoepo'"):
        make_requirements(tmp_path, "/usr/bin/skoepo").check(Item(("skoepo",)))


def test_no_pypi(tmp_path: Path) -> None:
    """Clients that can't be installed are reported as PyPI's absence, found out only once."""
    unusable = tmp_path / "a-file"
    unusable.touch()
    requirements, terminal = make_requirements(unusable), Terminal()

    for _ in range(2):
        with pytest.raises(pytest.skip.Exception):
            requirements.check(Item(("twine",)))
    requirements.report(terminal)

    assert terminal.lines[1] == "PyPI can't be reached: 2 skipped"
