"""OwnDirectory: made, locked, removed; leftovers of servers that were killed go, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci.cache.address import CacheAddress
from pyoci.cache.files import FileBackend
from pyoci.cache.memory import MemoryBackend
from pyoci.cache.opening import open_backend
from pyoci.cache.own_directory import OwnDirectory, remove_leftovers
from tests.cache.neighbour import CHECKOUT
from tests.cache.processes import ended, forked

# Makes a directory, says where it is, and waits to be killed or told to end.
SERVER = """
import os, sys
from pathlib import Path
from pyoci.cache.own_directory import OwnDirectory
own = OwnDirectory(Path(sys.argv[1]))
(own.path / "values").mkdir()
print(own.path, flush=True)
sys.stdin.read()
"""


def server(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A server, and the directory that it made."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(parent)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_goes_with_its_server(tmp_path: Path) -> None:
    """And lives as long, whoever starts meanwhile."""
    process, path = server(tmp_path)
    with process:
        remove_leftovers(tmp_path)
        assert (path / "values").is_dir()
        process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_servers_goes_at_the_next_start(tmp_path: Path) -> None:
    """That of a living one stays, and so does what isn't ours by its name."""
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
        own = OwnDirectory(tmp_path)
        assert not leftover.exists()
        assert kept.is_dir()
        assert own.path.is_dir()
        assert [other.is_dir() for other in others] == [True, True]
        own.close()
        assert not own.path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_stays(tmp_path: Path) -> None:
    """Whatever its name."""
    path = tmp_path / "pyoci-cache-12345678"
    path.mkdir()
    os.chown(path, 12345, 12345)
    remove_leftovers(tmp_path)
    assert path.is_dir()


def test_is_not_removed_by_a_worker(tmp_path: Path) -> None:
    """Only by the process that made it, and only once."""
    own = OwnDirectory(tmp_path)
    assert ended(forked(own.close)) == 0
    assert own.path.is_dir()
    own.close()
    own.close()
    assert not own.path.exists()


def test_is_what_file_means_without_a_directory() -> None:
    """Two servers have two."""
    one, two = open_backend(CacheAddress()), open_backend(CacheAddress())
    assert isinstance(one, FileBackend)
    assert isinstance(two, FileBackend)
    one.put("key", b"value")
    assert (one.get("key"), two.get("key")) == (b"value", None)
    one.close()
    two.close()
    assert one.directory is not None
    assert not one.directory.exists()


def test_memory_has_none() -> None:
    """memory:// opens nothing."""
    assert isinstance(open_backend(CacheAddress.parse("memory://")), MemoryBackend)
