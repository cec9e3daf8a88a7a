"""A hostile registry: every call ends with one sentence of the right kind, in time, and in bounded memory."""

from __future__ import annotations

import io
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pyoci.errors import Denied, ProtocolError, PyOCIError, Unreachable
from pyoci.net.addresses import Reach, Resolver
from pyoci.net.messages import Call
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Basic
from pyoci.oci.models import IMAGE_INDEX
from pyoci.oci.references import Registry, Repository, Tag
from pyoci.oci.session import Gateway, OCISession
from tests.net.conftest import Certificate
from tests.net.servers import Connection, Server, after_request, answer
from tests.oci import hostile
from tests.oci.conftest import sha256

BUDGET = 0.6  # seconds for a document, and without progress, where the registry is to be given up
ENOUGH = 60.0  # the same where it is to be understood; a busy machine takes seconds
MEMORY = 24 * 1024 * 1024
BLOB = b"x" * 1000
DIGEST = sha256(BLOB)
TAG = Tag.parse("1.0")

# Each ends within seconds. A hang ends here; what is added is for tracemalloc on a busy machine.
pytestmark = pytest.mark.timeout(120)

Ask = Callable[[OCISession, Repository], object]


def tags(session: OCISession, repository: Repository) -> object:
    return session.tags(repository)


def pull(session: OCISession, repository: Repository) -> object:
    return session.pull(repository, TAG).image_index()


def blob(session: OCISession, repository: Repository) -> object:
    return sum(len(piece) for piece in session.open_blob(repository, DIGEST).pieces)


def size(session: OCISession, repository: Repository) -> object:
    return session.blob_size(repository, DIGEST)


def push(session: OCISession, repository: Repository) -> None:
    session.push_blob(repository, io.BytesIO(BLOB), len(BLOB), DIGEST)


def delete(session: OCISession, repository: Repository) -> None:
    session.delete(repository, TAG)


@contextmanager
def met(handle: hostile.Handler, budget: float = ENOUGH) -> Iterator[tuple[OCISession, Repository]]:
    """A session at a registry with this handler."""
    transport = Transport(
        document_seconds=budget, stall_seconds=budget, answer_seconds=budget, sleep=lambda _: None
    )
    with Server(handle) as server:
        registry = Registry.parse(server.url, listed=True)
        session = Gateway(transport, ttl=60).session(registry, Basic("user", "secret"), publishing=True)
        try:
            yield session, Repository.parse(registry, "a/b")
        finally:
            transport.close()


def fails(handle: hostile.Handler, ask: Ask, budget: float = ENOUGH) -> PyOCIError:
    """The error that `ask` raises. Checks the memory and the message."""
    with met(handle, budget) as (session, repository):
        tracemalloc.start()
        try:
            with pytest.raises(PyOCIError) as caught:
                ask(session, repository)
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()
    message = caught.value.message
    assert message.isprintable()
    assert message.encode("latin-1")
    assert len(message) < 400
    assert "secret" not in message
    return caught.value


def follow(transport: Transport, registry: Registry, url: str, what: str) -> object:
    """Request the URL that the registry names."""
    target = Gateway(transport, ttl=60).targets.target(registry, registry.url(""), url, what)
    return transport.document(Call(method="GET", url=target.url, reach=target.reach))


class NearRegistry(Resolver):
    """Resolves `registry.example` to this machine. Other names are checked as usual."""

    def permitted(self, host: str, port: int, reach: Reach, timeout: float) -> list[str]:
        return ["127.0.0.1"] if host == "registry.example" else super().permitted(host, port, reach, timeout)


def resolved(host: str, _port: int) -> list[str]:
    if host == "unknown.example":
        raise socket.gaierror(-2, "Name or service not known")
    return {"private.example": ["10.0.0.1"], "empty.example": []}.get(host, ["127.0.0.1"])


@pytest.mark.parametrize("way", ["realm", "redirect", "Location"])
def test_what_an_unlisted_registry_names_fails_with_one_sentence(certificate: Certificate, way: str) -> None:
    """A caller who runs a registry learns nothing about the network from the URLs that it names."""
    messages = set()
    for host in ("unknown.example", "private.example", "empty.example", "127.0.0.1", "169.254.169.254"):
        where = f"https://{host}/token"
        handle, ask = {
            "realm": (hostile.every(hostile.challenge(where)), tags),
            "redirect": (hostile.every(hostile.redirect(where)), blob),
            "Location": (hostile.routed({"POST": answer(b"", "202 Accepted", f"Location: {where}")}), push),
        }[way]
        with Server(handle, tls=certificate.server) as server:
            transport = Transport(
                resolver=NearRegistry(resolved),
                public_port=server.port,
                ca_bundle=str(certificate.file),
                document_seconds=BUDGET,
                sleep=lambda _: None,
            )
            registry = Registry.parse(f"registry.example:{server.port}")
            session = Gateway(transport, ttl=60).session(registry, Basic("user", "secret"), publishing=True)
            with pytest.raises(Unreachable) as caught:
                ask(session, Repository.parse(registry, "a/b"))
            assert server.connections
            messages.add(caught.value.message.replace(str(server.port), "PORT"))
            transport.close()
    assert messages == {
        "registry.example:PORT could not be reached; unless PYOCI_REGISTRIES lists it,"
        " a registry needs a public address and a valid certificate"
    }


JSON = "application/json"
GOOD_TAGS = answer(b'{"tags": []}', kind=JSON)
STARTED = answer(b"", "202 Accepted", "Location: /u")


class TestInside:
    """Realms, Locations, Links and redirects to private addresses."""

    @pytest.fixture
    def bystander(self) -> Iterator[Server]:
        """A private service that must not get a connection."""
        with Server(hostile.every(answer(b'{"token": "abc"}'))) as server:
            yield server

    @pytest.mark.parametrize("where", hostile.METADATA)
    @pytest.mark.parametrize("way", ["realm", "redirect", "Location"])
    def test_private_registry_may_not_name_metadata(self, where: str, way: str) -> None:
        """It may name private addresses, but not those of cloud metadata."""
        handle, ask = {
            "realm": (hostile.every(hostile.challenge(where)), tags),
            "redirect": (hostile.every(hostile.redirect(where)), blob),
            "Location": (hostile.routed({"POST": answer(b"", "202 Accepted", f"Location: {where}")}), push),
        }[way]
        assert isinstance(fails(handle, ask), Denied)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("what", ["realm", "Location", "redirect"])
    def test_public_registry_may_not_name_private_addresses(
        self, bystander: Server, scheme: str, what: str
    ) -> None:
        """They are refused by their scheme or address, without a connection."""
        transport = Transport()
        public = Registry.parse("registry.example")
        try:
            with pytest.raises((ProtocolError, Denied)):
                follow(transport, public, f"{scheme}://{bystander.host}/", what)
        finally:
            transport.close()
        assert bystander.connections == 0

    def test_a_link_elsewhere_is_refused(self, bystander: Server) -> None:
        """A list must continue at the registry where it began, even if that is private."""
        link = f'Link: <{bystander.url}/v2/a/b/tags/list>; rel="next"'
        found = fails(hostile.every(answer(b'{"tags": ["a"]}', "200 OK", link)), tags)
        assert isinstance(found, ProtocolError)
        assert bystander.connections == 0

    def test_no_token_goes_elsewhere(self) -> None:
        """A Location with another port is another origin."""
        heads: list[bytes] = []

        def storage(connection: Connection) -> None:
            while head := connection.request():
                heads.append(head)
                connection.body(head)
                connection.send(answer(b"", "201 Created"))

        with Server(storage) as other:
            routes = {
                "HEAD": answer(b"", "404 Not Found"),
                "POST": answer(b"", "202 Accepted", f"Location: {other.url}/u"),
            }
            with met(hostile.routed(routes)) as (session, repository):
                push(session, repository)
        assert len(heads) == 1
        assert b"authorization" not in heads[0].lower()


TOKEN_FLOOD = hostile.routed(
    {"GET /v2/": hostile.challenge("/token")},
    lambda connection: hostile.endless_body(connection),
)
DEEP = b'{"tags": ' + b"[" * 1_000_000
WIDE = b'{"tags": [' + b"{}," * 1_000_000 + b"{}]}"
LIES = answer(b"y" * 1000, "200 OK", f"Docker-Content-Digest: {DIGEST}")

CASES: dict[str, tuple[hostile.Handler, Ask, type[PyOCIError]]] = {
    "token body without end": (TOKEN_FLOOD, tags, ProtocolError),
    # On a busy machine thirty seconds are over before the last page that is read.
    "tags without end": (hostile.endless_tags, tags, PyOCIError),
    "page without end": (after_request(hostile.endless_body), tags, ProtocolError),
    "document without end": (after_request(hostile.endless_body), pull, ProtocolError),
    "chunks without end": (hostile.chunked_forever, pull, ProtocolError),
    "100 Continue without end": (hostile.continuing_forever, tags, PyOCIError),
    "headers without end": (hostile.headers_forever, tags, ProtocolError),
    "error without end": (
        after_request(lambda c: hostile.endless_body(c, b"HTTP/1.1 500 No\r\n\r\n")),
        tags,
        ProtocolError,
    ),
    "gzip bomb as a page": (
        hostile.every(answer(hostile.BOMB, "200 OK", "Content-Encoding: gzip", kind=JSON)),
        tags,
        ProtocolError,
    ),
    "gzip bomb as a document": (
        hostile.every(answer(hostile.BOMB, "200 OK", "Content-Encoding: gzip", kind=IMAGE_INDEX)),
        pull,
        ProtocolError,
    ),
    "gzip bomb as a token": (
        hostile.routed(
            {
                "GET /v2/": hostile.challenge("/token"),
                "GET /token": answer(hostile.BOMB, "200 OK", "Content-Encoding: gzip"),
            }
        ),
        tags,
        ProtocolError,
    ),
    "gzip bomb as a blob": (
        hostile.every(answer(hostile.BOMB, "200 OK", "Content-Encoding: gzip")),
        blob,
        ProtocolError,
    ),
    "many encodings": (
        hostile.every(answer(b"x", "200 OK", "Content-Encoding: " + "gzip, " * 1000 + "br")),
        tags,
        ProtocolError,
    ),
    "HTML with 200 as tags": (hostile.every(answer(b"<html>", kind="text/html")), tags, ProtocolError),
    "HTML with 200 as a document": (hostile.every(answer(b"<html>", kind="text/html")), pull, ProtocolError),
    "HTML with 200 as a blob": (hostile.every(answer(b"<html>", kind="text/html")), blob, ProtocolError),
    "HTML with 200 as an upload": (hostile.every(answer(b"<html>", kind="text/html")), push, ProtocolError),
    "HTML with 404": (hostile.every(answer(b"<html>", "404 Not Found")), tags, PyOCIError),
    "JSON of the wrong shape": (hostile.every(answer(b'{"tags": {"a": 1}}')), tags, ProtocolError),
    "document of the wrong shape": (
        hostile.every(answer(b'{"manifests": 1}', kind=IMAGE_INDEX)),
        pull,
        ProtocolError,
    ),
    "deep nesting": (hostile.every(answer(DEEP)), tags, ProtocolError),
    "deep nesting in a document": (hostile.every(answer(DEEP, kind=JSON)), pull, ProtocolError),
    "deep nesting in an error": (hostile.every(answer(DEEP, "400 Bad Request")), delete, PyOCIError),
    "digest that lies on a blob": (hostile.every(LIES), blob, ProtocolError),
    "digest that lies on a document": (
        hostile.every(answer(b"{}", "200 OK", f"Docker-Content-Digest: {DIGEST}", kind=IMAGE_INDEX)),
        pull,
        ProtocolError,
    ),
    "digest that lies on an upload": (
        hostile.routed(
            {
                "POST": STARTED,
                "PUT": answer(b"", "201 Created", f"Docker-Content-Digest: {sha256(b'other')}"),
            }
        ),
        push,
        ProtocolError,
    ),
    "digest with a newline": (
        hostile.every(
            answer(b"{}", "200 OK", "Docker-Content-Digest: sha256:a\r\n b\x07\x1b[31m", kind=IMAGE_INDEX)
        ),
        pull,
        ProtocolError,
    ),
    "Location with a newline": (
        hostile.every(answer(b"", "307 Temporary Redirect", "Location: https://a\r\n .example/b c")),
        blob,
        ProtocolError,
    ),
    "challenge with a newline": (
        hostile.every(answer(b"", "401 No", 'WWW-Authenticate: Bearer realm="ht\r\n tps://[x"')),
        tags,
        PyOCIError,
    ),
    "message with newlines": (
        hostile.every(
            answer(b'{"errors":[{"code":"\\n\\r","message":"a\\r\\nSet-Cookie: x\\u001b[31m"}]}', "400 No")
        ),
        delete,
        PyOCIError,
    ),
    "huge header": (hostile.every(answer(b"", "200 OK", "X: " + "y" * 1_000_000)), tags, ProtocolError),
    "huge challenge": (
        hostile.every(answer(b"", "401 No", 'WWW-Authenticate: Bearer realm="' + "y" * 60_000)),
        tags,
        PyOCIError,
    ),
    "redirect loop": (hostile.every(hostile.redirect("/v2/a/b/blobs/again")), blob, ProtocolError),
    "redirect of a document": (hostile.every(hostile.redirect("/elsewhere")), pull, ProtocolError),
    "redirect of an upload": (
        hostile.routed({"POST": STARTED, "PUT": hostile.redirect("/u")}),
        push,
        ProtocolError,
    ),
    "upload without Location": (hostile.routed({"POST": answer(b"", "202 Accepted")}), push, ProtocolError),
    "one byte at a time, tags": (hostile.slow(GOOD_TAGS), tags, Unreachable),
    "one byte at a time, document": (hostile.slow(answer(b" " * 1000)), pull, Unreachable),
    "one byte at a time, blob": (hostile.slow(answer(BLOB)), blob, Unreachable),
    "one byte at a time, upload": (hostile.slow(STARTED), push, Unreachable),
    "connection reset": (hostile.reset, tags, Unreachable),
    "connection reset, blob": (hostile.reset, blob, Unreachable),
    "half an answer": (hostile.half, tags, Unreachable),
    "half a blob": (hostile.half, blob, Unreachable),
    "silence": (hostile.silent, tags, Unreachable),
    "silence, blob": (hostile.silent, blob, Unreachable),
    "no HTTP": (lambda c: c.send(b"220 mail.example ESMTP\r\n"), tags, PyOCIError),
    "false length of a blob": (hostile.every(answer(BLOB, length=999)), blob, PyOCIError),
    "negative length": (hostile.every(answer(b"", length=-5)), tags, PyOCIError),
    "size that is none": (hostile.every(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), size, PyOCIError),
}


@pytest.mark.parametrize(("handle", "ask", "kind"), CASES.values(), ids=CASES)
def test_hostile_answer_is_an_error(handle: hostile.Handler, ask: Ask, kind: type[PyOCIError]) -> None:
    """Of the right kind, and in bounded memory."""
    budget = BUDGET if kind in {PyOCIError, Unreachable} else ENOUGH
    assert isinstance(fails(handle, ask, budget), kind)


def test_a_wide_page_is_bounded() -> None:
    """Three bytes of JSON become a dictionary each, so a page has a limit."""
    with met(hostile.every(answer(WIDE))) as (session, repository):
        tracemalloc.start()
        try:
            assert tags(session, repository) == ()
            assert tracemalloc.get_traced_memory()[1] < 120 * 1024 * 1024
        finally:
            tracemalloc.stop()


def test_endless_blob_takes_bounded_memory() -> None:
    """Its bytes are passed on as they arrive, and the reader may stop."""
    with met(after_request(hostile.endless_body)) as (session, repository):
        tracemalloc.start()
        try:
            stream = session.open_blob(repository, DIGEST)
            read = 0
            for piece in stream.pieces:
                read += len(piece)
                if read > 64 * 1024 * 1024:
                    break
            stream.close()
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()


def test_no_tls_behind_https() -> None:
    """The server answers a handshake with other bytes."""
    transport = Transport(document_seconds=ENOUGH, sleep=lambda _: None)
    with Server(lambda c: c.send(b"\x15\x03\x01garbage" * 100)) as server:
        registry = Registry.parse(f"https://{server.host}", listed=True)
        session = Gateway(transport, ttl=60).session(registry, Basic("user", "secret"))
        with pytest.raises(Unreachable, match="TLS"):
            session.tags(Repository.parse(registry, "a/b"))
    transport.close()


@pytest.mark.parametrize("host", ["registry.invalid", "127.0.0.1:1"])
def test_unreachable_host_is_an_error(host: str) -> None:
    """A name that doesn't resolve, or a port that refuses: the call ends soon, with one sentence."""
    transport = Transport(sleep=lambda _: None)
    registry = Registry.parse(f"http://{host}", listed=True)
    with pytest.raises(Unreachable) as caught:
        Gateway(transport, ttl=60).session(registry, Basic("user", "secret")).tags(
            Repository.parse(registry, "a/b")
        )
    assert caught.value.message.isprintable()
    transport.close()


def test_registry_that_hangs_delays_only_its_own_callers() -> None:
    """Calls to another registry end while those to the first one still wait."""
    transport = Transport(document_seconds=60, sleep=lambda _: None)
    asked = threading.Semaphore(0)

    def hang(connection: Connection) -> None:
        connection.request()
        asked.release()
        connection.hang(60)

    with Server(hang) as stuck, Server(hostile.every(GOOD_TAGS)) as good:
        gateway = Gateway(transport, ttl=60)

        def ask(server: Server) -> object:
            registry = Registry.parse(server.url, listed=True)
            return gateway.session(registry, Basic("u", "p")).tags(Repository.parse(registry, "a/b"))

        def wait() -> None:
            with pytest.raises(Unreachable):
                ask(stuck)

        waiting = [threading.Thread(target=wait) for _ in range(30)]
        for thread in waiting:
            thread.start()
        for _ in range(16):  # as many as one registry may keep waiting at a time
            assert asked.acquire(timeout=60)
        for _ in range(20):
            assert ask(good) == ()
        assert all(thread.is_alive() for thread in waiting)
    for thread in waiting:  # their registry has gone
        thread.join()
    transport.close()
