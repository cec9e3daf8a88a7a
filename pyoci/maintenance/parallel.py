"""Work on many things: side by side, and again after a failure that may pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Generic, TypeVar

from pyoci.errors import PyOCIError, RateLimited, Unreachable
from pyoci.oci.errors import LACKS_BLOB, RegistryFailed, RegistryFull, RegistryRefused
from pyoci.oci.references import Digest

ATTEMPTS = 4
_LONGEST_PAUSE = 60.0  # seconds
_TEMPORARY = (RateLimited, Unreachable, RegistryFailed)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_parallel(work: Callable[[_Item], _Result], items: Iterable[_Item], jobs: int) -> Iterator[_Result]:
    """The results in the order in which they are ready. At most twice as many items as `jobs` are taken in
    advance, so that a list of any length takes little memory. An exception of `work` ends it. A generator of
    items is closed at the end.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(max(jobs, 1), thread_name_prefix="work")
    running: set[Future[_Result]] = set()
    try:
        running.update(pool.submit(work, item) for item in islice(source, 2 * jobs))
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running.update(pool.submit(work, item) for item in islice(source, len(done)))
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(source, Generator):  # it may have threads of its own, which wait for more work
            source.close()


class Turns:
    """Lets some of many threads work at the same time. A thread that begins to sleep gives its turn to
    another, and goes on without one: threads that hold a turn may wait for it.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._held = threading.local()

    @contextmanager
    def turn(self, free: threading.Semaphore) -> Iterator[None]:
        """Wait until `free` has a turn for this thread, and hold it until the thread sleeps or the block
        ends.
        """
        free.acquire()
        self._held.by = free
        try:
            yield
        finally:
            self._end()

    def sleep(self, seconds: float) -> None:
        """Sleep without a turn."""
        self._end()
        self._sleep(seconds)

    def _end(self) -> None:
        free, self._held.by = getattr(self._held, "by", None), None
        if free is not None:
            free.release()


class Once(Generic[_Result]):
    """Results by digest: each is worked out once, however many threads ask for it. So is an exception."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: dict[Digest, Future[_Result]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: Digest, work: Callable[[], _Result]) -> _Result:
        """The result of `work`, by this thread or by the one that came first."""
        with self._guard:
            known = self._known.get(digest)
            mine = self._known.setdefault(digest, Future())
        if known is None:
            try:
                mine.set_result(work())
            except PyOCIError as exc:
                mine.set_exception(exc.bare())
            except BaseException as exc:
                mine.set_exception(exc)
                raise
        return mine.result()


def patiently(
    work: Callable[[], _Result],
    *,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> _Result:
    """Work that is done again after a failure that may pass: a registry that is busy, or restarts. The pause
    is as long as the registry asks for, one minute at most; else one second, two, four.
    """
    for attempt in range(1, attempts):
        try:
            return work()
        except PyOCIError as exc:
            # docker-registry 2.8 refuses a tag while another copy writes its manifests.
            refused = isinstance(exc, RegistryRefused) and not LACKS_BLOB.isdisjoint(exc.codes)
            passes = isinstance(exc, _TEMPORARY) and not isinstance(exc, RegistryFull)
            if not refused and not passes:
                raise
            asked = exc.retry_after if isinstance(exc, RateLimited) else None
            sleep(min(float(asked or 2 ** (attempt - 1)), _LONGEST_PAUSE))
    return work()
