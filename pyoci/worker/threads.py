"""The worker's threads, and the queues of what waits for one.

Pages, transfers, and answers whose readers have taken what there was have a queue each, and the queues take
turns: a page waits for few transfers, however many of them came before it. In a queue the first and the last
take turns: a crowd that came at once delays nobody who comes after it, and is served all the same.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import Any

SECONDS = 10.0  # that a request waits for a thread; pip gives up after 15

_TRANSFER = re.compile(rb"\s*(?:GET \S+\.(?:whl|gz|zip)[ ?]|GET /v2/|POST |PUT |PATCH |DELETE )")


class Queues:
    """The connections that wait for a thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pages: dict[Any, float] = {}
        self._transfers: dict[Any, float] = {}
        self._answers: dict[Any, float] = {}
        self._turns = deque(
            (queue, is_last)
            for is_last in (False, True)
            for queue in (self._pages, self._transfers, self._answers)
        )

    def __len__(self) -> int:
        return len(self._pages) + len(self._transfers) + len(self._answers)

    def add_request(self, conn: Any) -> None:
        """Let a request wait, for a limited time."""
        queue = self._transfers if _TRANSFER.match(conn.sock.gathered) else self._pages
        queue[conn] = self._clock() + SECONDS

    def add_answer(self, conn: Any) -> None:
        """Let an answer wait that has begun."""
        self._answers[conn] = float("inf")

    def pop(self) -> tuple[Any, bool]:
        """The next one, and whether it is an answer that has begun. There has to be one."""
        while True:
            queue, is_last = self._turns[0]
            self._turns.rotate(-1)
            if queue:
                conn = next(reversed(queue) if is_last and queue is not self._answers else iter(queue))
                del queue[conn]
                return conn, queue is self._answers

    def pop_expired(self) -> Iterator[Any]:
        """The requests that have waited for too long."""
        now = self._clock()
        for queue in (self._pages, self._transfers):
            for conn in [conn for conn, ends_at in queue.items() if ends_at <= now]:
                del queue[conn]
                yield conn


class Threads:
    """Gives at most `count` connections a thread at a time, and lets the others wait. Used by the loop alone.

    `executor` has the threads. They run `serve` for a request and `resume` for an answer that has begun, and
    then call `done` with the connection and the future of the result. `refuse` answers a request that waited
    for too long, or for which no thread can be started.
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

    @property
    def are_awaited(self) -> bool:
        """Whether a connection waits for a thread."""
        return bool(self._queues)

    @property
    def have_one_free(self) -> bool:
        return len(self._busy) < self._count

    @property
    def busy(self) -> set[Any]:
        """The connections that have a thread."""
        return self._busy

    def add_request(self, conn: Any, *, may_wait: bool = True, extra: int = 0) -> None:
        """Give a request to a thread, or to one of so many extra ones, or let it wait for one if it may."""
        if may_wait and len(self._busy) >= self._count + extra:
            self._queues.add_request(conn)
        elif not self._start(self._serve, conn):
            self._refuse(conn)

    def add_answer(self, conn: Any) -> None:
        """Go on with an answer in a thread, when there is one."""
        self._queues.add_answer(conn)
        self.serve_next()

    def finished(self, conn: Any) -> None:
        """A connection needs its thread no longer."""
        self._busy.discard(conn)

    def serve_next(self) -> None:
        """Give free threads to what waits for one."""
        while self.have_one_free and self._queues:
            conn, has_begun = self._queues.pop()
            if self._start(self._resume if has_begun else self._serve, conn):
                continue
            if has_begun:
                self._queues.add_answer(conn)  # until a thread is free, or can be started
                return
            self._refuse(conn)

    def tick(self) -> None:
        """To be called about once a second."""
        for conn in self._queues.pop_expired():
            self._refuse(conn)
        self.serve_next()

    def run(self, function: Callable[[], object]) -> None:
        """Run a function in one of the threads, sooner or later."""
        with suppress(RuntimeError):  # the executor keeps it for a thread that it has already
            self._executor().submit(function)

    def _start(self, function: Callable[[Any], Any], conn: Any) -> bool:
        """Whether a thread could be had. Where an executor can't start a thread, it raises RuntimeError and
        still keeps the task for the threads that it has; the future decides who gets the connection.
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
