"""Each embedded registry has a name of its own, by which caches tell it from others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyoci.embedded import create_registry_app, identity


def test_it_stays_and_is_nobody_elses(tmp_path: Path) -> None:
    """Also where many ask for it at once, and where repositories lie beside it."""
    for name in "ab":
        create_registry_app(tmp_path / name, htpasswd=None, at_door=False)
    with ThreadPoolExecutor(16) as threads:
        names = set(threads.map(lambda _: identity(tmp_path / "a"), range(64)))
    assert names == {identity(tmp_path / "a")}
    assert identity(tmp_path / "b") not in names
    assert [path.name for path in (tmp_path / "b").iterdir() if "identity" in path.name] == ["_identity"]


@pytest.mark.parametrize("kept", ["", "x" * 32, "a" * 31])
def test_what_is_none_is_not_taken_for_one(tmp_path: Path, kept: str) -> None:
    """Torn, or somebody else's."""
    (tmp_path / "_identity").write_text(kept)
    assert identity(tmp_path) not in {kept, identity(tmp_path)}


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """Has a new one with each start: what is remembered under the last one counts no more."""
    assert identity(tmp_path / "missing") != identity(tmp_path / "missing")
