"""Turns: the lines before tags. Whoever comes to the head of one makes the changes of all who are like it.

A matrix of builds uploads many wheels of one version at the same moment. One after the other they would wait
longer than their clients do; together they cost one read, one write and one read-back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import Enum

from pyoci.cache.locks import LocalLocks
from pyoci.errors import PyOCIError, Unreachable
from pyoci.oci.models import ImageIndex
from pyoci.oci.references import Repository, Tag
from pyoci.oci.session import OCISession

# For whoever makes the change: some calls to the registry, each of which ends by itself.
_SERVED_SECONDS = 120.0


class Already(Enum):
    """What `apply` says instead of an image index to write."""

    SO = "nothing has to be done"


@dataclass(frozen=True, slots=True)
class IndexUpdate:
    """One change of an image index.

    `apply` gets the present one (None: no such tag) and returns the wanted one, or why none is to be written;
    one without manifests means that the tag is to go. It may be asked again, and may raise. `holds` tells
    whether the change is in what was read back. A neighbour's changes don't matter: putting back what
    somebody deleted elsewhere would be as wrong as losing a file.
    """

    apply: Callable[[ImageIndex | None], ImageIndex | Already]
    holds: Callable[[ImageIndex | None], bool]


@dataclass(slots=True, eq=False)
class Waiter:
    """One caller's change. It waits in its own thread, and is served by that of the head of its line."""

    session: OCISession
    change: IndexUpdate
    repair: bool = False  # manifests that are gone are to be written anew
    alone: bool = False  # it is to be made by itself: in company it was refused
    made: bool = False  # it was in a write, this time or before
    # What became of it this time:
    head: bool = False
    lost: bool = False  # it was made, and overwritten by somebody elsewhere
    failure: PyOCIError | None = None
    in_company: bool = False  # the write that failed was one for others as well
    called: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Before each time in a line."""
        self.head = self.lost = self.in_company = False
        self.failure, self.called = None, threading.Event()

    def goes_with(self, other: Waiter) -> bool:
        """Whether one may make the other's change: with the same credentials only.

        Whoever may not write must not find somebody who may, and writes it for him.
        """
        return not (self.alone or other.alone) and self.session.same_caller(other.session)

    def apply(self, present: ImageIndex | None) -> ImageIndex | None:
        """What the change makes of the present image index. What it raises is kept for its caller."""
        try:
            wanted = self.change.apply(present)
        except PyOCIError as exc:
            self.failure = exc
            return present
        return present if wanted is Already.SO else wanted

    def look(self, present: ImageIndex | None) -> bool:
        """Whether the change is in what was read back. Where the write seemed to fail, it was taken then."""
        if self.change.holds(present):
            self.failure = None
            return True
        self.lost = self.failure is None
        return False


class Turns:
    """The lines of one process. One for the server."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # Those who wait; there is a line while somebody leads it.
        self._lines: dict[Hashable, deque[Waiter]] = {}

    def join(self, key: Hashable, waiter: Waiter, seconds: float) -> bool:
        """Stand in line. True: the waiter is its head now and has to `leave` it; False: it was served.

        Raises Unreachable where neither comes true in `seconds`.
        """
        with self._guard:
            line = self._lines.get(key)
            if line is None:
                self._lines[key] = deque()
                waiter.head = True
                return True
            line.append(waiter)
        if not waiter.called.wait(seconds) and self._given_up(key, waiter):
            raise Unreachable("others have been writing this version for too long; try again")
        if not waiter.called.wait(_SERVED_SECONDS):
            raise Unreachable("the change was not made in time; try again")
        return waiter.head

    def company(self, key: Hashable, head: Waiter) -> list[Waiter]:
        """The head, and those in its line whose changes it may make as well; they leave the line."""
        with self._guard:
            line = self._lines[key]
            mates = [waiter for waiter in line if waiter.goes_with(head)]
            for waiter in mates:
                line.remove(waiter)
        return [head, *mates]

    def leave(self, key: Hashable) -> None:
        """Let the next in line be its head."""
        with self._guard:
            line = self._lines[key]
            if not line:
                del self._lines[key]
                return
            following = line.popleft()
            following.head = True
        following.called.set()

    def _given_up(self, key: Hashable, waiter: Waiter) -> bool:
        """Step out of the line; False where somebody has begun to serve the waiter."""
        with self._guard:
            line = self._lines.get(key, deque())
            if waiter not in line:
                return False
            line.remove(waiter)
            return True


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
