"""Folder: files that arrive, are kept, and are removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pyoci.upstream.folder import Folder, is_arriving


def put(folder: Folder, name: str, content: bytes) -> None:
    reader, writer = folder.begin(name)
    assert writer is not None
    writer.write(content)
    folder.commit(name, writer)
    reader.close()


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "files"


def test_a_file_is_kept_after_its_commit_alone(path: Path) -> None:
    """Until then it can be read by those who wait for it, and one process writes it."""
    folder, other = Folder(path, 1000), Folder(path, 1000)
    reader, writer = folder.begin("ab")
    assert writer is not None
    writer.write(b"content")
    follower, second = other.begin("ab")
    assert second is None
    assert follower.read() == reader.read() == b"content"
    assert is_arriving(follower)
    assert other.kept("ab") is None
    folder.commit("ab", writer)
    assert not is_arriving(follower)
    kept = other.kept("ab")
    assert kept is not None
    with kept, reader, follower:
        assert kept.read() == b"content"
    assert names(path) == ["ab"]


def test_an_abandoned_file_is_gone(path: Path) -> None:
    """Its readers notice, and the next one writes it again."""
    folder = Folder(path, 1000)
    reader, writer = folder.begin("ab")
    assert writer is not None
    writer.write(b"half")
    folder.abandon("ab", writer)
    with reader:
        assert not is_arriving(reader)
    assert names(path) == []
    put(folder, "ab", b"whole")
    assert names(path) == ["ab"]


def test_a_killed_process_leaves_nothing_for_the_next_server(path: Path) -> None:
    """Its lock ended with it. What another process is writing stays."""
    folder = Folder(path, 1000)
    reader, writer = folder.begin("ab")
    assert writer is not None
    (path / "tmp-cd").write_bytes(b"half")
    Folder(path, 1000).make()
    assert names(path) == ["tmp-ab"]
    child = os.fork()
    if child == 0:
        folder.begin("ef")
        os._exit(0)
    os.waitpid(child, 0)
    other, again = folder.begin("ef")
    assert again is not None
    with reader, writer, other, again:
        assert again.read() == b""


def test_the_least_recently_used_file_goes_first(path: Path) -> None:
    """A use counts."""
    long_ago = time.time() - 10_000
    folder = Folder(path, 100)
    for number, name in enumerate(("aa", "bb", "cc")):
        put(folder, name, b"x" * 30)
        os.utime(path / name, (long_ago + number, long_ago + number))
    used = folder.kept("aa")
    assert used is not None
    used.close()
    put(folder, "dd", b"x" * 30)
    assert names(path) == ["aa", "cc", "dd"]
    folder.sweep(60)
    assert len(names(path)) == 1


def test_the_directory_is_read_after_a_part_of_the_limit(path: Path) -> None:
    """Once this process has written a 32nd of it; a look at many files takes long. It then finds what others
    have written.
    """
    folder, long_ago = Folder(path, 3200), time.time() - 10_000
    put(folder, "aa", b"x" * 10)
    (path / "of-another-process").write_bytes(b"x" * 4000)
    os.utime(path / "of-another-process", (long_ago, long_ago))
    put(folder, "bb", b"x" * 90)
    assert names(path) == ["aa", "bb", "of-another-process"]
    put(folder, "cc", b"x" * 20)
    assert names(path) == ["aa", "bb", "cc"]


def test_a_use_counts_after_the_directory_was_read(path: Path) -> None:
    """The file that was the oldest then is no longer."""
    folder, long_ago = Folder(path, 6400), time.time() - 10_000
    path.mkdir(mode=0o700)
    for number, name in enumerate(("aa", "bb", "cc")):
        (path / name).write_bytes(b"x" * 2000)
        os.utime(path / name, (long_ago + number, long_ago + number))
    put(folder, "dd", b"x" * 10)
    used = folder.kept("aa")
    assert used is not None
    used.close()
    (path / "bb").unlink()  # another process has removed it, so there is room
    folder.sweep(1000)
    assert names(path) == ["aa", "cc", "dd"]
    folder.sweep(3000)
    assert names(path) == ["aa", "dd"]


def test_many_files_are_removed_at_once(path: Path) -> None:
    """More than one look keeps in mind, as after the limit was lowered."""
    folder = Folder(path, 10_500)
    path.mkdir(mode=0o700)
    for number in range(10_500):
        (path / f"{number:05}").write_bytes(b"x")
    folder.sweep(10_490)
    assert len(names(path)) == 10
    folder.sweep()
    assert len(names(path)) == 10


def test_a_deleted_directory_is_made_again(path: Path) -> None:
    """A file that was arriving in it is not kept, and breaks nothing."""
    folder = Folder(path, 1000)
    reader, writer = folder.begin("ab")
    assert writer is not None
    writer.write(b"content")
    (path / "tmp-ab").unlink()
    path.rmdir()
    put(folder, "cd", b"other")
    folder.commit("ab", writer)
    with reader:
        assert reader.read() == b"content"
    assert names(path) == ["cd"]
