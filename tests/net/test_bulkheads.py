"""Bulkheads: how many threads one registry may hold while a request for somebody else waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyoci import request_scope
from pyoci.errors import BulkheadFull, ClientLeft, PyOCIError
from pyoci.net.addresses import Reach
from pyoci.net.bulkheads import COUNTED_SECONDS, FINISH_SECONDS, LIMITED_SECONDS, Bulkheads, network_of
from pyoci.net.messages import Call
from pyoci.net.transport import Transport
from pyoci.request_scope import Host
from tests.net.conftest import MakeTransport
from tests.net.servers import Connection, Server, always, answer
from tests.waiting import until


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_network_of(address: str, network: str) -> None:
    assert network_of(address) == network


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        request_scope.check()


@dataclass(eq=False)
class Request:
    """A request that has a thread, as the server and the application know it."""

    bulkheads: Bulkheads
    since: float | None
    method: str = "GET"
    client_has_left: bool = False
    scope: Any = None
    ended_for: str | None = None

    def __post_init__(self) -> None:
        application = self.bulkheads.scoped(lambda _environ, _start: [])
        environ = {"server.thread": self, "REQUEST_METHOD": self.method}
        copy_context().run(application, environ, lambda *_: None)  # type: ignore[arg-type]

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        def call() -> Any:
            request_scope.enter(self.scope)
            return function(*arguments)

        return copy_context().run(call)

    def waits_for(self, host: Host, address: str | None = None) -> Request:
        """It has begun a call, and connects to the address."""

        def call() -> None:
            watch = self.bulkheads.watch(host)
            if address is not None:
                watch.on_connect(address)

        self.run(call)
        self.scope.calling(host, lambda: None).__enter__()
        return self


@dataclass
class BusyServer:
    """A server with so many threads."""

    threads: int = 4
    clock: Clock = field(default_factory=Clock)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bulkheads = Bulkheads(self.threads, clock=self.clock, sleep=self.clock.sleep)

    def begin(self, method: str = "GET") -> Request:
        self.requests.append(Request(self.bulkheads, self.clock.now, method))
        return self.requests[-1]

    def ask(self, count: int, *, is_listed: bool = True, method: str = "GET") -> list[Request]:
        """Requests to that many names of one slow registry, each a little later than the one before."""
        found = []
        for number in range(count):
            host = Host(f"slow{number}.example", f"slow{number}", is_listed)
            found.append(self.begin(method).waits_for(host, f"192.0.2.{number + 1}"))
            self.clock.now += 0.01
        return found

    def tick(self, *waiting: str) -> list[str | None]:
        """What the requests were ended for, by now."""
        self.bulkheads.tick(self.requests, set(waiting))
        return [request.ended_for for request in self.requests]


FULL = "bulkhead full"


@pytest.mark.parametrize(
    ("threads", "is_listed", "ended"),
    [(4, True, 1), (4, False, 2), (16, True, 4), (16, False, 8), (2, True, 1), (1, True, 0)],
)
def test_more_than_a_share(threads: int, is_listed: bool, ended: int) -> None:
    """One registry under many names holds all threads, and somebody else waits: the oldest are ended."""
    server = BusyServer(threads)
    server.ask(threads, is_listed=is_listed)
    server.clock.now += COUNTED_SECONDS
    assert server.tick("other.example") == [FULL] * ended + [None] * (threads - ended)


def test_listed_and_unlisted_hosts_of_one_network() -> None:
    """Together they have no more than listed ones alone."""
    server = BusyServer(8)
    server.ask(4, is_listed=True)
    server.ask(4, is_listed=False)
    server.clock.now += COUNTED_SECONDS
    assert sum(reason == FULL for reason in server.tick("other.example")) == 2


def test_two_registries_together() -> None:
    """Each holds half of the threads, which it may; together they leave a quarter to others."""
    server = BusyServer(16)
    server.ask(8)
    for number in range(8):
        server.begin().waits_for(Host(f"other{number}.example", "other", True), "198.51.100.1")
    server.clock.now += COUNTED_SECONDS
    assert sum(reason == FULL for reason in server.tick("third.example")) == 4
    # Further requests to them are refused, so the threads are for others.
    with pytest.raises(BulkheadFull):
        server.begin().waits_for(Host("slow0.example", "slow0", True), "192.0.2.1")
    server.begin().waits_for(Host("third.example", "third", True), "203.0.113.1")


def test_many_slow_registries() -> None:
    """None of them has more than one thread, so none has to give it up."""
    server = BusyServer(4)
    for number in range(4):
        server.begin().waits_for(Host(f"host{number}.example", "host", True), f"198.51.{number}.1")
    server.clock.now += COUNTED_SECONDS
    assert server.tick("third.example") == [None] * 4


@pytest.mark.parametrize("waiting", [(), ("slow0.example",), ("slow1.example", "slow3.example")])
def test_nobody_else_waits(waiting: tuple[str, ...]) -> None:
    """The registry may have all threads then; so a server with one registry isn't limited."""
    server = BusyServer()
    server.ask(4)
    server.clock.now += COUNTED_SECONDS
    assert server.tick(*waiting) == [None] * 4


def test_a_request_without_a_registry_is_somebody_else() -> None:
    server = BusyServer()
    server.ask(4)
    server.clock.now += COUNTED_SECONDS
    assert server.tick("")[0] == FULL


def test_a_registry_that_answers_in_time() -> None:
    """A request counts once it has had its thread for a second."""
    server = BusyServer()
    server.ask(4)
    assert server.tick("other.example") == [None] * 4


def test_further_requests_to_slow_registries_count_at_once() -> None:
    """Six registries have all threads that they may have. Each further request would hold one of the others
    for a second.
    """
    server = BusyServer(16)

    def ask(number: int) -> None:
        server.begin().waits_for(Host(f"slow{number}.example", "slow", True), f"198.51.{number}.1")

    for number in range(12):
        ask(number % 6)
    server.clock.now += COUNTED_SECONDS
    assert server.tick("other.example") == [None] * 12
    for number in range(4):
        ask(number)
    assert server.tick("other.example").count(FULL) == 4


def test_a_registry_with_few_requests_keeps_its_time() -> None:
    """Its further requests don't count at once, whatever other registries hold."""
    server = BusyServer(16)
    host = Host("honest.example", "honest", True)
    first = server.begin().waits_for(host, "203.0.113.1")
    server.ask(11)
    server.clock.now += COUNTED_SECONDS
    second = server.begin().waits_for(host, "203.0.113.1")
    server.ask(3)
    assert server.tick("other.example").count(FULL) == 3
    assert (first.ended_for, second.ended_for) == (None, None)


def test_an_answer_without_a_thread_does_not_count() -> None:
    """It waits for its reader."""
    server = BusyServer()
    server.ask(4)[0].since = None
    server.clock.now += COUNTED_SECONDS
    assert server.tick("other.example") == [None] * 4


def test_reads_end_before_writes() -> None:
    server = BusyServer()
    server.ask(3, method="POST")
    server.ask(1)
    server.clock.now += COUNTED_SECONDS
    assert server.tick("other.example") == [None, None, None, FULL]


def test_other_registries_are_left_alone() -> None:
    """Each has less than its share, and together they leave threads to others."""
    server = BusyServer(8)
    server.ask(2)
    for number in range(2):
        host = Host(f"other{number}.example", "other", True)
        server.begin().waits_for(host, f"198.51.100.{number}")
    server.clock.now += COUNTED_SECONDS
    assert server.tick("third.example") == [None] * 4


def test_names_that_are_not_resolved() -> None:
    """Unlisted ones count as one registry, for their addresses aren't known yet; listed ones by name."""
    for is_listed, ended in ((False, 2), (True, 0)):
        server = BusyServer()
        for number in range(4):
            server.begin().waits_for(Host(f"name{number}.example", "name", is_listed))
        server.clock.now += COUNTED_SECONDS
        assert sum(reason == FULL for reason in server.tick("other.example")) == ended


def test_those_who_wait_for_another_request_count() -> None:
    """They have a thread, and no call."""
    server = BusyServer()
    host = Host("slow0.example", "slow0", True)
    server.ask(1)
    for _ in range(3):
        request = server.begin()
        request.run(request_scope.concern, host)
    server.clock.now += COUNTED_SECONDS
    assert server.tick("other.example") == [FULL, None, None, None]


def test_further_requests_are_refused() -> None:
    """While the registry has its share; those that hold the share go on."""
    server = BusyServer()
    holder = server.ask(4)[3]
    server.clock.now += COUNTED_SECONDS
    server.tick("other.example")
    slow, other = Host("slow0.example", "slow", True), Host("other.example", "other", True)
    holder.waits_for(slow)
    server.begin().waits_for(other, "198.51.100.1")
    newcomer = server.begin()
    with pytest.raises(BulkheadFull, match=r"^slow is slow, and requests to it hold"):
        newcomer.waits_for(slow)
    assert newcomer.ended_for == FULL
    unknown = server.begin()
    with pytest.raises(BulkheadFull):  # a name that leads to the same network
        unknown.waits_for(Host("new.example", "new", True), "192.0.2.77")


def test_a_registry_stays_limited_for_a_while() -> None:
    """Though nobody waits just now: the next one to come finds a thread."""
    server = BusyServer()
    for waiting, ended in ((("other.example",), 1), ((), 1)):
        server.ask(4)
        server.clock.now += COUNTED_SECONDS
        assert server.tick(*waiting).count(FULL) == ended
        server.requests = []
        server.tick()
    server.clock.now += LIMITED_SECONDS
    server.ask(4)
    server.clock.now += COUNTED_SECONDS
    assert server.tick() == [None] * 4


def test_clients_that_have_left() -> None:
    """Their requests are ended, unless they must be finished."""
    server = BusyServer()
    first, second = server.begin(), server.begin("POST")
    second.run(server.bulkheads.finish, Host("registry.example", "registry", True))
    first.client_has_left = second.client_has_left = True
    assert server.tick() == ["client left", None]
    with pytest.raises(ClientLeft):
        first.run(request_scope.check)


def test_as_many_finish_as_may_hold_a_thread() -> None:
    """The next one waits for one of them, and is refused where none is done in time. It may be ended."""
    server, host = BusyServer(), Host("registry.example", "registry", True)
    finishing = [server.begin("POST") for _ in range(3)]
    for request in finishing:
        request.run(request_scope.concern, host)
        request.run(server.bulkheads.finish, host)
    elsewhere = server.begin("POST")
    elsewhere.run(server.bulkheads.finish, Host("other.example", "other", True))
    late, begun = server.begin("POST"), server.clock.now
    with pytest.raises(BulkheadFull):
        late.run(server.bulkheads.finish, host)
    assert server.clock.now >= begun + FINISH_SECONDS
    finishing[0].since = None
    following = server.begin("POST")
    following.run(server.bulkheads.finish, host)
    following.client_has_left = True
    assert server.tick()[-1] is None


def test_the_embedded_registry_has_no_share() -> None:
    """Nothing is waited for there."""
    server = BusyServer()
    for _ in range(4):
        server.begin("POST").run(server.bulkheads.finish, None)
    assert server.bulkheads.watch(None).on_connect("127.0.0.1") is None


def test_a_server_that_tells_nothing() -> None:
    """Its requests have no scope, and are never ended."""
    bulkheads, seen = Bulkheads(4), []

    def application(_environ: Any, _start: Any) -> list[bytes]:
        seen.append(request_scope.current())
        return []

    bulkheads.scoped(application)({}, lambda *_: None)  # type: ignore[arg-type]
    bulkheads.finish(Host("registry.example", "registry", True))
    assert seen == [None]


# Calls over connections


def hang(begun: threading.Event, closed: threading.Event) -> Callable[[Connection], None]:
    """A server that reads and never answers."""

    def handle(connection: Connection) -> None:
        while connection.sock.recv(65536):
            begun.set()
        closed.set()

    return handle


def hang_after(head: bytes) -> Callable[[threading.Event, threading.Event], Callable[[Connection], None]]:
    def make(begun: threading.Event, closed: threading.Event) -> Callable[[Connection], None]:
        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(head)
            begun.set()
            if not connection.sock.recv(1):
                closed.set()

        return handle

    return make


class SlowFile:
    """A body whose second piece never comes by itself."""

    def __init__(self, begun: threading.Event) -> None:
        self._begun = begun

    def __len__(self) -> int:
        return 20

    def __iter__(self) -> Iterator[bytes]:
        yield b"x" * 10
        self._begun.set()
        request_scope.sleep(60)


CALLS = {
    "a document": (hang, lambda transport, call: transport.document(call)),
    "its body": (hang_after(answer(b"{", length=100)), lambda transport, call: transport.document(call)),
    "a stream": (hang, lambda transport, call: transport.stream(call)),
    "its pieces": (
        hang_after(answer(b"x", length=100)),
        lambda transport, call: list(transport.stream(call).pieces(10)),
    ),
    "an upload": (hang, lambda transport, call: transport.upload(call)),
}


@contextmanager
def hanging(kind: Any) -> Iterator[tuple[Server, threading.Event, threading.Event]]:
    begun, closed = threading.Event(), threading.Event()
    with Server(kind(begun, closed)) as server:
        yield server, begun, closed


def call_to(server: Server, **overrides: Any) -> Call:
    given: dict[str, Any] = {"method": "GET", "url": f"{server.url}/v2/", "reach": Reach.LISTED}
    return Call(**given | overrides)


def end(request: Request, bulkheads: Bulkheads) -> None:
    request.client_has_left = True
    bulkheads.tick([request], set())


@pytest.mark.parametrize(("kind", "send"), CALLS.values(), ids=CALLS)
def test_a_call_is_cut(make_transport: MakeTransport, kind: Any, send: Any) -> None:
    """The registry sees its connection closed, no attempt follows, and the request gets the reason."""
    transport = make_transport()
    request = Request(transport.bulkheads, 0.0)
    with hanging(kind) as (server, begun, closed), ThreadPoolExecutor(1) as threads:
        sent = threads.submit(request.run, send, transport, call_to(server))
        assert begun.wait(20)
        end(request, transport.bulkheads)
        with pytest.raises(ClientLeft):
            sent.result(20)
        assert closed.wait(20)
        assert server.connections == 1


def test_an_upload_is_cut_while_its_body_is_waited_for(make_transport: MakeTransport) -> None:
    """The exception is the request's, and the connection isn't used again."""
    transport, coming = make_transport(), threading.Event()
    request = Request(transport.bulkheads, 0.0)
    with hanging(hang) as (server, _begun, closed), ThreadPoolExecutor(1) as threads:
        call = call_to(server, method="PUT", body=SlowFile(coming))
        sent = threads.submit(request.run, transport.upload, call)
        assert coming.wait(20)
        end(request, transport.bulkheads)
        with pytest.raises(ClientLeft):
            sent.result(20)
        assert closed.wait(20)


def test_a_wait_between_two_attempts_ends(make_transport: MakeTransport) -> None:
    """A registry may ask for a long one."""
    waiting, slept = threading.Event(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        waiting.set()
        request_scope.sleep(60)

    transport = make_transport(sleep=sleep)
    request = Request(transport.bulkheads, 0.0)
    busy = always(answer(b"", "429 Too Many Requests", "Retry-After: 2"))
    with Server(busy) as server, ThreadPoolExecutor(1) as threads:
        sent = threads.submit(request.run, transport.document, call_to(server))
        assert waiting.wait(20)
        end(request, transport.bulkheads)
        with pytest.raises(ClientLeft):
            sent.result(20)
    assert slept == [2]


def test_looking_up_a_name_ends(make_transport: MakeTransport) -> None:
    looked_up, go_on = threading.Event(), threading.Event()

    def look_up(_host: str, _port: int) -> list[str]:
        looked_up.set()
        assert go_on.wait(20)
        return ["192.0.2.1"]

    transport = make_transport(lookup=look_up)
    request = Request(transport.bulkheads, 0.0)
    call = Call(method="GET", url="https://registry.example/v2/")
    try:
        with ThreadPoolExecutor(1) as threads:
            sent = threads.submit(request.run, transport.document, call)
            assert looked_up.wait(20)
            end(request, transport.bulkheads)
            with pytest.raises(ClientLeft):
                sent.result(20)
    finally:
        go_on.set()


def test_a_wait_for_other_calls_to_the_host_ends(make_transport: MakeTransport) -> None:
    transport = make_transport(host_connections=1)
    first, second = Request(transport.bulkheads, 0.0), Request(transport.bulkheads, 0.0)
    with hanging(hang) as (server, begun, _closed), ThreadPoolExecutor(2) as threads:
        sent = threads.submit(first.run, transport.document, call_to(server))
        assert begun.wait(20)
        waiting = threads.submit(second.run, transport.document, call_to(server))
        end(second, transport.bulkheads)
        with pytest.raises(ClientLeft):
            waiting.result(20)
        assert not sent.done()
        end(first, transport.bulkheads)


def test_names_are_counted_by_the_address_that_is_connected_to(make_transport: MakeTransport) -> None:
    """Four calls to four addresses of one network: one is ended when somebody else waits."""
    transport: Transport = make_transport(bulkheads=Bulkheads(4))
    begun, closed = threading.Event(), threading.Event()
    requests = [Request(transport.bulkheads, 0.0) for _ in range(4)]
    with (
        Server(hang(begun, closed), address="0.0.0.0") as server,
        ThreadPoolExecutor(4) as threads,
    ):
        sent = [
            threads.submit(
                request.run,
                transport.document,
                Call(method="GET", url=f"http://127.7.0.{number}:{server.port}/v2/", reach=Reach.LISTED),
            )
            for number, request in enumerate(requests, 1)
        ]
        until(lambda: server.connections == 4 and begun.is_set(), "all calls")
        transport.bulkheads.tick(requests, {"other.example"})
        assert [request.ended_for for request in requests].count(FULL) == 1
        for request in requests:
            end(request, transport.bulkheads)
        found = [call.exception(20) for call in sent]
    assert sorted(type(error).__name__ for error in found) == ["BulkheadFull", *["ClientLeft"] * 3]
    assert all(isinstance(error, PyOCIError) for error in found)
