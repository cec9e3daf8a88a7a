"""A disk that is full for a large file, in a process: other files are done, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import make_wheel

SMALL, OTHER = make_wheel(), make_wheel("other")
LARGE = make_wheel(version="2.0", files={"hello_world/data.bin": os.urandom(2_000_000)})
ROOM = 1_000_000  # bytes of a file, as for a user with a small quota
_PROGRAM = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, {ROOM}))
from pyoci.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three wheels, one of them too large."""
    made = tmp_path / "packages"
    made.mkdir()
    for name, content in (SMALL, OTHER, LARGE):
        (made / name).write_bytes(content)
    return made


@pytest.fixture
def filled(folder: Path, tmp_path: Path) -> str:
    """An index with the three wheels."""
    address = f"oci:{tmp_path / 'filled'}"
    subprocess.run(
        [sys.executable, "-m", "pyoci", "import", address, folder], check=True, capture_output=True
    )
    return address


def _run(tmp_path: Path, *arguments: object) -> tuple[int, str]:
    """The exit code, and all output, of a process for which the disk is full."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert "Traceback" not in ran.stdout + ran.stderr
    assert list(temporary.iterdir()) == []
    return ran.returncode, ran.stdout + ran.stderr


def _left(directory: Path) -> list[str]:
    """The files of unfinished uploads and of documents that were being written."""
    return [
        path.name
        for path in directory.rglob("*")
        if path.is_file() and (path.parent.name == "_uploads" or path.name.startswith("tmp-"))
    ]


def test_import(folder: Path, tmp_path: Path) -> None:
    """A file has no room in the temporary directory."""
    code, printed = _run(tmp_path, "import", f"oci:{tmp_path / 'target'}", folder)
    assert code == 1
    assert LARGE[0] in printed
    assert "it can't be kept here: File too large" in printed
    assert "2 files imported, 0 were there already, 1 failed" in printed
    assert _left(tmp_path / "target") == []


def test_download(filled: str, tmp_path: Path) -> None:
    directory = tmp_path / "downloaded"
    code, printed = _run(tmp_path, "download", filled, "hello-world", "other", "-d", directory)
    assert code == 1
    assert f"{LARGE[0]}: File too large" in printed
    assert [path.name for path in directory.iterdir()] == [OTHER[0]]


def test_copy(filled: str, tmp_path: Path) -> None:
    """The folder says that it is full, and is asked once. With room again, the next run does the rest."""
    target = f"oci:{tmp_path / 'backup'}"
    code, printed = _run(tmp_path, "copy", filled, target)
    assert code == 1
    assert "the embedded registry's disk is full; nothing was stored" in printed
    assert "2 tags copied, 0 were there already, 1 failed" in printed
    assert _left(tmp_path / "backup") == []
    again = subprocess.run(
        [sys.executable, "-m", "pyoci", "copy", filled, target], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0
    assert again.stdout.startswith("1 tag copied, 2 were there already")
