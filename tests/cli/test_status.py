"""`pyoci status`, straight in a registry and through a server."""

from __future__ import annotations

import pytest

from tests.builders import make_wheel
from tests.cli.conftest import Run, WriteFile


@pytest.fixture
def filled(index: str, run: Run, write: WriteFile) -> str:
    assert run("publish", index, write(make_wheel())).code == 0
    return index


def test_set_and_show(filled: str, run: Run) -> None:
    """With a reason and without, and lifted."""
    ran = run("status", filled, "Hello.World")
    assert (ran.code, ran.stdout) == (0, "hello-world is active\n")
    ran = run("status", filled, "hello-world", "archived", "--reason", "use hello-planet")
    assert (ran.code, ran.stdout) == (0, "hello-world is archived: use hello-planet\n")
    document = run("status", filled, "hello-world", "--json").document
    assert (document["status"], document["reason"]) == ("archived", "use hello-planet")
    document = run("status", filled, "hello-world", "active", "--json").document
    assert (document["status"], document["reason"]) == ("active", None)


def test_an_archived_project_takes_no_files(filled: str, run: Run, write: WriteFile) -> None:
    """`publish` says why."""
    run("status", filled, "hello-world", "archived", "--reason", "use hello-planet")
    ran = run("publish", filled, write(make_wheel(version="2.0")))
    assert ran.code == 3
    assert "hello-world is archived: use hello-planet; it takes no uploads" in ran.stderr


def test_a_quarantined_project_gives_no_files(filled: str, run: Run) -> None:
    """`show` says so; what is to be deleted is named by its version."""
    run("status", filled, "hello-world", "quarantined", "--reason", "malware")
    document = run("show", filled, "hello-world", "--json").document
    assert (document["status"], document["status_reason"]) == ("quarantined", "malware")
    assert document["files"] == []
    assert "hello-world is quarantined: malware\n" in run("show", filled, "hello-world").stdout
    assert run("download", filled, "hello-world").code != 0
    assert run("delete", filled, "hello-world==1.0", "--yes").code == 0
    assert run("status", filled, "hello-world").stdout == "hello-world is quarantined: malware\n"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("hello-world", "gone"), 2, "archived"),
        (("hello-world", "--reason", "why"), 2, "expected a STATUS"),
        (("hello-world", "archived", "--reason", "two\nlines"), 2, "expected one line"),
        (("other",), 4, "no project other"),
        (("other", "archived"), 4, "no project other"),
        (("?", "archived"), 2, "expected"),
    ],
)
def test_bad_input(filled: str, run: Run, words: tuple[str, ...], code: int, sentence: str) -> None:
    """One sentence, and nothing is changed."""
    ran = run("status", filled, *words)
    assert (ran.code, ran.stdout) == (code, "")
    assert sentence in ran.stderr
    assert run("status", filled, "hello-world").stdout == "hello-world is active\n"
