"""An unlisted host that can't be reached: the caller gets one message, whatever the reason."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pyoci.errors import Denied, Unreachable
from pyoci.events import Events
from pyoci.net.adapters import Proxies
from pyoci.net.addresses import Address, Reach, Resolver
from pyoci.net.messages import Call
from pyoci.net.transport import Transport
from tests.net.conftest import Certificate, MakeTransport
from tests.net.servers import Connection, Server, always, answer

HOST = "registry.example"


class Loopback(Resolver):
    """Resolves public names to this machine, because tests have no public address."""

    def permitted(self, host: str, port: int, reach: Reach, timeout: float) -> list[str]:
        return ["127.0.0.1"]


def lookup_of(found: list[str] | Exception) -> Resolver:
    def lookup(*_: object) -> list[str]:
        if isinstance(found, Exception):
            raise found
        return found

    return Resolver(lookup)


@contextmanager
def closed(_certificate: Certificate) -> Iterator[tuple[int, dict[str, Any]]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield port, {"resolver": Loopback()}


def served(handle: Callable[[Connection], None], *, tls: bool = False) -> Any:
    @contextmanager
    def serve(certificate: Certificate) -> Iterator[tuple[int, dict[str, Any]]]:
        with Server(handle, tls=certificate.server if tls else None) as server:
            yield server.port, {"resolver": Loopback()}

    return serve


def cut(connection: Connection) -> None:
    connection.sock.recv(65536)


def named(found: list[str] | Exception, **more: Any) -> Any:
    @contextmanager
    def at_443(_certificate: Certificate) -> Iterator[tuple[int, dict[str, Any]]]:
        yield 443, {"resolver": lookup_of(found), **more}

    return at_443


FAILURES = {
    "closed port": closed,
    "silent port": served(lambda connection: connection.hang()),
    "port without TLS": served(lambda connection: connection.send(answer())),
    "cut handshake": served(cut),
    "untrusted certificate": served(always(answer()), tls=True),
    "unknown name": named(socket.gaierror(-2, "Name or service not known")),
    "broken resolver": named(OSError("resolver gone")),
    "not a name": named(UnicodeError("label too long")),
    "no address": named([]),
    "private address": named(["10.0.0.1"]),
    "loopback address": named(["127.0.0.1"]),
    "metadata address": named(["169.254.169.254"]),
    "one private address of two": named(["8.8.8.8", "10.0.0.1"]),
    "a proxy in between": named(["8.8.8.8"], proxies=Proxies({"https": "http://proxy.example:3128"})),
}
ASKING = {
    "document": lambda transport, call: transport.document(call),
    "stream": lambda transport, call: transport.stream(call),
    "upload": lambda transport, call: transport.upload(call),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_every_failure_has_the_same_message(
    make_transport: MakeTransport,
    certificate: Certificate,
    failure: Any,
    ask: Callable[[Transport, Call], object],
) -> None:
    """The status and the sentence are always the same. The operator's log has the reason."""
    told: list[tuple[str, dict[str, Any]]] = []
    events = Events(log=lambda event, **facts: told.append((event, facts)))
    with failure(certificate) as (port, settings):
        transport = make_transport(
            events=events,
            public_port=port,
            document_seconds=0.5,
            stall_seconds=0.5,
            answer_seconds=0.5,
            **settings,
        )
        with pytest.raises(Unreachable) as caught:
            ask(transport, Call(method="GET", url=f"https://{HOST}:{port}/v2/", name=HOST))
    assert caught.value.message == (
        f"{HOST} could not be reached; unless PYOCI_REGISTRIES lists it,"
        " a registry needs a public address and a valid certificate"
    )
    reasons = [facts["reason"] for event, facts in told if event == "host not reached"]
    assert len(reasons) == 1
    assert reasons[0] != caught.value.message


def test_log_has_the_reason(make_transport: MakeTransport) -> None:
    """A name without an address differs from a name with a private address."""
    reasons = []
    for found in (socket.gaierror(-2, "unknown"), ["10.0.0.1"]):
        told: list[dict[str, Any]] = []
        events = Events(log=lambda _event, told=told, **facts: told.append(facts))
        transport = make_transport(events=events, resolver=lookup_of(found))
        with pytest.raises(Unreachable):
            transport.document(Call(method="GET", url=f"https://{HOST}/v2/"))
        reasons += [facts["reason"] for facts in told if facts.get("level") == "warning"]
    assert "its name has no address" in reasons[0]
    assert "has an address that is not public" in reasons[1]


def test_another_hosts_name_is_not_logged(make_transport: MakeTransport) -> None:
    """The registry chose the name, and it may contain the caller's credentials."""
    told: list[dict[str, Any]] = []
    events = Events(log=lambda _event, **facts: told.append(facts))
    transport = make_transport(events=events, resolver=lookup_of(["10.0.0.1"]))
    with pytest.raises(Unreachable, match=r"^registry\.example could not be reached"):
        transport.document(Call(method="GET", url="https://hunter2.evil.example/token", name=HOST))
    warned = [facts for facts in told if facts["level"] == "warning"]
    assert [facts["registry"] for facts in warned] == [HOST]
    assert "hunter2" not in repr(warned)


@pytest.mark.parametrize("port", [80, 444, 8443, 22])
@pytest.mark.parametrize("host", ["127.0.0.1", HOST])
def test_other_ports_are_refused(make_transport: MakeTransport, host: str, port: int) -> None:
    """The refusal is the same for every port, and comes before the name is looked up."""

    def lookup(*_: object) -> list[str]:
        raise AssertionError("nothing is looked up")

    transport = make_transport(lookup=lookup)
    with pytest.raises(Denied, match="PYOCI_REGISTRIES lists may use another port than 443"):
        transport.document(Call(method="GET", url=f"https://{host}:{port}/v2/"))


@pytest.mark.parametrize("reach", [Reach.VOUCHED, Reach.PRIVATE, Reach.LISTED])
def test_listed_hosts_have_detailed_messages(make_transport: MakeTransport, reach: Reach) -> None:
    """Only the operator can name them, and needs the reason."""
    transport = make_transport(resolver=lookup_of(socket.gaierror(-2, "unknown")))
    with pytest.raises(Unreachable, match="its name has no address"):
        transport.document(Call(method="GET", url=f"https://{HOST}:8443/v2/", reach=reach))


def test_a_name_that_is_not_resolved_in_time(make_transport: MakeTransport) -> None:
    """The message has the name that callers know the host by, as for every other reason."""
    release = threading.Event()

    def hang(*_: object) -> list[str]:
        release.wait(60)
        return []

    class Impatient(Resolver):
        def addresses(self, host: str, port: int, timeout: float, *, listed: bool = True) -> list[Address]:
            return super().addresses(host, port, 0.05, listed=listed)

    transport = make_transport(resolver=Impatient(hang))
    call = Call(method="GET", url="https://internal.example/", reach=Reach.LISTED, name="the package index")
    with pytest.raises(Unreachable) as caught:
        transport.document(call)
    release.set()
    assert caught.value.message == (
        "the package index could not be reached: its name could not be resolved in time"
    )
