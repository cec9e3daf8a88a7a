"""`pyoci list` and `pyoci show`, straight in a registry and through a server."""

from __future__ import annotations

import hashlib

import pytest

from pyoci.library import Anonymous, open_index
from tests.builders import make_sdist, make_wheel
from tests.cli.conftest import Run, WriteFile

WHEEL = make_wheel(requires_python=">=3.8")
# Two projects, a version of one of them yanked.
FILES = [WHEEL, make_sdist(), make_wheel(version="2.0"), make_wheel("other")]
YANKED = [("hello-world", "2.0")]


def test_list(filled: str, run: Run) -> None:
    """One project a line, which other programs can read, too."""
    ran = run("list", filled)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "hello-world\nother\n", "")
    document = run("list", filled, "--json").document
    assert document == {"index": filled, "projects": ["hello-world", "other"], "versions": None}


def test_list_of_versions(filled: str, run: Run) -> None:
    """The newest one first for people, the oldest first in the document."""
    head, newer, older = run("list", filled, "hello-world").stdout.splitlines()
    assert head.split() == ["VERSION", "FILES", "SIZE", "PUBLISHED"]
    assert newer.startswith("2.0 ")
    assert newer.endswith("yanked")
    assert older.split()[:2] == ["1.0", "2"]
    versions = run("list", filled, "hello-world", "--json").document["versions"]
    assert [(each["version"], each["files"], each["yanked"]) for each in versions] == [
        ("1.0", 2, False),
        ("2.0", 1, True),
    ]


def test_an_empty_index_says_so(index: str, run: Run) -> None:
    """On stderr: stdout has no project."""
    ran = run("list", index)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "", f"{index} has no projects\n")


def test_show(filled: str, run: Run) -> None:
    """Every file with its whole hash, in lines as long as they are."""
    lines = run("show", filled, "Hello_World").stdout.splitlines()
    sha256 = hashlib.sha256(WHEEL[1]).hexdigest()
    assert lines[1].split()[0] == WHEEL[0]
    assert f">=3.8   {sha256}" in lines[1]
    assert lines[3].endswith("broken")


def test_show_a_version(filled: str, run: Run) -> None:
    """Any spelling of it."""
    document = run("show", filled, "hello-world==2.0.0", "--json").document
    (file,) = document["files"]
    assert (document["latest"], document["project"]) == ("1.0", "hello-world")
    assert (file["version"], file["yanked"], file["yanked_reason"]) == ("2.0", True, "broken")
    assert file["upload_time"].endswith("Z")


def test_labels(index: str, run: Run, write: WriteFile) -> None:
    """A registry has them; a server doesn't tell them."""
    classifier = ("Classifier", "PyOCI :: Label :: org.opencontainers.image.licenses :: MIT")
    with open_index(index, Anonymous(), environ={}) as opened:
        opened.publish(write(make_wheel("labelled", extra_headers=[classifier])))
        kind = opened.kind
    (file,) = run("show", index, "labelled==1.0", "--json").document["files"]
    expected = {
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.title": "labelled",
        "org.opencontainers.image.version": "1.0",
    }
    assert file["labels"] == (expected if kind == "registry" else None)
    assert ("licenses = MIT" in run("show", index, "labelled==1.0").stdout) is (kind == "registry")


@pytest.mark.parametrize("project", ["no-such", "hello-world==3.0"])
def test_what_is_not_there(filled: str, run: Run, project: str) -> None:
    """The exit code tells it from other failures."""
    ran = run("show", filled, project, "--json")
    assert (ran.code, ran.stdout) == (4, "")
    assert len(ran.stderr.splitlines()) == 1
