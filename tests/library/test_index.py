"""What an index does, the same in a registry, behind a server, and in the embedded registry's directory."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from pyoci.errors import AlreadyExists, InvalidRequest, NotFound, ProtocolError
from pyoci.library import File, Index
from tests.builders import make_sdist, make_wheel
from tests.library.conftest import WriteFile

HELLO = "hello_world-1.0-py3-none-any.whl"


def content_of(index: Index, file: File) -> bytes:
    with index.open_file(file) as pieces:
        return b"".join(pieces)


def test_published_files_are_listed_with_all_that_is_known(index: Index, write: WriteFile) -> None:
    """Names, sizes, hashes, times, Requires-Python: the same in every way."""
    wheel = make_wheel(requires_python=">=3.8")
    published = index.publish(write(wheel))
    index.publish(write(make_sdist()))
    assert (published.filename, published.sha256) == (HELLO, hashlib.sha256(wheel[1]).hexdigest())

    assert index.projects() == ("hello-world",)
    project = index.project("Hello.World")
    assert (project.name, project.versions, project.latest) == ("hello-world", ("1.0",), "1.0")
    found, sdist = project.files
    assert (found.filename, found.version, found.size) == (HELLO, "1.0", len(wheel[1]))
    assert (found.sha256, found.requires_python) == (published.sha256, ">=3.8")
    assert found.upload_time is not None
    assert abs(found.upload_time - datetime.now(UTC)) < timedelta(hours=1)
    assert found.core_metadata is not None
    assert (found.yanked, sdist.yanked, sdist.filename) == (None, None, "hello_world-1.0.tar.gz")


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_a_file_comes_back_byte_for_byte(index: Index, write: WriteFile, size: int) -> None:
    """Small files are read whole, large ones are streamed."""
    wheel = make_wheel(files={"large.bin": os.urandom(size)})
    moved: list[int] = []
    index.publish(write(wheel), moved.append)
    assert sum(moved) == len(wheel[1])
    (file,) = index.project("hello-world").files
    assert content_of(index, file) == wheel[1]


def test_an_identical_file_may_be_published_again(index: Index, write: WriteFile) -> None:
    """Another file of the same name may not."""
    path = write(make_wheel())
    index.publish(path)
    index.publish(path)
    with pytest.raises(AlreadyExists, match="File already exists"):
        index.publish(write(make_wheel(files={"other.py": b"1"})))


def test_a_broken_file_is_refused_and_nothing_is_stored(index: Index, write: WriteFile) -> None:
    """The sentence says what was expected."""
    with pytest.raises(InvalidRequest, match="expected"):
        index.publish(write((HELLO, b"this is no zip")))
    with pytest.raises(InvalidRequest, match=r"notes\.txt"):
        index.publish(write(("notes.txt", b"")))
    with pytest.raises(InvalidRequest, match="nowhere"):
        index.publish(write(make_wheel()).with_name("nowhere.whl"))
    assert index.projects() == ()


def test_yank_and_take_it_back(index: Index, write: WriteFile) -> None:
    """With a reason, without one; a version, a file."""
    index.publish(write(make_wheel()))
    index.publish(write(make_sdist()))
    index.yank("hello-world", "1.0", "broken")
    assert [file.yanked for file in index.project("hello-world").files] == ["broken", "broken"]
    index.unyank("hello-world", "1.0")
    assert [file.yanked for file in index.project("hello-world").files] == [None, None]
    index.yank("hello-world", HELLO)
    assert [file.yanked for file in index.project("hello-world").files] == ["", None]


def test_delete(index: Index, write: WriteFile) -> None:
    """A file, or a version with all its files."""
    index.publish(write(make_wheel()))
    index.publish(write(make_sdist()))
    index.publish(write(make_wheel(version="2.0")))
    index.delete("hello-world", HELLO)
    assert index.project("hello-world").files[0].filename == "hello_world-1.0.tar.gz"
    index.delete("hello-world", "1.0")
    assert index.project("hello-world").versions == ("2.0",)
    with pytest.raises(NotFound):
        index.delete("hello-world", "3.0")


def test_what_is_not_there_is_not_found(index: Index) -> None:
    """The sentence names the project."""
    with pytest.raises(NotFound, match="no-such"):
        index.project("no-such")
    with pytest.raises(NotFound):
        index.yank("no-such", "1.0")


def test_a_file_that_changed_is_not_taken_for_the_one_on_the_page(index: Index, write: WriteFile) -> None:
    """Its bytes are compared with the hash that the page had."""
    index.publish(write(make_wheel()))
    (old,) = index.project("hello-world").files
    index.delete("hello-world", "1.0")
    index.publish(write(make_wheel(files={"other.py": b"1"})))
    with pytest.raises((NotFound, ProtocolError), match=HELLO):
        content_of(index, old)
