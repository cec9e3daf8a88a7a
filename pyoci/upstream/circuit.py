"""Circuit: who fails again and again is left alone for a while, so that a dead upstream costs no thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyoci.errors import PyOCIError, Unreachable

FAILURES = 5  # in a row, after which nobody asks
SECONDS = 30.0  # until somebody tries again
_LONGEST = 300.0  # seconds that upstream may ask us to stay away


class Unwell(Unreachable):
    """Upstream answered that it can't answer now; `wait` is for how many seconds it asks."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def shut_off() -> Unreachable:
    """What is said while nobody asks."""
    return Unreachable("the upstream package index has failed several times; it is asked again soon")


class Circuit:
    """One for the process. While it is open one caller at a time may try, once the time is over."""

    def __init__(
        self,
        failures: int = FAILURES,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures, self._seconds, self._clock = failures, seconds, clock
        self._guard = threading.Lock()
        self._failed = 0
        self._opened_until: float | None = None  # None: closed
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether nobody may ask at this moment."""
        with self._guard:
            return self._is_shut_off()

    @contextmanager
    def passage(self) -> Iterator[None]:
        """Ask in the block, and let it raise Unreachable where upstream is not well; any other answer is one.
        Raises Unreachable itself, at once, while the circuit is open.
        """
        with self._guard:
            if self._is_shut_off():
                raise shut_off()
            trying = self._trying = self._opened_until is not None
        try:
            yield
        except Unreachable as exc:
            self._fail(exc.wait if isinstance(exc, Unwell) else None)
            raise
        except PyOCIError:
            self._succeed()
            raise
        else:
            self._succeed()
        finally:
            if trying:
                with self._guard:
                    self._trying = False

    def _is_shut_off(self) -> bool:
        until = self._opened_until
        return until is not None and (self._trying or self._clock() < until)

    def _succeed(self) -> None:
        with self._guard:
            self._failed, self._opened_until = 0, None

    def _fail(self, wait: float | None) -> None:
        with self._guard:
            self._failed += 1
            if wait is not None:
                self._opened_until = self._clock() + min(max(wait, 1.0), _LONGEST)
            elif self._failed >= self._failures:
                self._opened_until = self._clock() + self._seconds
