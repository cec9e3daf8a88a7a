"""Backend: the interface of all kinds of cache."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Position:
    """A point in a journal. Equal positions mean that nothing was recorded in between. Different positions
    may also be due to another name in the same journal; `since` distinguishes that.

    `epoch` identifies one incarnation of a journal. A journal that was lost begins a new epoch, so its
    positions equal none of the old ones.
    """

    epoch: str
    count: int


class Backend(Protocol):
    """A cache of bytes, which may lose them at any time. A loss costs time and, with an upstream, the record
    of the names that the registry has had.

    No method raises when the cache fails: `get` then returns None, `put` does nothing, and `position` returns
    None. Keys and names are text of any length, and not secret. A backend is created before the server forks,
    and used by all threads.
    """

    def get(self, key: str) -> bytes | None:
        """The value of `key`; None if it is missing or has expired."""
        ...

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        """Store `value` for `seconds`; with None, as long as there is space."""
        ...

    def discard(self, key: str) -> None:
        """Remove the value of `key`."""
        ...

    def position(self, name: str) -> Position | None:
        """The current end of the journal `name`, for every process and host that shares the cache. It is read
        each time a page is served.

        None if it can't be read: callers must then serve nothing that another process could have changed.
        """
        ...

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        """The entries recorded after `position`; None if some of them are no longer available."""
        ...

    def record(self, name: str, entry: str) -> None:
        """Append an entry (at most 200 characters, no line break), visible to all processes when this
        returns.
        """
        ...

    def lock(self, name: str, seconds: float) -> AbstractContextManager[bool]:
        """Hold the lock `name` among all threads, processes and hosts that share the cache.

        Yields False if the lock can't be acquired within `seconds`. A holder that dies blocks others for at
        most 30 seconds. If the cache can't be reached, the lock still excludes the workers of one server.
        """
        ...

    def close(self) -> None:
        """Close connections, and remove a directory that belongs to this server alone."""
        ...
