"""Which versions lock files name."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from pyoci.errors import InvalidRequest
from pyoci.maintenance.locks import read_lock

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
        ("empty.lock", "", {}),
    ],
)
def test_pins(tmp_path: Path, name: str, text: str, pins: dict[str, set[str]]) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_lock(path) == {project: set(map(Version, versions)) for project, versions in pins.items()}


@pytest.mark.parametrize(
    ("name", "content"), [("uv.lock", b"[[package"), ("uv.lock", b"\xff"), ("requirements.txt", b"\xff\xfe")]
)
def test_no_lock_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"is not a lock file: .* expected uv.lock"):
        read_lock(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"can't be read: No such file or directory; expected uv\.lock"):
        read_lock(tmp_path / "uv.lock")
