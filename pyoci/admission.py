"""Admission: admits a few requests at a time to work that takes much memory, or to a host."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from pyoci import request_scope
from pyoci.errors import Unreachable

Wait = Callable[["Future[None]", float], None]


class Admission:
    """Admits at most `limit` requests at a time. The requests of each owner wait in a queue, and the owners
    take turns: however many requests an owner has, a request of another owner waits for one of them only. A
    request whose wait ends early leaves the queue.
    """

    def __init__(self, limit: int = 1, wait: Wait = request_scope.result_of) -> None:
        """`wait` waits for a future, for at most so many seconds."""
        self._wait = wait
        self._guard = threading.Lock()
        self._free = limit
        self._queues: dict[Hashable, deque[Future[None]]] = {}  # the owner whose turn it is comes first

    def enter(self, owner: Hashable, seconds: float) -> None:
        """Wait for the turn of this request. Raises TimeoutError after `seconds`, and what `wait` raises."""
        with self._guard:
            if self._free:  # then nobody waits
                self._free -= 1
                return
            turn: Future[None] = Future()
            self._queues.setdefault(owner, deque()).append(turn)
        try:
            self._wait(turn, seconds)
        except BaseException:
            self._give_up(owner, turn)
            raise

    @property
    def is_full(self) -> bool:
        """Whether the next request would have to wait."""
        return self._free == 0

    def leave(self) -> None:
        """Admit the next request. Must be called once for each call of `enter` that has returned."""
        with self._guard:
            self._free += 1
            self._admit()

    @contextmanager
    def turn(self, owner: Hashable, seconds: float, late: str) -> Iterator[None]:
        """Enter for the time of the block. Raises Unreachable with the message `late` after `seconds`, and
        what `wait` raises.
        """
        try:
            self.enter(owner, seconds)
        except TimeoutError:
            raise Unreachable(late) from None
        try:
            yield
        finally:
            self.leave()

    def _give_up(self, owner: Hashable, turn: Future[None]) -> None:
        with self._guard:
            if turn.done():  # it was admitted a moment ago
                self._free += 1
                self._admit()
                return
            queue = self._queues[owner]
            queue.remove(turn)
            if not queue:
                del self._queues[owner]

    def _admit(self) -> None:
        """Admit the first request of the owner whose turn it is, if one more may be admitted."""
        if not self._queues or not self._free:
            return
        self._free -= 1
        owner = next(iter(self._queues))
        queue = self._queues.pop(owner)
        queue.popleft().set_result(None)
        if queue:  # its other requests come after those of other owners
            self._queues[owner] = queue


# The parsing of upstream's pages in this process. Parsing takes several times the memory of the text, and
# threads that parse side by side are no faster, since they need Python's global lock.
PARSING = Admission()
