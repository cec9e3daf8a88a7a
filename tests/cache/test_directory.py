"""ServerDirectory: created, locked and removed with its server; leftovers of killed servers are removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci.cache.address import CacheAddress, open_backend
from pyoci.cache.directory import ServerDirectory, remove_leftovers
from pyoci.cache.files import FileBackend
from pyoci.cache.memory import MemoryBackend
from tests.cache.neighbour import CHECKOUT
from tests.cache.processes import ended, forked

# Creates a directory, prints its path, and waits to be killed or to reach the end of its input.
SERVER = """
import os, sys
from pathlib import Path
from pyoci.cache.directory import ServerDirectory
own = ServerDirectory(Path(sys.argv[1]))
(own.path / "values").mkdir()
print(own.path, flush=True)
sys.stdin.read()
"""


def server(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A server, and the directory that it created."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(parent)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_exists_as_long_as_its_server(tmp_path: Path) -> None:
    """It stays when another server starts, and is removed when its own ends."""
    process, path = server(tmp_path)
    with process:
        remove_leftovers(tmp_path)
        assert (path / "values").is_dir()
        process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_the_next_start_removes_that_of_a_killed_server(tmp_path: Path) -> None:
    """The directory of a running server stays, and so do other files and directories."""
    killed, leftover = server(tmp_path)
    living, kept = server(tmp_path)
    others = [tmp_path / "pyoci-cache-", tmp_path / "other-12345678"]
    for other in others:
        other.mkdir()
    (tmp_path / "pyoci-cache-notadirx").touch()
    (tmp_path / "pyoci-cache-linkedxx").symlink_to(others[1])
    with killed, living:
        assert leftover.is_dir()
        killed.kill()
        killed.wait(60)
        own = ServerDirectory(tmp_path)
        assert not leftover.exists()
        assert kept.is_dir()
        assert own.path.is_dir()
        assert [other.is_dir() for other in others] == [True, True]
        own.close()
        assert not own.path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_of_another_user_stays(tmp_path: Path) -> None:
    """Although its name matches."""
    path = tmp_path / "pyoci-cache-12345678"
    path.mkdir()
    os.chown(path, 12345, 12345)
    remove_leftovers(tmp_path)
    assert path.is_dir()


def test_is_not_removed_by_a_worker(tmp_path: Path) -> None:
    """Only the process that created it removes it, and only once."""
    own = ServerDirectory(tmp_path)
    assert ended(forked(own.close)) == 0
    assert own.path.is_dir()
    own.close()
    own.close()
    assert not own.path.exists()


def test_is_used_by_file_urls_without_a_path() -> None:
    """Two servers have two directories, and no value in common."""
    one, two = open_backend(CacheAddress()), open_backend(CacheAddress())
    assert isinstance(one, FileBackend)
    assert isinstance(two, FileBackend)
    one.put("key", b"value")
    assert (one.get("key"), two.get("key")) == (b"value", None)
    one.close()
    two.close()
    assert one.directory is not None
    assert not one.directory.exists()


def test_is_not_created_for_memory() -> None:
    """memory:// gives a MemoryBackend."""
    assert isinstance(open_backend(CacheAddress.parse("memory://")), MemoryBackend)
