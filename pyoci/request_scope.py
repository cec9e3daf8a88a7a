"""RequestScope: the request that a thread works on, and its end before it is answered.

The server may end a request, because its client has left or because requests to one registry hold too many
threads. Whatever the request waits for then stops waiting. A context variable has the scope, so threads that
run in a copy of the request's context belong to the same request. Outside of a request that a server may end
there is no scope, and nothing here has an effect.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeVar

from pyoci.errors import RequestEnded

_Result = TypeVar("_Result")


class ServerThread(Protocol):
    """The thread that a request has, as the server knows it.

    `since` is when the request got it, by the monotonic clock; None while it has none. `client_has_left` is
    set by the server, `scope` and `ended_for` (the reason) by whoever ends requests.
    """

    since: float | None
    client_has_left: bool
    scope: Any
    ended_for: str | None


class Host(NamedTuple):
    """A host that a request asks: its name and port, what messages call it, and whether the operator has
    listed it or the registry that names it.
    """

    name: str
    label: str
    is_listed: bool


class RequestScope:
    """One request. `method` is its HTTP method."""

    def __init__(self, thread: ServerThread, method: str = "GET") -> None:
        self.thread = thread
        self.is_read = method in {"GET", "HEAD"}
        self.is_finishing = False
        self._failure: RequestEnded | None = None
        self._ended: Future[None] = Future()
        self._guard = threading.Lock()
        self._cuts: dict[Callable[[], None], Host] = {}
        self._host: Host | None = None

    def hosts(self) -> set[Host]:
        """The hosts that it waits for: those that it has calls to, or else the last one that it concerned."""
        with self._guard:
            waiting = set(self._cuts.values())
            return waiting or ({self._host} if self._host is not None else set())

    @property
    def is_ended(self) -> bool:
        return self._failure is not None

    def end(self, failure: RequestEnded) -> bool:
        """End the request: its calls are cut, and its waits raise `failure`. False if it was ended already,
        or has begun what must be finished.
        """
        with self._guard:
            if self.is_finishing or self._failure is not None:
                return False
            self._failure = failure
            cuts = tuple(self._cuts)
        for cut in cuts:
            cut()
        self._ended.set_result(None)
        return True

    def finish(self) -> None:
        """Nothing ends the request from now on. Raises RequestEnded if it was ended before."""
        with self._guard:
            self._check()
            self.is_finishing = True

    def check(self) -> None:
        """Raises RequestEnded if the request was ended."""
        with self._guard:
            self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure.bare()

    def concern(self, host: Host | None) -> None:
        """What the request does next is for this host; None: for this process alone."""
        with self._guard:
            self._host = host

    @contextmanager
    def calling(self, host: Host, cut: Callable[[], None]) -> Iterator[None]:
        """A call to `host`, which `cut` ends. Raises RequestEnded if the request was ended before."""
        with self._guard:
            self._check()
            self._cuts[cut] = self._host = host
        try:
            yield
        finally:
            with self._guard:
                del self._cuts[cut]

    def wait(self, seconds: float, *others: Future[Any]) -> None:
        """Wait until one of the others is done, for at most so many seconds. Raises RequestEnded at once
        when the request is ended.
        """
        concurrent.futures.wait((self._ended, *others), seconds, FIRST_COMPLETED)
        if not any(other.done() for other in others):
            self.check()


_current: ContextVar[RequestScope | None] = ContextVar("request_scope", default=None)


def current() -> RequestScope | None:
    """The scope of the request that this thread works on."""
    return _current.get()


def enter(scope: RequestScope | None) -> None:
    """Work on this request for the rest of the context."""
    _current.set(scope)


def check() -> None:
    """Raises RequestEnded if this thread's request was ended."""
    scope = current()
    if scope is not None:
        scope.check()


def concern(host: Host | None) -> None:
    """What this thread's request does next is for this host; None: for this process alone."""
    scope = current()
    if scope is not None:
        scope.concern(host)


def sleep(seconds: float) -> None:
    """Like time.sleep. Raises RequestEnded at once when this thread's request is ended."""
    scope = current()
    if scope is None:
        time.sleep(seconds)
    else:
        scope.wait(seconds)


def result_of(future: Future[_Result], seconds: float) -> _Result:
    """The future's result, like `future.result(seconds)`. Raises RequestEnded at once when this thread's
    request is ended.
    """
    scope = current()
    if scope is None:
        return future.result(seconds)
    scope.wait(seconds, future)
    return future.result(0)
