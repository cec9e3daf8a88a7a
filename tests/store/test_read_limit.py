"""What one request may read is limited, and few requests read large documents at a time."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import ExitStack

import pytest

from pyoci import request_scope
from pyoci.errors import Busy, ClientLeft, ProtocolError
from pyoci.oci.references import Registry
from pyoci.store.read_limit import LargeReads, ReadLimit
from pyoci.worker.answers import ServerThread

LISTED = Registry("https", "listed.example", listed=True)
OTHER = Registry("https", "other.example", listed=True)
UNLISTED = Registry("https", "unlisted.example")
PATIENCE = 20.0


class Requests:
    """Requests that wait for their turn, each in a thread. They end with the block."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.turns: list[Future[None]] = []
        self.reads = LargeReads(self._wait)
        self._stack = ExitStack()
        self._is_waiting = threading.Semaphore(0)

    def _wait(self, turn: Future[None], seconds: float) -> None:
        self.turns.append(turn)
        self._is_waiting.release()
        request_scope.result_of(turn, seconds)

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def limit(self, registry: Registry = LISTED) -> ReadLimit:
        return ReadLimit.among(self.reads, registry, wait_seconds=PATIENCE)

    def add(self, name: str, registry: Registry = LISTED) -> None:
        """Start a request that reads one document, and return when it waits."""

        def read() -> None:
            with self.limit(registry).large():
                self.order.append(name)

        self._drain()
        thread = threading.Thread(target=read)
        thread.start()
        self._stack.callback(thread.join, PATIENCE)
        assert self._is_waiting.acquire(timeout=PATIENCE)

    def is_free(self, registry: Registry = LISTED) -> bool:
        try:
            self.reads.enter(registry, 0.0)
        except TimeoutError:
            return False
        self.reads.leave(registry)
        return True

    def _drain(self) -> None:
        while self._is_waiting.acquire(blocking=False):
            pass


@pytest.fixture
def requests() -> Requests:
    return Requests()


def test_a_request_reads_until_its_page_is_built(requests: Requests) -> None:
    """Not only to the end of one document, because what was read stays in memory."""
    first = requests.limit()
    with requests, first.building():
        with first.large():
            pass
        requests.add("second")
        with first.large():  # again, by the same request
            requests.order.append("first")
    assert requests.order == ["first", "second"]
    assert requests.is_free()


def test_many_small_documents_are_large(requests: Requests) -> None:
    """Beyond 4 MiB together. Outside of a page nothing is kept."""
    limit = requests.limit()
    with limit.building():
        limit.take(4 * 1024 * 1024)
        assert requests.is_free()
        limit.take(1)
        assert not requests.is_free()
    assert requests.is_free()


def test_a_request_parses_a_large_document_before_it_reads_the_next(requests: Requests) -> None:
    """Its threads would otherwise hold the texts of all of them."""
    limit, order = requests.limit(), list[str]()
    is_reading, may_parse = threading.Event(), threading.Event()

    def first() -> None:
        with limit.one_document():
            with limit.large():
                is_reading.set()
            assert may_parse.wait(PATIENCE)
            with limit.large():
                order.append("the first is parsed")

    def second() -> None:
        assert is_reading.wait(PATIENCE)
        may_parse.set()
        with limit.one_document(), limit.large():
            order.append("the second is read")

    with limit.building():
        threads = [threading.Thread(target=work) for work in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert order == ["the first is parsed", "the second is read"]
    assert requests.is_free()


def test_a_small_document_does_not_wait_for_a_large_one_of_the_request(requests: Requests) -> None:
    """Only what is large is read one after the other."""
    limit = requests.limit()
    with limit.one_document(), limit.large():
        thread = threading.Thread(target=lambda: limit.one_document().__enter__())
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_request_has_a_limit() -> None:
    limit = ReadLimit(size=10)
    limit.take(10)
    with pytest.raises(ProtocolError, match="together too large for one request"):
        limit.take(1)


def test_whether_a_request_would_wait(requests: Requests) -> None:
    """It doesn't once it is admitted itself."""
    first, second = requests.limit(), requests.limit(OTHER)
    assert not second.would_wait
    with first.building():
        with first.large():
            pass
        assert (first.would_wait, second.would_wait) == (False, True)
        assert not requests.limit(UNLISTED).would_wait
    assert not second.would_wait


def test_a_refusal_is_reported_once(requests: Requests) -> None:
    """All threads of the request end with the first refusal."""
    refusals: list[None] = []
    limit = ReadLimit.among(requests.reads, LISTED, lambda: refusals.append(None), wait_seconds=0.01)
    requests.reads.enter(OTHER, 0.0)
    for _ in range(3):
        with pytest.raises(Busy, match="other large projects"), limit.large():
            pass
    assert len(refusals) == 1
    requests.reads.leave(OTHER)
    assert requests.is_free()


def test_unlisted_registries_do_not_delay_listed_ones(requests: Requests) -> None:
    """Anyone can name an unlisted registry whose documents are large."""
    requests.reads.enter(UNLISTED, 0.0)
    assert not requests.is_free(UNLISTED)
    assert requests.is_free(LISTED)
    requests.reads.leave(UNLISTED)
    assert requests.is_free(UNLISTED)


def test_registries_take_turns(requests: Requests) -> None:
    """Many requests to one registry delay a request to another by one page only."""
    requests.reads.enter(LISTED, 0.0)
    with requests:
        for number in range(3):
            requests.add(f"first {number}")
        requests.add("other", OTHER)
        requests.reads.leave(LISTED)
    assert requests.order == ["first 0", "other", "first 1", "first 2"]


class Ended(Exception):
    """The server has ended a request that waits."""


@pytest.mark.parametrize("is_admitted", [False, True])
def test_a_request_that_is_ended_gives_up_its_place(is_admitted: bool) -> None:
    """While it waits, and at the moment when it is admitted."""

    def end(turn: Future[None], _seconds: float) -> None:
        if turn.done():
            return
        if is_admitted:
            reads.leave(LISTED)
            assert turn.done()
        raise Ended

    reads = LargeReads(end)
    reads.enter(LISTED, 0.0)
    with pytest.raises(Ended):
        reads.enter(LISTED, PATIENCE)
    if not is_admitted:
        reads.leave(LISTED)
    reads.enter(LISTED, 0.0)


def test_a_request_whose_client_has_left_stops_waiting() -> None:
    """The request behind it is admitted in its place."""
    reads = LargeReads()
    reads.enter(LISTED, 0.0)
    scope = request_scope.RequestScope(ServerThread())

    def wait() -> None:
        request_scope.enter(scope)
        with pytest.raises(ClientLeft):
            reads.enter(LISTED, PATIENCE)

    thread = threading.Thread(target=wait)
    thread.start()
    assert scope.end(ClientLeft("the client has left"))
    thread.join(PATIENCE)
    assert not thread.is_alive()
    reads.leave(LISTED)
    reads.enter(LISTED, 0.0)


def test_threads_of_an_ended_request_do_not_ask_for_turns() -> None:
    """Those that wait for another thread of it. Ten for each request would delay all other requests."""
    scope, entered = request_scope.RequestScope(ServerThread()), list[str]()
    limit = ReadLimit(enter=lambda: entered.append("turn"))
    is_reading, may_end = threading.Event(), threading.Event()

    def read() -> None:
        with limit.large():
            is_reading.set()
            assert may_end.wait(PATIENCE)

    def wait() -> None:
        request_scope.enter(scope)
        with pytest.raises(ClientLeft), limit.large():
            pass

    with ExitStack() as stack:
        for work in (read, wait):
            thread = threading.Thread(target=work)
            thread.start()
            stack.callback(thread.join, PATIENCE)
            assert is_reading.wait(PATIENCE)
        assert scope.end(ClientLeft("the client has left"))
        may_end.set()
    assert entered == ["turn"]
