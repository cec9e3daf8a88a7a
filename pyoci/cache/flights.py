"""Flights: work that many ask for at the same moment, done once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pyoci.errors import PyOCIError, Unreachable

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Flight:
    who: str
    landed: Future[Any] = field(default_factory=Future)


class Flights:
    """One for the process. Whoever comes first works; who comes meanwhile waits, and shares the result."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}

    def in_the_air(self, key: Hashable) -> bool:
        """Whether somebody is working for `key` at this moment."""
        return key in self._flights

    def share(self, key: Hashable, who: str, work: Callable[[], _Result], seconds: float) -> _Result:
        """The result of `work`, one's own or somebody else's. A failure is shared by callers of the same
        credentials alone (`who`): what the registry refuses to one, it may give to the next.

        Raises Unreachable after `seconds` of waiting for others.
        """
        deadline = self._clock() + seconds
        while True:
            own = _Flight(who)
            with self._guard:
                flight = self._flights.setdefault(key, own)
            if flight is own:
                return self._fly(key, own, work)
            try:
                result: _Result = flight.landed.result(max(deadline - self._clock(), 0))
            except TimeoutError:
                raise Unreachable("others have been asking for the same for too long; try again") from None
            except PyOCIError as exc:
                if flight.who == who:
                    raise exc.bare() from None
            except Exception:  # noqa: BLE001, S110  # a defect shows in the request of whoever flew
                pass
            else:
                return result

    def _fly(self, key: Hashable, flight: _Flight, work: Callable[[], _Result]) -> _Result:
        try:
            result = work()
        except BaseException as exc:
            self._land(key)
            broken_off = RuntimeError("the flight was broken off")
            flight.landed.set_exception(exc.bare() if isinstance(exc, PyOCIError) else broken_off)
            raise
        self._land(key)
        flight.landed.set_result(result)
        return result

    def _land(self, key: Hashable) -> None:
        with self._guard:
            del self._flights[key]
