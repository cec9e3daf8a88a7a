"""SingleFlight: concurrent calls with the same key do the work once, and share the result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pyoci.errors import NO_MEMORY, Exhausted, PyOCIError, RequestEnded, Unreachable, is_exhausted
from pyoci.request_scope import check, result_of

_Result = TypeVar("_Result")
_LATE = "another request for the same data is taking too long; try again"


@dataclass(frozen=True, slots=True)
class _Flight:
    who: str
    outcome: Future[Any] = field(default_factory=Future)


class SingleFlight:
    """A process has one for each kind of work. The first caller for a key does the work; callers that arrive
    before it is done wait for its result. If the first one's request is ended, the next one does the work.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}

    def is_running(self, key: Hashable) -> bool:
        """Whether the work for `key` is in progress."""
        return key in self._flights

    def run(
        self, key: Hashable, who: str, work: Callable[[], _Result], seconds: float, late: str = _LATE
    ) -> _Result:
        """The result of `work`, or of the same work that another thread is doing.

        A failure is shared only among callers with the same credentials (`who`), since the registry may allow
        one caller what it refuses to another. Only Exhausted (no memory or threads left) is raised for all
        callers that waited. Raises Unreachable with the message `late` after `seconds` of waiting.
        """
        deadline = self._clock() + seconds
        while True:
            own = _Flight(who)
            with self._guard:
                flight = self._flights.setdefault(key, own)
            if flight is own:
                return self._lead(key, own, work)
            try:
                result: _Result = result_of(flight.outcome, max(deadline - self._clock(), 0))
            except TimeoutError:
                raise Unreachable(late) from None
            except RequestEnded:
                check()  # or else it was the other request that was ended
            except PyOCIError as exc:
                if flight.who == who or isinstance(exc, Exhausted):
                    raise exc.bare() from None
            except Exception:  # noqa: BLE001, S110  # the thread that did the work reports a defect
                pass
            else:
                return result

    def _lead(self, key: Hashable, flight: _Flight, work: Callable[[], _Result]) -> _Result:
        try:
            result = work()
        except BaseException as exc:
            self._remove(key)
            flight.outcome.set_exception(_shared(exc))
            raise
        self._remove(key)
        flight.outcome.set_result(result)
        return result

    def _remove(self, key: Hashable) -> None:
        with self._guard:
            del self._flights[key]


def _shared(exc: BaseException) -> Exception:
    """The exception that waiting callers get, without the stack frames of the thread that raised it."""
    if isinstance(exc, PyOCIError):
        return exc.bare()
    if is_exhausted(exc):
        return Exhausted(NO_MEMORY)
    return RuntimeError("the shared work has failed")
