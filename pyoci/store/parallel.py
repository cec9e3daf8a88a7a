"""in_threads: does the work of one request in several threads at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextvars import copy_context
from typing import TypeVar

from pyoci.errors import Unreachable

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    width: int, work: Callable[[_Item], _Result], items: Sequence[_Item], seconds: float, late: str
) -> list[_Result]:
    """Call `work` for each item, in at most `width` new threads. Returns the results in the order of the
    items. After the first failure no further item is begun. Raises Unreachable with the message `late` after
    `seconds`.
    """
    width = min(width, len(items))
    if width <= 1:
        return [work(item) for item in items]
    left = deque(enumerate(items))
    found: dict[int, _Result] = {}

    def fetch() -> None:
        # One future for each thread instead of each item: a page of a thousand versions takes a tenth less
        # time.
        while True:
            try:
                number, item = left.popleft()
            except IndexError:
                return
            found[number] = work(item)

    try:
        futures = [_in_thread(fetch) for _ in range(width)]
        done, unfinished = wait(futures, seconds, FIRST_EXCEPTION)
        for future in done:
            future.result()
        if unfinished:
            raise Unreachable(late)
        return [found[number] for number in range(len(items))]
    finally:
        left.clear()


def _in_thread(work: Callable[[], _Result]) -> Future[_Result]:
    """Do the work in a new thread, which has the context of the request, so that its calls are in the
    request's trace.

    Each page has its own threads, so that a registry that hangs doesn't delay the pages of others. They are
    in no ThreadPoolExecutor, because all executors of a process share the lock under which they start
    threads, and the server's loop needs that lock for each request.
    """
    future = Future[_Result]()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001  # it is raised where the result is awaited
            future.set_exception(exc)

    threading.Thread(target=copy_context().run, args=(run,), name="fetch").start()
    return future
