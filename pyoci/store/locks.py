"""TagLocks: one writer at a time for each tag, among all who share a place for locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pyoci.cache.locks import LocalLocks
from pyoci.errors import Unreachable
from pyoci.oci.references import Repository, Tag

Lock = Callable[[str, float], AbstractContextManager[bool]]  # by name, for at most so many seconds

_SECONDS = 30.0


class TagLocks:
    """Locks of tags. `lock` is that of a cache's backend; without one, the workers of one server take turns.

    One for the server, made before it forks.
    """

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock or _local()

    @contextmanager
    def held(self, repository: Repository, tag: Tag, seconds: float = _SECONDS) -> Iterator[None]:
        """Hold the lock of a tag. Raises Unreachable where it isn't to be had in `seconds`."""
        with self._lock(f"tag {repository.registry.origin} {repository.name}:{tag}", seconds) as held:
            if not held:
                raise Unreachable(f"others have been writing {repository}:{tag} for too long; try again")
            yield


def _local() -> Lock:
    locks = LocalLocks()
    return lambda name, seconds: locks.held(name, time.monotonic() + seconds)
