"""Spool: bytes of a body, in order, within a limit, and discarded on close."""

from __future__ import annotations

import errno
import io
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import BinaryIO

import pytest

from pyoci.worker.spool import IN_MEMORY, Allowance, NoRoom, Spool

MUCH = random.Random(1).randbytes(4 * IN_MEMORY)


class FullDisk(io.BytesIO):
    """A file on a full disk."""

    def write(self, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def make_spool() -> Iterator[Callable[..., Spool]]:
    """Makes spools, which are closed after the test."""
    with ExitStack() as stack:

        def make(allowance: Allowance, *rest: Callable[[], BinaryIO]) -> Spool:
            return stack.enter_context(closing(Spool(allowance, *rest)))

        yield make


def drained(spool: Spool, size: int = 10_000) -> bytes:
    parts = []
    while piece := spool.take(size):
        parts.append(piece)
    return b"".join(parts)


@pytest.mark.parametrize("size", [1000, IN_MEMORY, len(MUCH)])
def test_in_order(size: int, make_spool: Callable[..., Spool]) -> None:
    """From memory and from the file."""
    spool = make_spool(Allowance(len(MUCH)))
    for start in range(0, len(MUCH), size):
        spool.append(MUCH[start : start + size])
    assert len(spool) == len(MUCH)
    assert drained(spool) == MUCH
    assert (len(spool), spool.take(1)) == (0, b"")


def test_taken_in_between(make_spool: Callable[..., Spool]) -> None:
    """A thread takes some bytes, and more are added."""
    spool = make_spool(Allowance(len(MUCH) + 4))
    spool.append(MUCH)
    assert spool.take(10) == MUCH[:10]
    spool.append(b"more")
    assert drained(spool) == MUCH[10:] + b"more"


def test_little_needs_no_room(make_spool: Callable[..., Spool]) -> None:
    """It is kept in memory."""
    spool = make_spool(Allowance(0))
    assert spool.can_take(IN_MEMORY)
    spool.append(MUCH[:IN_MEMORY])
    assert (spool.on_disk, spool.can_take(1)) == (0, False)
    assert drained(spool) == MUCH[:IN_MEMORY]


def test_limit(make_spool: Callable[..., Spool]) -> None:
    """It is shared by all spools, and released on close."""
    allowance = Allowance(len(MUCH))
    first, second = make_spool(allowance), make_spool(allowance)
    first.append(MUCH)
    assert not second.can_take(IN_MEMORY + 1)
    first.close()
    second.append(MUCH)
    assert drained(second) == MUCH
    second.close()
    assert allowance.has(len(MUCH))


def test_full_disk(make_spool: Callable[..., Spool]) -> None:
    """The bytes are held in memory after all others, and the limit is released."""
    allowance = Allowance(len(MUCH))
    made: list[BinaryIO] = [FullDisk()]
    spool = make_spool(allowance, made.pop)
    spool.append(MUCH[:1000])
    with pytest.raises(NoRoom):
        spool.append(MUCH[1000:])
    assert allowance.has(len(MUCH))
    assert drained(spool) == MUCH


def test_room_again(make_spool: Callable[..., Spool]) -> None:
    """The held bytes go to the file with the next ones."""
    allowance = Allowance(len(MUCH) + 10)
    assert allowance.take(len(MUCH))
    spool = make_spool(allowance)
    with pytest.raises(NoRoom):
        spool.append(MUCH)
    allowance.give_back(len(MUCH))
    spool.append(b"more")
    assert (spool.on_disk, drained(spool)) == (len(MUCH) + 4, MUCH + b"more")
