"""`pyoci yank`, `unyank` and `delete`."""

from __future__ import annotations

import pytest

from tests.builders import make_sdist, make_wheel
from tests.cli.conftest import Run

WHEEL = "hello_world-1.0-py3-none-any.whl"
FILES = [make_wheel(), make_sdist(), make_wheel(version="2.0")]  # two versions of a project


def yanked(run: Run, index: str) -> dict[str, object]:
    files = run("show", index, "hello-world", "--json").document["files"]
    return {each["filename"]: each["yanked_reason"] or each["yanked"] for each in files}


def test_yank_and_unyank(filled: str, run: Run) -> None:
    """A version with a reason, a file without one."""
    ran = run("yank", filled, "Hello.World==1.0.0", "--reason", "broken")
    assert (ran.code, ran.stdout) == (0, "yanked Hello.World==1.0.0\n")
    assert yanked(run, filled)[WHEEL] == "broken"
    assert run("unyank", filled, "hello-world==1.0").code == 0
    document = run("yank", filled, WHEEL, "--json").document
    assert (document["changed"], document["failed"]) == ([WHEEL], [])
    assert yanked(run, filled) == {
        WHEEL: True,
        "hello_world-1.0.tar.gz": False,
        "hello_world-2.0-py3-none-any.whl": False,
    }


def test_delete_asks(filled: str, run: Run) -> None:
    """Where nobody can answer, --yes is needed."""
    ran = run("delete", filled, WHEEL)
    assert (ran.code, ran.stdout) == (2, "")
    assert "--yes" in ran.stderr
    ran = run("delete", filled, WHEEL, "hello-world==2.0", "--yes")
    assert (ran.code, ran.stdout) == (0, f"deleted {WHEEL}\ndeleted hello-world==2.0\n")
    assert list(yanked(run, filled)) == ["hello_world-1.0.tar.gz"]


@pytest.mark.parametrize("verb", [["yank"], ["unyank"], ["delete", "--yes"]])
def test_one_target_that_is_not_there_stops_no_other(filled: str, run: Run, verb: list[str]) -> None:
    """It is named with its reason; the exit code is that of what is not there."""
    ran = run(*verb, filled, "hello-world==9.0", "other==1.0", "hello-world==2.0", "--json")
    assert ran.code == 4
    assert ran.document["changed"] == ["hello-world==2.0"]
    assert [each["target"] for each in ran.document["failed"]] == ["hello-world==9.0", "other==1.0"]


@pytest.mark.parametrize("target", ["hello-world", "hello-world==", "==1.0", "notes.txt", "x.whl"])
def test_a_wrong_target_changes_nothing(filled: str, run: Run, target: str) -> None:
    """Nor do the right ones beside it."""
    ran = run("delete", filled, "hello-world==1.0", target, "--yes")
    assert (ran.code, ran.stdout) == (2, "")
    assert "expected" in ran.stderr
    assert len(yanked(run, filled)) == 3


def test_a_reason_that_no_page_can_show(filled: str, run: Run) -> None:
    """The index says what it expects."""
    ran = run("yank", filled, "hello-world==1.0", "--reason", "two\nlines")
    assert ran.code == 2
    assert "expected one line" in ran.stderr
    assert set(yanked(run, filled).values()) == {False}
