"""RequestScope: what a request waits for stops waiting when the request is ended."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import pytest

from pyoci import request_scope
from pyoci.errors import ClientLeft, RequestEnded, Unreachable
from pyoci.request_scope import Host, RequestScope
from pyoci.single_flight import SingleFlight

LEFT = ClientLeft("the client has left")
HOST = Host("registry.example", "registry", True)


@dataclass
class Thread:
    """The server's thread of a request."""

    since: float | None = 0.0
    client_has_left: bool = False
    scope: Any = None
    ended_for: str | None = None


class Waiting(RequestScope):
    """Sets `begun` before it waits."""

    def __init__(self) -> None:
        super().__init__(Thread())
        self.begun = threading.Event()

    def wait(self, seconds: float, *others: Future[Any]) -> None:
        self.begun.set()
        super().wait(seconds, *others)


def run_in(scope: RequestScope | None, function: Any, *arguments: Any) -> Any:
    """Call a function in the scope of a request."""

    def call() -> Any:
        request_scope.enter(scope)
        return function(*arguments)

    return copy_context().run(call)


WAITS = {
    "a sleep": lambda: request_scope.sleep(60),
    "a result": lambda: request_scope.result_of(Future[None](), 60),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_wait_ends_with_its_request(wait: Any) -> None:
    """It raises the reason."""
    scope = Waiting()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run_in, scope, wait)
        assert scope.begun.wait(20)
        assert scope.end(LEFT)
        with pytest.raises(ClientLeft):
            waiting.result(20)


def test_a_result_that_is_there() -> None:
    """It is given; where it is late, that is a TimeoutError, as without a scope."""
    done: Future[str] = Future()
    done.set_result("done")
    for scope in (None, RequestScope(Thread())):
        assert run_in(scope, request_scope.result_of, done, 20) == "done"
        with pytest.raises(TimeoutError):
            run_in(scope, request_scope.result_of, Future[None](), 0.01)


def test_calls_are_cut() -> None:
    """Those that are going on; the next ones aren't made."""
    scope, cut = RequestScope(Thread()), []
    with scope.calling(HOST, lambda: cut.append("first")):
        pass
    with scope.calling(HOST, lambda: cut.append("second")):
        assert scope.end(LEFT)
    assert cut == ["second"]
    with pytest.raises(ClientLeft), scope.calling(HOST, lambda: None):
        pytest.fail("a call was made")


def test_what_must_be_finished_is() -> None:
    """A request that finishes what it has begun isn't ended, and one that was ended begins nothing."""
    scope = RequestScope(Thread())
    scope.finish()
    assert not scope.end(LEFT)
    scope.check()
    ended = RequestScope(Thread())
    assert ended.end(LEFT)
    assert not ended.end(LEFT)
    with pytest.raises(RequestEnded):
        ended.finish()


def test_hosts() -> None:
    """Those that a request has calls to, or else the one that it concerned last."""
    scope, other = RequestScope(Thread()), Host("other.example", "other", False)
    assert scope.hosts() == set()
    scope.concern(HOST)
    assert scope.hosts() == {HOST}
    with scope.calling(other, lambda: None):
        assert scope.hosts() == {other}
    assert scope.hosts() == {other}
    scope.concern(None)
    assert scope.hosts() == set()


def test_others_do_the_work_of_a_request_that_was_ended() -> None:
    """Whoever waits for it, with the same credentials or not, doesn't get its end as an answer."""
    flights, leader, follower = SingleFlight(), RequestScope(Thread()), Waiting()
    begun, results = threading.Event(), []

    def work() -> str:
        results.append("called")
        if len(results) == 1:
            begun.set()
            request_scope.sleep(60)
        return "done"

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run_in, leader, flights.run, "key", "who", work, 20)
        assert begun.wait(20)
        second = threads.submit(run_in, follower, flights.run, "key", "who", work, 20)
        assert follower.begun.wait(20)
        assert leader.end(LEFT)
        with pytest.raises(ClientLeft):
            first.result(20)
        assert second.result(20) == "done"


def test_a_request_that_waits_for_another_one_is_ended() -> None:
    """The other one goes on."""
    flights, follower = SingleFlight(), Waiting()
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert go_on.wait(20)
        return "done"

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(flights.run, "key", "who", work, 20)
        assert begun.wait(20)
        second = threads.submit(run_in, follower, flights.run, "key", "who", work, 20)
        assert follower.begun.wait(20)
        assert follower.end(LEFT)
        with pytest.raises(ClientLeft):
            second.result(20)
        go_on.set()
        assert first.result(20) == "done"


def test_the_end_says_nothing_about_a_registry() -> None:
    """It is no Unreachable, after which a call is made again, or a stale page given."""
    assert not issubclass(RequestEnded, Unreachable)
