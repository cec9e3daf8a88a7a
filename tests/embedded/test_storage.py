"""Locks on repositories, and the identity by which caches distinguish registries."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PosixPath

import pytest

from pyoci.embedded import create_registry_app, identity
from pyoci.embedded.errors import Busy
from pyoci.embedded.storage import Layout, locked

CHECKOUT = Path(__file__).parents[2]


def test_the_identity_is_stable_and_unique(tmp_path: Path) -> None:
    """Many callers at once get the same identity; another registry has another one."""
    for name in "ab":
        create_registry_app(tmp_path / name, htpasswd=None, local_only=False)
    with ThreadPoolExecutor(16) as threads:
        names = set(threads.map(lambda _: identity(tmp_path / "a"), range(64)))
    assert names == {identity(tmp_path / "a")}
    assert identity(tmp_path / "b") not in names
    assert [path.name for path in (tmp_path / "b").iterdir() if "identity" in path.name] == ["_identity"]


@pytest.mark.parametrize("kept", ["", "x" * 32, "a" * 31])
def test_a_damaged_identity_is_not_used(tmp_path: Path, kept: str) -> None:
    """A file that holds no identity counts as missing."""
    (tmp_path / "_identity").write_text(kept)
    assert identity(tmp_path) not in {kept, identity(tmp_path)}


def test_a_directory_that_cannot_be_written_has_no_lasting_identity(tmp_path: Path) -> None:
    """Each call returns a new identity, so that no other registry's cache entries are used."""
    assert identity(tmp_path / "missing") != identity(tmp_path / "missing")


class Vanishing(PosixPath):
    """A folder that is removed, if it is empty, right before its content is listed."""

    def iterdir(self) -> Generator[Vanishing, None, None]:
        if self.name == "vanishing":
            self.rmdir()
        return super().iterdir()


def test_a_folder_may_be_removed_while_repositories_are_listed(tmp_path: Path) -> None:
    """The others are found."""
    for name in ("acme/hello/blobs", "acme/vanishing", "zoo/blobs"):
        (tmp_path / name).mkdir(parents=True)
    found = [folder.name for folder in Layout(Vanishing(tmp_path)).folders()]
    assert found == ["acme/hello", "zoo"]
    assert not (tmp_path / "acme/vanishing").exists()


@pytest.mark.parametrize("name", ["lost+found", ".snapshots", "Acme", "a b"])
def test_only_folders_with_the_names_of_repositories_are_listed(tmp_path: Path, name: str) -> None:
    """A file system has folders of its own, some of which only root can read."""
    for folder in (name, "acme/hello", "acme/blobs_"):
        (tmp_path / folder / "blobs").mkdir(parents=True)
    assert [folder.name for folder in Layout(tmp_path).folders()] == ["acme/blobs", "acme/hello"]


def test_waiting_for_a_lock_ends_at_the_limit(tmp_path: Path) -> None:
    """A lock that stays held raises Busy after the limit."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    path = tmp_path / "lock"
    with (
        locked(path, limit=0.0),
        pytest.raises(Busy),
        locked(path, limit=10.0, clock=lambda: now[0], sleep=sleep),
    ):
        pass
    assert 10.0 <= now[0] < 10.1
    with locked(path, limit=0.0):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """The lock of a killed process can be acquired."""
    path = tmp_path / "lock"
    program = (
        "import pathlib, sys, time\n"
        "from pyoci.embedded.storage import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 1.0):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, cwd=CHECKOUT
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(Busy), locked(path, limit=0.0):
        pass
    holder.kill()
    holder.wait(60)
    holder.stdout.close()
    with locked(path, limit=1.0):
        assert os.path.exists(path)
