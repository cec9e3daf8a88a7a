"""SingleFlight: concurrent calls for the same key do the work once; failures go to the same caller alone."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoci.errors import Denied, Exhausted, Unreachable
from pyoci.single_flight import SingleFlight


class Work:
    """Counts its calls. Each waits for `go_on`, then returns or raises `result`."""

    def __init__(self, result: object = "done") -> None:
        self.result = result
        self.count = 0
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> object:
        self.count += 1
        self.begun.set()
        assert self.go_on.wait(20)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class Clock:
    """Sets `waits` when it was read `asked` times: once by each caller, once more by each that waits."""

    def __init__(self, asked: int) -> None:
        self._left = asked
        self.waits = threading.Event()

    def __call__(self) -> float:
        self._left -= 1
        if not self._left:
            self.waits.set()
        return 0.0


def test_concurrent_callers_share_one_result() -> None:
    """Callers that come while the work is being done wait for its result."""
    clock, work = Clock(1 + 2 * 19), Work()
    flights = SingleFlight(clock)
    with ThreadPoolExecutor(20) as threads:
        calls = [threads.submit(flights.run, "key", f"{n}", work, 20) for n in range(20)]
        assert clock.waits.wait(20)
        assert flights.is_running("key")
        work.go_on.set()
        assert [call.result(20) for call in calls] == ["done"] * 20
    assert work.count == 1
    assert not flights.is_running("key")


def test_a_failure_is_shared_by_the_same_caller() -> None:
    """The registry would refuse again. Each caller gets an exception of its own."""
    clock, work = Clock(3), Work(Denied("no"))
    flights = SingleFlight(clock)
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(flights.run, "key", "me", work, 20) for _ in range(2)]
        assert clock.waits.wait(20)
        work.go_on.set()
        failures = [call.exception(20) for call in calls]
    assert [type(failure) for failure in failures] == [Denied, Denied]
    assert failures[0] is not failures[1]
    assert work.count == 1


@pytest.mark.parametrize("failure", [Denied("no"), LookupError("a defect"), SystemExit(1)], ids=repr)
def test_a_failure_is_not_shared_with_another_caller(failure: BaseException) -> None:
    """A waiting caller with other credentials does the work itself."""
    clock, work, own = Clock(3), Work(failure), Work("mine")
    own.go_on.set()
    flights = SingleFlight(clock)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(flights.run, "key", "me", work, 20)
        assert work.begun.wait(20)
        second = threads.submit(flights.run, "key", "you", own, 20)
        assert clock.waits.wait(20)
        work.go_on.set()
        assert second.result(20) == "mine"
        assert first.exception(20) is failure


@pytest.mark.parametrize(
    "failure",
    [MemoryError(), OSError(errno.ENOMEM, "no memory"), RuntimeError("can't start new thread")],
    ids=repr,
)
def test_exhaustion_is_shared_with_every_caller(failure: Exception) -> None:
    """Callers that waited for work that ran out of memory don't begin it again one after another."""
    clock, work = Clock(3), Work(failure)
    flights = SingleFlight(clock)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(flights.run, "key", "me", work, 20)
        assert work.begun.wait(20)
        second = threads.submit(flights.run, "key", "you", work, 20)
        assert clock.waits.wait(20)
        work.go_on.set()
        assert first.exception(20) is failure
        assert type(second.exception(20)) is Exhausted
    assert work.count == 1


def test_waiting_has_a_limit() -> None:
    """A waiting caller gets Unreachable after its time; the caller that works is not interrupted."""
    flights, work = SingleFlight(), Work()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(flights.run, "key", "me", work, 20)
        assert work.begun.wait(20)
        with pytest.raises(Unreachable, match="too long"):
            flights.run("key", "me", work, 0.01)
        work.go_on.set()
        assert first.result(20) == "done"
