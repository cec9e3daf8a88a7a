"""Threads: the worker's threads, and the queues of connections that wait for one.

There is a queue for pages, one for transfers, and one for answers that can continue. The queues take turns,
so a page waits for few transfers, however many of them came before it. Within a queue the requests for each
listed registry are a group, those for all other registries are another, and the groups take turns: many
requests for one registry delay a request for another only a little. Within a group the oldest and the newest
request take turns: many requests at once don't delay all those that come after them.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

SECONDS = 10.0  # for which a request waits for a thread; pip gives up after 15

_TRANSFER = re.compile(rb"\s*(?:GET \S+\.(?:whl|gz|zip|bz2|tgz)[ ?]|GET /v2/|POST |PUT |PATCH |DELETE )")


class _Queue:
    """Requests that wait. The groups take turns, and so do the oldest and the newest request of each."""

    def __init__(self) -> None:
        self.ends_at: dict[Any, float] = {}
        self._group_of: dict[Any, str] = {}
        self._groups: dict[str, _Group] = {}  # the one whose turn it is comes first

    def __len__(self) -> int:
        return len(self.ends_at)

    def add(self, conn: Any, group: str, ends_at: float) -> None:
        self.ends_at[conn], self._group_of[conn] = ends_at, group
        self._groups.setdefault(group, _Group()).conns[conn] = None

    def remove(self, conn: Any) -> None:
        """Remove a request that is in the queue."""
        del self.ends_at[conn]
        name = self._group_of.pop(conn)
        group = self._groups[name]
        del group.conns[conn]
        if not group.conns:
            del self._groups[name]

    def pop(self) -> Any:
        """Remove and return the next request. There must be one."""
        name, group = next(iter(self._groups.items()))
        conn = next(reversed(group.conns) if group.newest_is_next else iter(group.conns))
        group.newest_is_next = not group.newest_is_next
        self.remove(conn)
        if group.conns:
            self._groups[name] = self._groups.pop(name)
        return conn


@dataclass(slots=True)
class _Group:
    """Requests that wait, the oldest first."""

    conns: dict[Any, None] = field(default_factory=dict)
    newest_is_next: bool = False


class Queues:
    """The connections that wait for a thread. `group_of` returns the group of a connection's request."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, group_of: Callable[[Any], str] = lambda _conn: ""
    ) -> None:
        self._clock = clock
        self.group_of = group_of
        self._pages, self._transfers = _Queue(), _Queue()
        self._answers: dict[Any, None] = {}
        self._turns = deque((self._pages, self._transfers, None))  # None: the answers

    def __len__(self) -> int:
        return len(self._pages) + len(self._transfers) + len(self._answers)

    def add_request(self, conn: Any) -> None:
        """Queue a request, for a limited time."""
        queue = self._transfers if _TRANSFER.match(conn.sock.gathered) else self._pages
        queue.add(conn, self.group_of(conn), self._clock() + SECONDS)

    def add_answer(self, conn: Any) -> None:
        """Queue an answer that has begun and can continue."""
        self._answers[conn] = None

    def waiting(self, seconds: float) -> Iterator[Any]:
        """The requests that have waited for so many seconds at least."""
        latest = self._clock() + SECONDS - seconds
        for queue in (self._pages, self._transfers):
            for conn, ends_at in queue.ends_at.items():
                if ends_at <= latest:
                    yield conn

    def remove(self, conn: Any) -> None:
        """Remove a request that is queued."""
        for queue in (self._pages, self._transfers):
            if conn in queue.ends_at:
                queue.remove(conn)

    def pop(self) -> tuple[Any, bool]:
        """Remove the next connection. Returns it, and whether its answer has begun. One must be queued."""
        while True:
            queue = self._turns[0]
            self._turns.rotate(-1)
            if queue:
                return queue.pop(), False
            if queue is None and self._answers:
                conn = next(iter(self._answers))
                del self._answers[conn]
                return conn, True

    def pop_expired(self) -> Iterator[Any]:
        """Remove and return the requests that have waited for too long."""
        now = self._clock()
        for queue in (self._pages, self._transfers):
            for conn in [conn for conn, ends_at in queue.ends_at.items() if ends_at <= now]:
                queue.remove(conn)
                yield conn


class Threads:
    """Gives a thread to at most `count` connections at a time, and queues the others. Only the loop uses it.

    `executor` returns the pool of threads. They run `serve` for a request and `resume` for an answer that has
    begun, and then call `done` with the connection and the future of the result. `refuse` answers a request
    that has waited for too long, or for which no thread can be started.
    """

    def __init__(
        self,
        count: int,
        *,
        executor: Callable[[], Executor],
        serve: Callable[[Any], Any],
        resume: Callable[[Any], Any],
        done: Callable[[Any, Future[Any]], object],
        refuse: Callable[[Any], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._executor = executor
        self._serve, self._resume, self._done, self._refuse = serve, resume, done, refuse
        self._queues = Queues(clock)
        self._busy: set[Any] = set()

    def set_groups(self, group_of: Callable[[Any], str]) -> None:
        """Set the function that returns the group of a connection's request."""
        self._queues.group_of = group_of

    @property
    def are_awaited(self) -> bool:
        """Whether a connection is waiting for a thread."""
        return bool(self._queues)

    @property
    def are_scarce(self) -> bool:
        """Whether a connection is waiting for a thread, or more than a quarter of them is busy."""
        return self.are_awaited or 4 * len(self._busy) > self._count

    def waiting(self, seconds: float) -> Iterator[Any]:
        """The requests that have waited for a thread for so many seconds at least."""
        return self._queues.waiting(seconds)

    def forget(self, conn: Any) -> None:
        """A request that waits doesn't need a thread any more."""
        self._queues.remove(conn)

    @property
    def have_one_free(self) -> bool:
        return len(self._busy) < self._count

    @property
    def busy(self) -> set[Any]:
        """The connections that have a thread."""
        return self._busy

    def add_request(self, conn: Any, *, may_wait: bool = True, extra: int = 0) -> None:
        """Give a request to a thread. `extra` is how many threads more than usual it may use. If all are
        busy, it is queued if it `may_wait`.
        """
        if may_wait and len(self._busy) >= self._count + extra:
            self._queues.add_request(conn)
        elif not self._start(self._serve, conn):
            self._refuse(conn)

    def add_answer(self, conn: Any) -> None:
        """Continue an answer as soon as a thread is free."""
        self._queues.add_answer(conn)
        self.serve_next()

    def finished(self, conn: Any) -> None:
        """A connection doesn't need its thread any more."""
        self._busy.discard(conn)

    def serve_next(self) -> None:
        """Give free threads to connections that wait for one."""
        while self.have_one_free and self._queues:
            conn, has_begun = self._queues.pop()
            if self._start(self._resume if has_begun else self._serve, conn):
                continue
            if has_begun:
                self._queues.add_answer(conn)  # until a thread is free, or can be started
                return
            self._refuse(conn)

    def tick(self) -> None:
        """Call it about once a second: it refuses requests that have waited for too long."""
        for conn in self._queues.pop_expired():
            self._refuse(conn)
        self.serve_next()

    def run(self, function: Callable[[], object]) -> None:
        """Run a function in one of the threads, when one is free."""
        with suppress(RuntimeError):  # the executor has queued it for a running thread
            self._executor().submit(function)

    def _start(self, function: Callable[[Any], Any], conn: Any) -> bool:
        """Run a function in a thread; False if none can be started. An executor that can't start a thread
        raises RuntimeError, but keeps the task for its other threads. The future decides whether that task or
        the caller gets the connection.
        """
        future: Future[Any] = Future()
        self._busy.add(conn)
        try:
            self._executor().submit(_run, future, function, conn)
        except (RuntimeError, MemoryError):
            if future.cancel():
                self._busy.discard(conn)
                return False
        future.add_done_callback(partial(self._done, conn))
        return True


def _run(future: Future[Any], function: Callable[[Any], Any], conn: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(conn)
    except BaseException as exc:  # noqa: BLE001  # the loop closes the connection
        future.set_exception(exc)
    else:
        future.set_result(result)
