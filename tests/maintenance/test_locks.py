"""Which versions lock files name."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from pyoci.errors import InvalidRequest
from pyoci.maintenance.locks import read_lock, read_requirements

UV = """version = 1
[[package]]
name = "Hello.World"
version = "1.0"
source = { registry = "https://example.com/simple" }

[[package]]
name = "hello-world"
version = "2.0"

[[package]]
name = "mine"
source = { editable = "." }
"""
PYLOCK = """lock-version = "1.0"
[[packages]]
name = "hello-world"
version = "1.0"
[[packages]]
name = "from-git"
vcs = { type = "git" }
"""
REQUIREMENTS = """# comment
--index-url https://example.com/
Hello_World[extra]==1.0 ; python_version >= "3.8" \\
    --hash=sha256:00
other>=2
third == 2.*
fourth===3.0  # why
./folder
"""


@pytest.mark.parametrize(
    ("name", "text", "pins"),
    [
        ("uv.lock", UV, {"hello-world": {"1.0", "2.0"}}),
        ("poetry.lock", UV, {"hello-world": {"1.0", "2.0"}}),
        ("pylock.toml", PYLOCK, {"hello-world": {"1.0"}}),
        ("requirements.txt", REQUIREMENTS, {"hello-world": {"1.0"}, "fourth": {"3.0"}}),
    ],
)
def test_pins(tmp_path: Path, name: str, text: str, pins: dict[str, set[str]]) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_lock(path) == {project: set(map(Version, versions)) for project, versions in pins.items()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("uv.lock", b"[[package"),
        ("uv.lock", b"\xff"),
        ("requirements.txt", b"\xff\xfe"),
        ("uv.lock", b"version = " + b"9" * 5000),
    ],
)
def test_no_lock_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"is not a lock file: .* expected uv.lock"):
        read_lock(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"can't be read: No such file or directory; expected uv\.lock"):
        read_lock(tmp_path / "uv.lock")


def test_included_files(tmp_path: Path) -> None:
    """`-r` names a file beside the first one. Files that include each other are read once."""
    (tmp_path / "more").mkdir()
    (tmp_path / "requirements.txt").write_text("-r more/base.txt  # these, too\nother==2.0\n")
    (tmp_path / "more" / "base.txt").write_text("hello-world==1.0\n--requirement=../requirements.txt\n")
    path = tmp_path / "requirements.txt"
    assert read_lock(path) == {"hello-world": {Version("1.0")}, "other": {Version("2.0")}}
    assert set(read_requirements([path])) == {"hello-world", "other"}
    path.write_text("-r absent.txt\n")
    with pytest.raises(InvalidRequest, match=r"absent\.txt can't be read"):
        read_lock(path)


@pytest.mark.parametrize("name", ["uv.lock", "requirements.txt", "environment.yml"])
def test_file_that_pins_nothing(tmp_path: Path, name: str) -> None:
    """A clean-up that keeps what it names would keep nothing."""
    path = tmp_path / name
    path.write_text("# nothing\n")
    with pytest.raises(InvalidRequest, match="pins no version of any project"):
        read_lock(path)
