"""Circuit and ConcurrencyLimit: limits on the threads that wait for an upstream that fails or is slow. `name`
is what its messages call it.

The other threads stay free for the registry's pages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pyoci.errors import PyOCIError, RequestEnded, Unavailable, Unreachable
from pyoci.net.retries import retry_after_seconds

FAILURES = 5  # consecutive failures after which the circuit opens
OPEN_SECONDS = 30.0  # until one caller may try again
PATIENCE = 1.0  # seconds; a request that takes longer shows that upstream is slow
_LONGEST = 300.0  # seconds of a Retry-After that are respected
_INDEX = "the upstream package index"


class UpstreamUnavailable(Unavailable):
    """Upstream answered that it can't serve the request now; `wait` is its Retry-After in seconds."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def unavailable(status: int, headers: Mapping[str, str], name: str) -> UpstreamUnavailable | None:
    """The error of an answer by which the service `name` says that it can't serve the request now; None for
    any other answer.
    """
    if status != 429 and status < 500:
        return None
    wait = retry_after_seconds(headers.get("retry-after"))
    busy = status == 429 or wait is not None
    return UpstreamUnavailable(
        f"{name} can't answer now; try again later", float(wait or 1) if busy else None
    )


class Circuit:
    """A circuit breaker, one for the process. After OPEN_SECONDS, one caller at a time may try again."""

    def __init__(
        self,
        failures: int = FAILURES,
        seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        name: str = _INDEX,
    ) -> None:
        self._failures, self._seconds, self._clock, self._name = failures, seconds, clock, name
        self._guard = threading.Lock()
        self._failed = 0
        self._open_until: float | None = None  # None: closed
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether a request would be refused at this moment."""
        with self._guard:
            return self._is_open()

    def check(self) -> None:
        """Raises Unreachable if a request would be refused at this moment."""
        if self.is_open:
            raise self._refusal()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Make a request in the block. Unreachable counts as a failure, any other outcome of a request that
        wasn't ended as a success.
        Raises Unreachable at once while the circuit is open.
        """
        with self._guard:
            if self._is_open():
                raise self._refusal()
            trying = self._trying = self._open_until is not None
        try:
            yield
        except Unreachable as exc:
            self._record_failure(exc.wait if isinstance(exc, UpstreamUnavailable) else None)
            raise
        except RequestEnded:
            raise  # that says nothing about upstream
        except PyOCIError:
            self._record_success()
            raise
        else:
            self._record_success()
        finally:
            if trying:
                with self._guard:
                    self._trying = False

    def _refusal(self) -> Unavailable:
        return Unavailable(f"{self._name} has failed several times; it is asked again soon")

    def _is_open(self) -> bool:
        until = self._open_until
        return until is not None and (self._trying or self._clock() < until)

    def _record_success(self) -> None:
        with self._guard:
            self._failed, self._open_until = 0, None

    def _record_failure(self, wait: float | None) -> None:
        with self._guard:
            self._failed += 1
            if wait is not None:
                self._open_until = self._clock() + min(max(wait, 1.0), _LONGEST)
            elif self._failed >= self._failures:
                self._open_until = self._clock() + self._seconds


class ConcurrencyLimit:
    """At most `count` threads of this process at a time. Further threads wait for `patience` seconds, or not
    at all while no request has ended for that long. A single slow one, a large page say, refuses nobody.
    """

    def __init__(
        self,
        count: int,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        name: str = _INDEX,
    ) -> None:
        self._count, self._patience, self._clock, self._name = count, patience, clock, name
        self._changed = threading.Condition()
        self._started: list[float] = []

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Occupy one of the slots in the block. Raises Unreachable if none becomes free in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_free() or self._is_slow(), self._patience)
            if not self._is_free():
                raise Unreachable(f"too many requests wait for {self._name} already; try again later")
            started = self._clock()
            self._started.append(started)
        try:
            yield
        finally:
            with self._changed:
                self._started.remove(started)
                self._changed.notify()

    def _is_free(self) -> bool:
        return len(self._started) < self._count

    def _is_slow(self) -> bool:
        return self._clock() - max(self._started) > self._patience
