"""README is short, and its figures are those of the measurements that it links to."""

from __future__ import annotations

import re

from tests.docs.pages import by_docutils, source


def measured(beside: str) -> tuple[str, str]:
    """Cached pages a second, of PyOCI and of `beside`, in the benchmark's table."""
    row = rf"warm page of 100 versions x 2 files, 32 clients \(1/s\) +(\d+) +{re.escape(beside)} +([\d.]+) "
    found = re.search(row, source("benchmarks/README").read_text())
    assert found, beside
    return f"{int(found[1]):,}", f"{float(found[2]):,.0f}"


def test_it_is_two_screens() -> None:
    """It says what, why and how to begin; what is detail has its page."""
    assert len(source("README").read_text().splitlines()) <= 100


def test_its_rates_are_the_benchmarks() -> None:
    """Beside the faster of the two pypiservers."""
    ours, pypiserver = measured("pypiserver, gunicorn")
    _, devpi = measured("devpi-server")
    said = f"it serves {ours} cached pages a second, pypiserver {pypiserver} and devpi {devpi} ("
    assert said in " ".join(source("README").read_text().split())


def test_its_count_of_writes_is_that_of_the_torture_runs() -> None:
    """All were there in the end: tried and survived are the same number."""
    row = r"64 uploads of one version at once, .*?; one server with four workers (\d+) (\d+) "
    found = re.search(row, " ".join(by_docutils("docs/reliability").words))
    assert found
    assert found[1] == found[2]
    assert f"none of {int(found[1]):,} concurrent uploads" in " ".join(by_docutils("README").words)
