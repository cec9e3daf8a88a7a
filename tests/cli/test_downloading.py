"""`pyoci download` and `pyoci search`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import make_sdist, make_wheel
from tests.cli.conftest import Run

# Two projects, whose newest version is yanked.
FILES = [
    make_wheel(extra_headers=[("Summary", "Says hello")]),
    make_sdist(),
    make_wheel(version="1.5", extra_headers=[("Summary", "Says hello")]),
    make_wheel(version="2.0rc1"),
    make_wheel(version="3.0"),
    make_wheel("other"),
]
YANKED = [("hello-world", "3.0")]


@pytest.mark.parametrize(
    ("requirement", "files"),
    [
        ("hello-world", ["hello_world-1.5-py3-none-any.whl"]),
        ("Hello.World<1.5", ["hello_world-1.0-py3-none-any.whl", "hello_world-1.0.tar.gz"]),
        ("hello-world==3.0", ["hello_world-3.0-py3-none-any.whl"]),
        ("hello-world>=2.0rc1", ["hello_world-2.0rc1-py3-none-any.whl"]),
        ("hello-world[extra]~=1.0", ["hello_world-1.5-py3-none-any.whl"]),
    ],
)
def test_the_newest_version_that_fits(
    filled: str, run: Run, tmp_path: Path, requirement: str, files: list[str]
) -> None:
    """With all its files, byte for byte; neither yanked ones nor pre-releases unless they are named."""
    ran = run("download", filled, requirement, "-d", tmp_path / "wheels")
    assert (ran.code, ran.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "wheels").iterdir()) == files
    for path in (tmp_path / "wheels").iterdir():
        assert path.read_bytes() == dict(FILES)[path.name]


def test_every_version(filled: str, run: Run, tmp_path: Path) -> None:
    """That fits and isn't yanked."""
    document = run("download", filled, "hello-world", "--all-versions", "-d", tmp_path, "--json").document
    assert {each["version"] for each in document["files"]} == {"1.0", "1.5"}


def test_what_is_there_is_not_downloaded_again(filled: str, run: Run, tmp_path: Path) -> None:
    """Unless its bytes are others."""
    path = tmp_path / "other-1.0-py3-none-any.whl"
    path.write_bytes(b"others")
    assert run("download", filled, "other", "-d", tmp_path, "--json").document["files"][0] == {
        "path": str(path),
        "project": "other",
        "version": "1.0",
        "sha256": run("show", filled, "other", "--json").document["files"][0]["sha256"],
        "was_present": False,
    }
    assert path.read_bytes() == dict(FILES)[path.name]
    assert run("download", filled, "other", "-d", tmp_path).stdout == f"{path} was there\n"


def test_what_is_not_there_stops_nothing_else(filled: str, run: Run, tmp_path: Path) -> None:
    """Each requirement has its reason; nothing half-done is left."""
    ran = run("download", filled, "no-such", "hello-world>9", "other", "-d", tmp_path / "wheels")
    assert ran.code == 1
    assert ran.stdout == f"{tmp_path}/wheels/other-1.0-py3-none-any.whl\n"
    assert "its newest ones are 1.0, 1.5, 2.0rc1, 3.0" in ran.stderr
    assert len(ran.stderr.splitlines()) == 2
    assert len(list((tmp_path / "wheels").iterdir())) == 1
    assert run("download", filled, "no-such", "-d", tmp_path).code == 4


@pytest.mark.parametrize("text", ["", "a b", "hello-world @ https://x/y.whl", "other; python_version<'3'"])
def test_a_wrong_requirement(filled: str, run: Run, text: str) -> None:
    """It is wrong usage."""
    ran = run("download", filled, text)
    assert (ran.code, ran.stdout) == (2, "")
    assert "expected" in ran.stderr


def test_a_directory_that_cannot_be_made(filled: str, run: Run, tmp_path: Path) -> None:
    """One sentence, as for everything else."""
    (tmp_path / "file").write_bytes(b"")
    ran = run("download", filled, "other", "-d", tmp_path / "file" / "wheels")
    assert (ran.code, ran.stdout) == (1, "")
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("word", ["hello", "HELLO_W", "hello*", "*wor?d"])
def test_search(filled: str, run: Run, word: str) -> None:
    """Parts of names, or patterns; with the newest version and what it says it is."""
    head, row = run("search", filled, word).stdout.splitlines()
    assert head.split() == ["PROJECT", "LATEST", "SUMMARY"]
    assert row.split(maxsplit=2) == ["hello-world", "1.5", "Says hello"]
    document = run("search", filled, word, "--json").document
    assert document["projects"] == [{"name": "hello-world", "latest": "1.5", "summary": "Says hello"}]


def test_search_by_names_alone(filled: str, run: Run) -> None:
    """One line a name."""
    assert run("search", filled, "o", "--names").stdout == "hello-world\nother\n"


def test_search_finds_nothing(filled: str, run: Run) -> None:
    """It says so, on stderr."""
    ran = run("search", filled, "nothing")
    assert (ran.code, ran.stdout) == (0, "")
    assert "no project" in ran.stderr
    assert run("search", filled, "nothing", "--json").document["projects"] == []
