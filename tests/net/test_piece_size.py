"""How much of an answer is read at once, by the reader's pace."""

from __future__ import annotations

from pyoci.net.reading import PieceSize

MIB = 1024 * 1024


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def read(size: PieceSize, clock: Clock, seconds: float, count: int) -> int:
    for _ in range(count):
        with size.reading():
            clock.now += seconds
    return size.size


def test_pieces_grow_for_a_fast_reader() -> None:
    """Not at once: the buffers on the way take the first megabytes for anybody."""
    clock = Clock()
    size = PieceSize(MIB, clock)
    assert size.size == MIB // 4
    assert read(size, clock, 0.01, 12) == MIB // 4
    assert read(size, clock, 0.01, 100) == MIB


def test_pieces_stay_small_for_a_slow_reader() -> None:
    """And become small again for one that has become slow."""
    clock = Clock()
    size = PieceSize(MIB, clock)
    assert read(size, clock, 1, 100) == MIB // 4
    assert read(size, clock, 0.01, 100) == MIB
    assert read(size, clock, 1, 1) == MIB // 4


def test_never_more_than_asked_for() -> None:
    """Where that is less than a first piece."""
    size = PieceSize(1000, Clock())
    assert size.size == 1000
    assert read(size, Clock(), 0, 100) == 1000
