"""`pyoci publish`: files, folders and patterns; each file on its own."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import make_sdist, make_wheel
from tests.cli.conftest import Run, WriteFile


def test_a_folder(index: str, run: Run, write: WriteFile) -> None:
    """Its wheels and sdists; other files in it are not meant."""
    wheel = make_wheel()
    folder = write(wheel).parent
    write(make_sdist())
    write(("notes.txt", b"notes"))
    ran = run("publish", index, folder)
    assert (ran.code, ran.stderr) == (0, "")
    assert set(ran.stdout.splitlines()) == {f"published {wheel[0]}", "published hello_world-1.0.tar.gz"}
    document = run("publish", index, folder, "--json").document
    assert {each["sha256"] for each in document["published"]} > {hashlib.sha256(wheel[1]).hexdigest()}
    assert (document["failed"], document["dry_run"]) == ([], False)
    assert run("list", index).stdout == "hello-world\n"


def test_patterns_and_signatures(index: str, run: Run, write: WriteFile) -> None:
    """A pattern in quotes; what twine signs is passed over; a file that is named twice goes once."""
    path = write(make_wheel())
    write(make_wheel(version="2.0"))
    signature = write((f"{path.name}.asc", b"signature"))
    ran = run("publish", index, f"{path.parent}/*.whl", path, signature)
    assert (ran.code, len(ran.stdout.splitlines()), ran.stderr) == (0, 2, "")


def test_one_bad_file_stops_no_other(index: str, run: Run, write: WriteFile) -> None:
    """It is named with its reason, and the exit code tells."""
    good = write(make_wheel())
    bad = write(("broken-1.0-py3-none-any.whl", b"no zip"))
    taken = write(make_wheel("taken"))
    assert run("publish", index, taken).code == 0
    taken.write_bytes(make_wheel("taken", files={"other.py": b"1"})[1])
    ran = run("publish", index, good.parent, "missing.whl", "none/*.whl", "--json")
    assert ran.code == 1
    assert [each["project"] for each in ran.document["published"]] == ["hello-world"]
    reasons = {each["path"]: each["reason"] for each in ran.document["failed"]}
    assert set(reasons) == {str(bad), str(taken), "missing.whl", "none/*.whl"}
    assert "already exists" in reasons[str(taken)]
    assert "expected" in reasons["missing.whl"]
    assert run("list", index).stdout == "hello-world\ntaken\n"

    ran = run("publish", index, bad)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"{bad}: ")
    assert len(ran.stderr.splitlines()) == 1


def test_an_empty_folder_is_a_failure(index: str, run: Run, tmp_path: Path) -> None:
    """A build that made nothing should not look published."""
    (tmp_path / "dist").mkdir()
    ran = run("publish", index, tmp_path / "dist")
    assert (ran.code, ran.stdout) == (1, "")
    assert "has no wheel and no sdist" in ran.stderr


def test_a_dry_run_writes_nothing(index: str, run: Run, write: WriteFile) -> None:
    """It verifies the files, and sees what is taken."""
    good = write(make_wheel())
    write(("broken-1.0-py3-none-any.whl", b"no zip"))
    taken = write(make_wheel("taken"))
    run("publish", index, taken)
    taken.write_bytes(make_wheel("taken", files={"other.py": b"1"})[1])
    ran = run("publish", index, good.parent, "--dry-run")
    assert (ran.code, ran.stdout) == (1, f"would publish {good.name}\n")
    assert len(ran.stderr.splitlines()) == 2
    assert run("list", index).stdout == "taken\n"


def test_many_files(index: str, run: Run, write: WriteFile) -> None:
    """Side by side, several of one version among them; all of them are there afterwards."""
    for number in range(6):
        write(make_wheel("many", f"1.{number}"))
        write(make_wheel("many", "2.0", tag=f"py3{number}-none-any"))
        write(make_sdist("many", f"1.{number}"))
    folder = write(make_wheel()).parent
    assert run("publish", index, folder).code == 0
    assert len(run("show", index, "many", "--json").document["files"]) == 18


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_no_bars_without_a_terminal(index: str, run: Run, write: WriteFile, json: list[str]) -> None:
    """Logs of CI stay readable."""
    ran = run("publish", index, write(make_wheel()), *json)
    assert ran.stderr == ""
    assert "\x1b" not in ran.stdout


@pytest.mark.parametrize("no_color", ["", "1"])
def test_bars_on_a_terminal(server: str, write: WriteFile, no_color: str) -> None:
    """One for each file and one for all, which leave nothing but the lines; NO_COLOR takes the colours."""
    wheel = write(make_wheel(files={"large.bin": os.urandom(2_000_000)}))
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": no_color}
    process = subprocess.Popen(
        [sys.executable, "-m", "pyoci", "publish", f"{server}/acme", wheel],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    text = shown.decode()
    assert text.endswith(f"published {wheel.name}\r\n")
    assert "2.0/2.0 MB" in text
    assert ("\x1b[32m" in text) is not bool(no_color)
