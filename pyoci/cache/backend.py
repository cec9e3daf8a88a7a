"""Backend: what every kind of cache can do, whatever it stores and for whom."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Position:
    """A point in a journal. Equal positions mean that nothing was recorded in between. Different positions
    don't mean that something was, because names may share a journal: `since` tells.

    `epoch` identifies one life of a journal. A journal that was lost begins a new epoch, so no position of
    the old one equals one of the new.
    """

    epoch: str
    count: int


class Backend(Protocol):
    """A cache of bytes, which may lose them at any time. A loss costs time, and, where there is an upstream,
    the knowledge which names have been the registry's.

    No method raises when the cache fails: `get` then returns None, `put` does nothing, and `position` returns
    None. Keys and names are text of any length, and not secret. A backend is created before the server forks,
    and used by all threads.
    """

    def get(self, key: str) -> bytes | None:
        """The value of `key`; None where there is none, or where it has expired."""
        ...

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        """Store `value` for `seconds`; without them, for as long as there is space."""
        ...

    def discard(self, key: str) -> None:
        """Remove the value of `key`."""
        ...

    def position(self, name: str) -> Position | None:
        """The current end of the journal `name`, for every process and host that shares the cache. It is read
        each time a page is served.

        None where it can't be read: nothing may then be served that another process could have changed.
        """
        ...

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        """The entries recorded after `position`; None where some of them are no longer there."""
        ...

    def record(self, name: str, entry: str) -> None:
        """Append an entry (at most 200 characters, no line break), which everybody sees from now on."""
        ...

    def lock(self, name: str, seconds: float) -> AbstractContextManager[bool]:
        """Hold the lock `name` among all threads, processes and hosts that share the cache.

        Gives False where the lock can't be acquired within `seconds`. A holder that dies blocks others for at
        most 30 seconds. If the cache can't be reached, the lock still excludes the workers of one server.
        """
        ...

    def close(self) -> None:
        """Close connections, and remove a directory that belongs to this server alone."""
        ...
