"""How the tests are spread over processes."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workers import (
    LIVE,
    LONGEST,
    WORKER_MEMORY,
    has_live_tests,
    longest_files_first,
    this_machine,
    worker_count,
)

GIB = 1024**3
TESTS = LIVE.parent


@dataclass(frozen=True)
class Item:
    """As much of a pytest.Item as decides when it runs."""

    path: Path
    is_long: bool = False

    def get_closest_marker(self, name: str) -> str | None:
        return name if self.is_long and name == "long" else None


@pytest.mark.parametrize(
    ("cores", "memory", "live", "expected"),
    [
        pytest.param(1, 8 * GIB, True, 3, id="one core"),
        pytest.param(2, 8 * GIB, True, 5, id="two cores"),
        pytest.param(8, 64 * GIB, True, 17, id="eight cores"),
        pytest.param(2, 3 * GIB, True, 3, id="little memory"),
        pytest.param(2, WORKER_MEMORY - 1, True, 1, id="less memory than one worker may take"),
        pytest.param(1, 8 * GIB, False, 2, id="one core, no live tests"),
        pytest.param(2, 8 * GIB, False, 3, id="two cores, no live tests"),
        pytest.param(8, 64 * GIB, False, 9, id="eight cores, no live tests"),
        pytest.param(8, 3 * GIB, False, 3, id="little memory, no live tests"),
    ],
)
def test_workers_are_more_than_cores_and_fit_into_the_memory(
    cores: int, memory: int, live: bool, expected: int
) -> None:
    """One more than cores without live tests."""
    assert worker_count(cores, memory, live=live) == expected


@pytest.mark.parametrize(
    ("selected", "ignored", "expected"),
    [
        pytest.param([TESTS], [], True, id="all"),
        pytest.param([TESTS.parent], [], True, id="the checkout"),
        pytest.param([LIVE], [], True, id="the live tests"),
        pytest.param([TESTS / "web", LIVE / "test_serve.py"], [], True, id="one file of them"),
        pytest.param([TESTS], [LIVE / "test_serve.py"], True, id="all but one file of them"),
        pytest.param([TESTS], [LIVE], False, id="all others"),
        pytest.param([TESTS / "web", TESTS / "store"], [], False, id="other folders"),
    ],
)
def test_which_runs_have_live_tests(selected: list[Path], ignored: list[Path], expected: bool) -> None:
    assert has_live_tests(selected, ignored) is expected


@pytest.mark.skipif("PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ, reason="the caller names the number")
def test_auto_starts_that_many(pytestconfig: pytest.Config) -> None:
    """`-n auto` asks the tests' own conftest.py, which looks at what is selected."""
    hook = pytestconfig.hook.pytest_xdist_auto_num_workers
    selected = [Path(argument.split("::")[0]).resolve() for argument in pytestconfig.args]
    ignored = [Path(path).resolve() for path in pytestconfig.getoption("ignore") or []]
    live = has_live_tests(selected, ignored)
    assert hook(config=pytestconfig) == worker_count(*this_machine(), live=live)


def test_long_files_start_first() -> None:
    """The longest, live and long tests, then files with many tests; the tests of a file stay together."""
    few, many, live, lives = Path("few.py"), Path("many.py"), LIVE / "test_a.py", LIVE / "test_b.py"
    long = [Item(Path("long.py")), Item(Path("long.py"), is_long=True), Item(Path("long.py"))]
    second, first = LIVE / LONGEST[1], LIVE / LONGEST[0]
    items = [*map(Item, [few, few, many, many, many, lives, lives, second, *[first] * 4]), *long, Item(live)]
    longest_files_first(items)
    expected = [*[first] * 4, second, live, lives, lives, *(each.path for each in long)]
    assert [item.path for item in items] == [*expected, many, many, many, few, few]


def test_the_longest_files_exist() -> None:
    """One that is renamed would start last again."""
    assert [name for name in LONGEST if not (LIVE / name).is_file()] == []


def test_files_of_one_size_keep_their_order() -> None:
    """It is random, and the tests of a file stay together."""
    paths = [Path(f"{number}.py") for number in random.sample(range(20), 20)]
    items = [Item(path) for path in paths for _ in range(2)]
    wanted = list(items)
    longest_files_first(items)
    assert items == wanted
