"""The queues for threads, their order, and what happens if no thread can be started."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest

from pyoci.worker.threads import SECONDS, Queues, Threads
from tests.clock import Clock


@dataclass(eq=False)
class Connection:
    """A connection that is also its socket."""

    name: str
    line: str = "GET /lab/acme/hello/ HTTP/1.1"

    def __post_init__(self) -> None:
        self.gathered = bytearray(f"{self.line}\r\nHost: x\r\n\r\n".encode())

    @property
    def sock(self) -> Connection:
        return self


def names(queues: Queues) -> list[str]:
    found = []
    while queues:
        found.append(queues.pop()[0].name)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "GET /lab/acme/hello/hello-1.0-py3-none-any.whl HTTP/1.1",
        "GET /lab/acme/hello/hello-1.0.tar.gz HTTP/1.1",
        "GET /lab/acme/hello/hello-1.0.tar.bz2 HTTP/1.1",
        "GET /lab/acme/hello/hello-1.0.tgz HTTP/1.1",
        "GET /v2/acme/hello/blobs/sha256:0 HTTP/1.1",
        "POST /lab/acme/ HTTP/1.1",
    ],
)
def test_a_page_waits_for_few_transfers(line: str) -> None:
    """However many came before it."""
    queues = Queues()
    for number in range(100):
        queues.add_request(Connection(f"transfer {number}", line))
    queues.add_request(Connection("page"))
    assert names(queues).index("page") <= 2


def test_metadata_is_no_transfer() -> None:
    """It is as small as a page."""
    queues = Queues()
    queues.add_request(Connection("page"))
    queues.add_request(
        Connection("metadata", "GET /lab/acme/hello/hello-1.0-py3-none-any.whl.metadata HTTP/1.1")
    )
    queues.add_request(Connection("file", "GET /lab/acme/hello/hello-1.0-py3-none-any.whl HTTP/1.1"))
    assert names(queues) == ["page", "file", "metadata"]


def test_a_newcomer_waits_for_few_of_a_crowd() -> None:
    """The crowd and newcomers are served in turns."""
    queues = Queues()
    for number in range(100):
        queues.add_request(Connection(str(number)))
    queues.add_request(Connection("newcomer"))
    found = names(queues)
    assert found.index("newcomer") <= 2
    assert found.index("0") <= 2
    assert len(found) == 101


@pytest.mark.parametrize(
    "line", ["GET /lab/acme/hello/ HTTP/1.1", "POST /lab/acme/ HTTP/1.1", "GET / HTTP/1.1"]
)
def test_a_crowd_for_one_registry_delays_others_little(line: str) -> None:
    """However many were there before, and come while it waits."""
    queues = Queues(group_of=lambda conn: conn.sock.gathered.split(b"/")[1].decode())
    served = list[str]()

    def add_crowd() -> None:
        for number in range(4):
            method, rest = line.split("/", 1)[0], "acme/hello/ HTTP/1.1"
            for _ in range(10):
                queues.add_request(Connection("crowd", f"{method}/slow{number}/{rest}"))

    add_crowd()
    queues.add_request(Connection("other", line))
    while "other" not in served:
        served.append(queues.pop()[0].name)
        add_crowd()
    assert len(served) <= 5


def test_a_request_that_is_removed_gives_up_its_turn() -> None:
    """Those for the same registry that have come after it are served."""
    queues = Queues()
    first, second = Connection("first"), Connection("second")
    for conn in (first, second):
        queues.add_request(conn)
    queues.remove(first)
    queues.remove(first)
    assert names(queues) == ["second"]
    queues.add_request(first)
    queues.remove(first)
    assert len(queues) == 0


def test_answers_come_in_their_turn() -> None:
    """In turns with requests. They never expire."""
    clock = Clock()
    queues = Queues(clock)
    queues.add_answer(Connection("answer"))
    queues.add_request(Connection("page"))
    clock.now += SECONDS
    assert [conn.name for conn in queues.pop_expired()] == ["page"]
    assert len(queues) == 1
    conn, has_begun = queues.pop()
    assert (conn.name, has_begun) == ("answer", True)


def test_waiting_requests() -> None:
    """Those that have waited for so long at least; an answer is no request."""
    clock = Clock()
    queues = Queues(clock)
    queues.add_request(Connection("first"))
    queues.add_request(Connection("upload", "POST /lab/acme/ HTTP/1.1"))
    queues.add_answer(Connection("answer"))
    clock.now += 1
    queues.add_request(Connection("second"))
    assert {conn.name for conn in queues.waiting(1)} == {"first", "upload"}


@dataclass
class Work:
    """Threads, with a record of their work."""

    count: int = 2
    clock: Clock = field(default_factory=Clock)
    refused: list[str] = field(default_factory=list)
    done: SimpleQueue[tuple[str, str]] = field(default_factory=SimpleQueue)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.executor = ThreadPoolExecutor(self.count + 1)
        self.threads = Threads(
            self.count,
            executor=lambda: self.executor,
            serve=lambda conn: self.work(f"served {conn.name}"),
            resume=lambda conn: self.work(f"resumed {conn.name}"),
            done=lambda conn, future: self.done.put((conn.name, future.result())),
            refuse=lambda conn: self.refused.append(conn.name),
            clock=self.clock,
        )

    def work(self, result: str) -> str:
        assert self.gate.wait(30)
        return result


@contextmanager
def working(count: int) -> Iterator[Work]:
    work = Work(count)
    try:
        yield work
    finally:
        work.gate.set()
        work.executor.shutdown()


@pytest.fixture
def work() -> Iterator[Work]:
    with working(2) as work:
        yield work


@contextmanager
def no_new_threads() -> Iterator[None]:
    """The system can't start a thread, because its stack would be larger than any address space."""
    before = threading.stack_size(2**47)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_groups_take_turns(work: Work) -> None:
    """A request is served before those of a crowd that came before it."""
    work.threads.set_groups(lambda conn: conn.name[:5])
    busy = [Connection("busy 1"), Connection("busy 2")]
    for conn in [*busy, *(Connection(f"crowd {number}") for number in range(20)), Connection("other")]:
        work.threads.add_request(conn)
    for conn in busy:
        work.threads.finished(conn)
        work.threads.serve_next()
    assert {conn.name for conn in work.threads.busy} == {"crowd 0", "other"}


def test_others_wait(work: Work) -> None:
    """Until a thread is free, or their time is over."""
    conns = [Connection(str(number)) for number in range(4)]
    for conn in conns:
        work.threads.add_request(conn)
    assert (work.threads.busy, work.threads.are_awaited, work.threads.have_one_free) == (
        set(conns[:2]),
        True,
        False,
    )
    work.gate.set()
    assert sorted(work.done.get(timeout=30) for _ in range(2)) == [("0", "served 0"), ("1", "served 1")]
    work.threads.finished(conns[0])
    work.threads.serve_next()
    assert work.done.get(timeout=30) == ("2", "served 2")
    work.clock.now += SECONDS
    work.threads.tick()
    assert work.refused == ["3"]


@pytest.mark.parametrize(("count", "busy", "are_scarce"), [(8, 2, False), (8, 3, True), (1, 1, True)])
def test_threads_are_scarce_when_a_quarter_is_busy(count: int, busy: int, are_scarce: bool) -> None:
    """Clients that have left are looked for more often then."""
    with working(count) as work:
        for number in range(busy):
            work.threads.add_request(Connection(str(number)))
        assert (work.threads.are_scarce, work.threads.are_awaited) == (are_scarce, False)


def test_extra_thread(work: Work) -> None:
    """Only for urgent requests."""
    for number in range(2):
        work.threads.add_request(Connection(str(number)))
    probe = Connection("probe")
    work.threads.add_request(probe, extra=1)
    assert probe in work.threads.busy


def test_no_thread_can_be_started(work: Work) -> None:
    """The request is refused. No thread serves it later, when its connection is used by another one."""
    first, second, third = (Connection(name) for name in ("first", "second", "third"))
    work.threads.add_request(first)
    with no_new_threads():
        work.threads.add_request(second)
        assert (work.refused, work.threads.busy) == (["second"], {first})
    work.gate.set()
    assert work.done.get(timeout=30) == ("first", "served first")
    work.threads.finished(first)
    work.threads.add_request(third)
    assert work.done.get(timeout=30) == ("third", "served third")


def test_begun_answer_waits_where_no_thread_can_be_started(work: Work) -> None:
    """It can't be refused any more. It continues as soon as a thread is free."""
    first, answer = Connection("first"), Connection("answer")
    work.threads.add_request(first)
    with no_new_threads():
        work.threads.add_answer(answer)
        assert (work.threads.are_awaited, work.threads.busy, work.refused) == (True, {first}, [])
        work.threads.run(lambda: work.done.put(("function", "run")))
    work.gate.set()
    assert sorted(work.done.get(timeout=30) for _ in range(2)) == [
        ("first", "served first"),
        ("function", "run"),
    ]
    work.threads.finished(first)
    work.threads.serve_next()
    assert work.done.get(timeout=30) == ("answer", "resumed answer")
