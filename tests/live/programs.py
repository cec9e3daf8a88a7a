"""The programs that the live tests need, where each comes from, and what happens if one is missing."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from tests.live.environments import CLIENTS, Environments, NotInstalled
from tests.live.releases import RELEASES

# The name of a program, as `@pytest.mark.live` has it, to the Debian package that brings it.
DEBIAN_PACKAGES = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "go": "golang-go",
    "redis-server": "redis-server",
    "curl": "curl",
    "npm": "npm",
    "nginx": "nginx",
    "chromium": "chromium",
}
# Programs that neither Debian nor PyPI brings, to what has to be done for each.
OTHERS = {
    "zot": "put zot 2, built from its source, on PATH",
    "oras": "put oras 1.3 on PATH: go install oras.land/oras/cmd/oras@v1.3.0",
}
REMEDY = "remedy"  # the property of a skipped test that says what to install
AT_HAND = {"npm", *OTHERS}  # Debian's npm brings hundreds of packages along
# Debian's Go lies on PATH; the toolchain's own archive unpacks to a folder that often does not. Only root's
# PATH has servers.
SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/go/bin", "/usr/sbin"))


def find(program: str) -> str | None:
    """The path of a program that Debian brings."""
    return shutil.which(program, path=SEARCH)


class Item(Protocol):
    """The attributes of a pytest.Item, and of its report, that are used here."""

    @property
    def user_properties(self) -> list[tuple[str, object]]: ...

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]: ...


class Terminal(Protocol):
    """The attributes of a pytest.TerminalReporter that are used here."""

    @property
    def stats(self) -> Mapping[str, Sequence[Any]]: ...

    def section(self, title: str) -> None: ...

    def write_line(self, line: str) -> None: ...


@dataclass(slots=True)
class Requirements:
    """Checks that the programs of tests are installed."""

    environments: Environments
    environ: Mapping[str, str]
    find: Callable[[str], str | None] = find

    def check(self, item: Item) -> None:
        """Skip or fail `item` if one of the programs in its `live` markers is missing."""
        programs = [program for marker in item.iter_markers("live") for program in marker.args]
        for program in dict.fromkeys(programs):
            remedy, trouble = self._missing(program)
            if remedy is None:
                continue
            if self.environ.get("CI") == "true" and program not in AT_HAND:
                pytest.fail(f"{trouble}; with CI=true that is a failure", pytrace=False)
            item.user_properties.append((REMEDY, remedy))
            pytest.skip(trouble)

    def _missing(self, program: str) -> tuple[str | None, str]:
        """How to install `program` (None if it is there), and what is wrong."""
        if program in CLIENTS or program in RELEASES:
            try:
                self.environments.of(program)
            except NotInstalled as error:
                return f"{error.source} can't be reached", str(error)
            return None, ""
        if program in OTHERS:
            return (None, "") if self.find(program) else (OTHERS[program], f"{program} is not installed")
        package = DEBIAN_PACKAGES.get(program)
        if package is None:
            pytest.fail(
                f"the live marker names {program!r}, which tests/live/programs.py doesn't know", pytrace=False
            )
        if self.find(program) is None:
            return (
                f"apt-get install {package}",
                f"{program} is not installed; Debian's package {package} brings it",
            )
        return None, ""


def report_skipped(terminal: Terminal) -> None:
    """Show the skipped live tests, and what to install for them."""
    skipped: dict[str, list[str]] = {}
    for report in terminal.stats.get("skipped", []):
        for name, remedy in report.user_properties:
            if name == REMEDY:
                skipped.setdefault(remedy, []).append(report.nodeid)
    if not skipped:
        return
    terminal.section("live tests that were skipped")
    for remedy, tests in sorted(skipped.items()):
        terminal.write_line(f"{remedy}: {len(tests)} skipped")
        for test, cases in sorted(Counter(test.partition("[")[0] for test in tests).items()):
            terminal.write_line(f"    {test}" + (f" ({cases} cases)" if cases > 1 else ""))
