"""`pyoci publish`: files, folders and patterns; each file on its own."""

from __future__ import annotations

import hashlib
import json
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


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["", "dry run"])
@pytest.mark.parametrize("aim", ["missing", "lost-1.0-py3-none-any.whl"], ids=["broken", "circular"])
def test_a_link_to_nothing_stops_no_other(
    index: str, run: Run, write: WriteFile, aim: str, dry_run: list[str]
) -> None:
    """It is named with its reason, like a file that is removed after the folder was listed."""
    folder = write(make_wheel()).parent
    link = folder / "lost-1.0-py3-none-any.whl"
    link.symlink_to(folder / aim)
    ran = run("publish", index, folder, "--json", *dry_run)
    assert ran.code == 1
    assert [each["project"] for each in ran.document["published"]] == ["hello-world"]
    assert [each["path"] for each in ran.document["failed"]] == [str(link)]


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


class TestAttestations:
    """Of `--attestations`: the files beside the distributions, as twine and uv send them."""

    def stored(self, folder: Path) -> list[str | None]:
        """What the registry has for each file."""
        blobs = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
        configs = [json.loads(blob) for blob in blobs if blob.startswith(b'{"filename"')]
        return [each.get("attestations") for each in configs]

    def test_are_stored(self, index: str, run: Run, write: WriteFile, tmp_path: Path) -> None:
        """Each as it was written, as one array. They are no files to be published."""
        path = write(make_wheel())
        write((f"{path.name}.publish.attestation", b'{"version": 1}\n'))
        write((f"{path.name}.slsa.attestation", '{"name": "\N{SNOWMAN}"}'.encode()))
        ran = run("publish", index, f"{path.parent}/*", "--attestations")
        assert (ran.code, ran.stderr) == (0, "")
        assert self.stored(tmp_path / "registry") == ['[{"version": 1},{"name": "\N{SNOWMAN}"}]']

    def test_are_not_sent_by_default(self, index: str, run: Run, write: WriteFile, tmp_path: Path) -> None:
        path = write(make_wheel())
        write((f"{path.name}.publish.attestation", b"{}"))
        assert run("publish", index, path).code == 0
        assert self.stored(tmp_path / "registry") == [None]

    @pytest.mark.parametrize("dry", [(), ("--dry-run",)])
    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (None, "has no attestation; expected hello_world-1.0-py3-none-any.whl.publish.attestation"),
            (b"", "is no attestation; expected a JSON object"),
            (b"[]", "is no attestation; expected a JSON object"),
            (b'{"x": "\xff"}', "is no attestation; expected a JSON object"),
            (b"[" * 100_000, "is no attestation; expected a JSON object"),
            (b'{"x": "' + b"y" * (256 * 1024 - 10) + b'"}', "have 262145 bytes; expected at most 262144"),
            (b"x" * 256 * 1024 + b"xx", "is no attestation; expected a JSON object"),
        ],
        ids=["none", "empty", "list", "no UTF-8", "deep", "large", "larger"],
    )
    def test_wrong(
        self,
        index: str,
        run: Run,
        write: WriteFile,
        dry: tuple[str, ...],
        content: bytes | None,
        sentence: str,
    ) -> None:
        """The file isn't published; another one is."""
        path, other = write(make_wheel()), write(make_wheel("other"))
        write((f"{other.name}.publish.attestation", b"{}"))
        if content is not None:
            write((f"{path.name}.publish.attestation", content))
        ran = run("publish", index, path.parent, "--attestations", *dry)
        assert ran.code == 1
        assert sentence in ran.stderr
        assert len(ran.stdout.splitlines()) == 1
