"""A blob that is read in parts: few requests, few bytes, and different support for ranges."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pyoci.errors import (
    InvalidRequest,
    NotFound,
    NotSupported,
    ProtocolError,
    PyOCIError,
    Unauthorized,
    Unreachable,
)
from pyoci.oci.distant import TAIL, DistantBlob
from tests.oci.shelf import BlobShelf

LIMIT = 1024 * 1024
SMALL = random.Random(1).randbytes(5_000)
LARGE = random.Random(2).randbytes(3_000_000)

MakeShelf = Callable[..., BlobShelf]


@pytest.fixture
def make_shelf() -> Iterator[MakeShelf]:
    """Registries of one blob, each on a port of its own."""
    with ExitStack() as running:
        yield lambda *arguments: running.enter_context(BlobShelf(*arguments).running())


def opened(shelf: BlobShelf, **settings: Any) -> DistantBlob:
    return DistantBlob(shelf.session, shelf.repository, shelf.digest, **{"limit": LIMIT, **settings})


@pytest.mark.parametrize(
    ("content", "quirk", "asked"),
    [
        pytest.param(LARGE, "", ["GET bytes=-67584"], id="large"),
        pytest.param(SMALL, "", ["GET bytes=-67584"], id="small"),
        pytest.param(LARGE, "no suffix", ["GET bytes=-67584", "GET bytes=2932416-2999999"], id="no suffix"),
        pytest.param(SMALL, "no suffix", ["GET bytes=-67584"], id="small without suffix"),
        pytest.param(SMALL, "no ranges", ["GET bytes=-67584"], id="small without ranges"),
        pytest.param(
            LARGE,
            "refused suffix",
            ["GET bytes=-67584", "HEAD", "GET bytes=2932416-2999999"],
            id="refused suffix",
        ),
        pytest.param(
            LARGE,
            "first for last",
            ["GET bytes=-67584", "HEAD", "GET bytes=2932416-2999999"],
            id="first for last",
        ),
        pytest.param(b"", "", ["GET bytes=-67584", "HEAD"], id="empty"),
    ],
)
def test_the_end_and_the_size_are_known_at_once(
    make_shelf: MakeShelf, content: bytes, quirk: str, asked: list[str]
) -> None:
    """With one request if the registry supports ranges that count from the end."""
    shelf = make_shelf(content, quirk)
    blob = opened(shelf)
    assert blob.size == len(content)
    blob.seek(-min(TAIL, blob.size), io.SEEK_END)
    assert blob.read() == content[-TAIL:]
    assert shelf.asked == asked
    assert blob.fetched == min(TAIL, len(content))


def test_what_is_read_twice_is_fetched_once(make_shelf: MakeShelf) -> None:
    """Between two known ranges, only the missing bytes are fetched."""
    shelf = make_shelf(LARGE)
    blob = opened(shelf)
    for start, count in ((1000, 30), (1030, 500), (1000, 16000), (2_900_000, 100_000)):
        assert blob.seek(start) == blob.tell() == start
        assert blob.read(count) == LARGE[start : start + count]
        assert blob.tell() == start + count
    assert shelf.asked == ["GET bytes=-67584", "GET bytes=1000-17383", "GET bytes=2900000-2932415"]
    assert blob.requests == 3
    assert blob.fetched == sum(shelf.told) == TAIL + 16384 + 32416


def test_it_is_read_like_any_file(make_shelf: MakeShelf) -> None:
    """Seeking and reading at and around the ends works as in a file in memory."""
    blob, file = opened(make_shelf(LARGE[:100_000])), io.BytesIO(LARGE[:100_000])
    chance = random.Random(3)
    for _ in range(200):
        offset, whence = chance.choice(
            [(chance.randrange(110_000), 0), (-chance.randrange(100_000), 2), (7, 1)]
        )
        assert blob.seek(offset, whence) == file.seek(offset, whence)
        count = chance.choice([0, 1, 100, 70_000, -1])
        assert blob.read(count) == file.read(count)
        assert blob.tell() == file.tell()
    with pytest.raises(OSError, match="before"):
        blob.seek(-200_000, io.SEEK_END)


@pytest.mark.parametrize("quirk", ["no ranges", "no length"])
def test_registry_without_ranges_is_not_supported(make_shelf: MakeShelf, quirk: str) -> None:
    """The whole blob that it sends isn't read, because it may be large."""
    shelf = make_shelf(LARGE, quirk)
    with pytest.raises(NotSupported, match="part of a blob"):
        opened(shelf)
    assert [line.partition(" ")[0] for line in shelf.asked if line != "HEAD"] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("content", "quirk", "kind"),
    [
        pytest.param(LARGE, "next range", ProtocolError, id="another range"),
        pytest.param(LARGE, "two sizes", ProtocolError, id="two sizes"),
        pytest.param(LARGE, "half", PyOCIError, id="cut short"),
        pytest.param(SMALL, "half", PyOCIError, id="small and cut short"),
        pytest.param(SMALL, "other bytes", ProtocolError, id="other bytes"),
        pytest.param(LARGE, "404", NotFound, id="404"),
        pytest.param(LARGE, "gone", NotFound, id="gone"),
        pytest.param(LARGE, "401", Unauthorized, id="401"),
        pytest.param(LARGE, "500", ProtocolError, id="500"),
    ],
)
def test_wrong_answers_and_refusals_are_raised(
    make_shelf: MakeShelf, content: bytes, quirk: str, kind: type[Exception]
) -> None:
    """An answer with other bytes than requested isn't used."""
    shelf = make_shelf(content, quirk)
    with pytest.raises(kind):
        opened(shelf).read(1)
    assert len(shelf.asked) <= 6


def test_bytes_have_a_limit(make_shelf: MakeShelf) -> None:
    """A request over the limit isn't made."""
    shelf = make_shelf(LARGE)
    blob = opened(shelf)
    with pytest.raises(InvalidRequest, match="expected at most 8 parts and 1048576 bytes"):
        blob.read()
    assert len(shelf.asked) == 1


def test_requests_have_a_limit(make_shelf: MakeShelf) -> None:
    """Eight, including the first."""
    shelf = make_shelf(LARGE)
    blob = opened(shelf, limit=len(LARGE))
    for start in range(0, 700_000, 100_000):
        blob.seek(start)
        assert blob.read(1) == LARGE[start : start + 1]
    blob.seek(700_000)
    with pytest.raises(InvalidRequest, match="too much"):
        blob.read(1)
    assert len(shelf.asked) == 8


def test_time_has_a_limit(make_shelf: MakeShelf) -> None:
    """No request begins after thirty seconds."""
    now = [0.0]
    shelf = make_shelf(LARGE)
    blob = opened(shelf, clock=lambda: now[0])
    now[0] = 31
    with pytest.raises(Unreachable, match="in time"):
        blob.read(1)
    assert len(shelf.asked) == 1
