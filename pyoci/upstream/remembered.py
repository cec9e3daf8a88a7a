"""Remembered: a document of another service as the shared cache has it, and when it was received."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Self

_SKEW = 60.0  # seconds that the clocks of hosts may differ


def is_current(received: float, until: float, now: float) -> bool:
    """Whether what was `received` at one time may be used before another, at the time `now`. What comes from
    the future may not.
    """
    return received - _SKEW <= now < until


def compressed(content: bytes) -> bytes:
    """The content as it is stored."""
    return zlib.compress(content, 1)


def decompressed(data: bytes, size: int, limit: int) -> bytes:
    """The `size` bytes that were compressed. Raises ValueError if these are others, or more than `limit`."""
    try:
        content = zlib.decompressobj().decompress(data, limit)
    except zlib.error as exc:
        raise ValueError(str(exc)) from None
    if len(content) != size:
        raise ValueError("the content is incomplete")
    return content


@dataclass(frozen=True, slots=True)
class Remembered:
    """A document, and when it was received, in seconds since 1970."""

    content: bytes
    received: float

    def is_younger(self, seconds: float, now: float) -> bool:
        """Whether it may be used `seconds` after it was received, at the time `now`."""
        return is_current(self.received, self.received + seconds, now)

    def to_bytes(self) -> bytes:
        """The time, the document's size, and the document, compressed."""
        return f"{self.received!r}\n{len(self.content)}\n".encode() + compressed(self.content)

    @classmethod
    def read(cls, data: bytes | None, limit: int) -> Self | None:
        """Read what `to_bytes` wrote; None for anything else, and for more than `limit` bytes."""
        received, _, rest = (data or b"").partition(b"\n")
        size, _, packed = rest.partition(b"\n")
        try:
            return cls(decompressed(packed, int(size), limit), float(received))
        except ValueError:
            return None
