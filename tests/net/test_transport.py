"""Transport: retries within the deadline, limits of each host, proxies, requests and log events."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from pyoci.errors import Denied, ProtocolError, Unreachable
from pyoci.events import Events
from pyoci.net.adapters import Proxies
from pyoci.net.addresses import Reach
from pyoci.net.messages import Answer, Call, FileBody, Stream
from pyoci.net.transport import Transport
from tests.clock import Clock
from tests.net.conftest import Certificate, MakeTransport
from tests.net.servers import Connection, Server, always, answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_call(server: Server, **overrides: Any) -> Call:
    given: dict[str, Any] = {"method": "GET", "url": f"{server.url}/v2/", "reach": Reach.LISTED} | overrides
    return Call(**given)


def in_turn(*replies: bytes) -> Callable[[Connection], None]:
    """A handler that sends these answers one after the other, over any number of connections."""
    left = iter(replies)

    def handle(connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            reply = next(left)
            connection.send(reply)
            if not reply:
                return

    return handle


BUSY = answer(b"busy", "503 Service Unavailable")
GOOD = answer(b"good")


def after(value: object) -> bytes:
    return answer(b"wait", "429 Too Many Requests", f"Retry-After: {value}")


class TestRetries:
    @pytest.mark.parametrize("kind", ["document", "stream"])
    @pytest.mark.parametrize(
        ("replies", "status", "slept"),
        [
            pytest.param([GOOD], 200, [], id="good at once"),
            pytest.param([BUSY, GOOD], 200, [0.2], id="busy once"),
            pytest.param([BUSY, BUSY, GOOD], 200, [0.2, 0.4], id="busy twice"),
            pytest.param([BUSY, BUSY, BUSY], 503, [0.2, 0.4], id="busy for ever"),
            pytest.param([b"", GOOD], 200, [0.2], id="lost once"),
            pytest.param([answer(status="404 Not Found")], 404, [], id="a no is an answer"),
            pytest.param([answer(status="501 Not Implemented")], 501, [], id="so is never"),
            pytest.param([after(3), GOOD], 200, [3], id="429 in seconds"),
            pytest.param([after(0), GOOD], 200, [0.2], id="429 without wait"),
            pytest.param([after(3), after(3), GOOD], 200, [3, 3], id="429 twice"),
            pytest.param([after(60)], 429, [], id="429 beyond the budget"),
            pytest.param([after(6), after(6)], 429, [6], id="429 beyond what is left"),
            pytest.param([answer(status="429 Slow Down"), GOOD], 200, [0.2], id="429 without header"),
            pytest.param([after("soon"), GOOD], 200, [0.2], id="429 with a header of no use"),
        ],
    )
    def test_calls_are_repeated_within_the_time_limit(
        self,
        make_transport: MakeTransport,
        clock: Clock,
        kind: str,
        replies: list[bytes],
        status: int,
        slept: list[float],
    ) -> None:
        """After lost connections, from busy registries and after 429: three attempts within ten seconds."""
        with Server(in_turn(*replies)) as server:
            transport = make_transport(sleep=clock.sleep, clock=clock, document_seconds=10)
            found: Answer | Stream = getattr(transport, kind)(make_call(server))
            if isinstance(found, Stream):
                found.head(100)
                found.close()
        assert found.status == status
        assert clock.slept == slept

    def test_429_with_a_date_is_waited_for(self, make_transport: MakeTransport, clock: Clock) -> None:
        """Some registries send a date instead of seconds."""
        moment = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
        with Server(in_turn(after(moment), GOOD)) as server:
            transport = make_transport(sleep=clock.sleep, clock=clock, document_seconds=10)
            assert transport.document(make_call(server)).status == 200
        assert 2 <= clock.slept[0] <= 4

    def test_lost_connections_end_as_unreachable(self, make_transport: MakeTransport, clock: Clock) -> None:
        """The third failure is raised."""
        with Server(in_turn(b"", b"", b"")) as server, pytest.raises(Unreachable):
            make_transport(sleep=clock.sleep, clock=clock).document(make_call(server))
        assert (server.connections, clock.slept) == (3, [0.2, 0.4])

    def test_no_attempt_begins_after_the_time_limit(
        self, make_transport: MakeTransport, clock: Clock
    ) -> None:
        """A pause that would end too late isn't begun."""
        with Server(in_turn(BUSY, BUSY)) as server:
            transport = make_transport(sleep=clock.sleep, clock=clock, document_seconds=0.5)
            assert transport.document(make_call(server)).status == 503
        assert clock.slept == [0.2]

    @pytest.mark.parametrize(("jitter", "pause"), [(0.0, 0.1), (0.999, 0.2998)])
    def test_pauses_are_random(
        self, make_transport: MakeTransport, clock: Clock, jitter: float, pause: float
    ) -> None:
        """Callers that fail at the same time wait for different times."""
        with Server(in_turn(BUSY, GOOD)) as server:
            transport = make_transport(sleep=clock.sleep, clock=clock, jitter=lambda: jitter)
            transport.document(make_call(server))
            transport.wait(1)
        assert clock.slept == [pytest.approx(pause)] * 2

    def test_uploads_are_sent_once(self, make_transport: MakeTransport, clock: Clock) -> None:
        """A body can be read only once. Only the caller can start another upload."""
        with Server(in_turn(BUSY)) as server:
            body = FileBody(io.BytesIO(b"x"), 1)
            call = make_call(server, method="PUT", body=body)
            assert make_transport(sleep=clock.sleep).upload(call).status == 503
        assert clock.slept == []

    def test_the_embedded_registry_is_asked_once(self) -> None:
        """Its 500 is a defect, which another attempt would not change."""
        asked: list[str] = []

        def application(environ: Any, start_response: Any) -> list[bytes]:
            asked.append(environ["PATH_INFO"])
            start_response("500 Internal Server Error", [])
            return [b""]

        call = Call(method="GET", url="embedded://local/v2/", reach=Reach.EMBEDDED)
        assert Transport(embedded=application).document(call).status == 500
        assert len(asked) == 1


class TestBodies:
    def test_a_document_has_a_limit(self, make_transport: MakeTransport) -> None:
        """One byte more is too much, and the connection is then closed."""
        with Server(always(answer(b"x" * 1001))) as server:
            transport = make_transport()
            assert len(transport.document(make_call(server), limit=1001).body) == 1001
            with pytest.raises(ProtocolError, match="more than 1000 bytes"):
                transport.document(make_call(server), limit=1000)

    @pytest.mark.parametrize("method", ["document", "stream"])
    def test_two_lengths_are_a_protocol_error(self, make_transport: MakeTransport, method: str) -> None:
        """Such an answer may be an attempt at smuggling another one."""
        reply = answer(b"ok", "200 OK", "Content-Length: 2, 3")
        with Server(always(reply)) as server, pytest.raises(ProtocolError, match="can't be read"):
            getattr(make_transport(), method)(make_call(server))

    def test_only_the_beginning_of_a_refusal_is_read(self, make_transport: MakeTransport) -> None:
        """The status counts, however long the body is."""
        with Server(always(answer(b"x" * 1_000_000, "403 Forbidden"))) as server:
            found = make_transport().document(make_call(server))
        assert (found.status, len(found.body)) == (403, 64 * 1024)

    @pytest.mark.parametrize("size", [1, 300_000])
    def test_uploads_have_a_length(self, make_transport: MakeTransport, size: int) -> None:
        """Google's registry answers 411 to a chunked body, and to a body without Content-Length."""
        received: list[tuple[bytes, bytes]] = []

        def handle(connection: Connection) -> None:
            head = connection.request()
            received.append((head, connection.body(head)))
            connection.send(answer(status="201 Created"))

        content = os.urandom(size)
        with Server(handle) as server:
            body = FileBody(io.BytesIO(content), size)
            make_transport().upload(make_call(server, method="PUT", body=body))
        head, sent = received[0]
        assert sent == content
        assert f"Content-Length: {size}\r\n".encode() in head
        assert b"Transfer-Encoding" not in head

    @pytest.mark.parametrize("body", [b"", FileBody(io.BytesIO(), 0)], ids=["bytes", "file"])
    def test_an_empty_body_has_a_length(self, make_transport: MakeTransport, body: bytes | FileBody) -> None:
        """Google's registry requires Content-Length: 0 in the POST that starts an upload."""
        heads: list[bytes] = []

        def handle(connection: Connection) -> None:
            heads.append(connection.request())
            connection.send(answer(status="202 Accepted"))

        with Server(handle) as server:
            make_transport().upload(make_call(server, method="POST", body=body))
        assert b"Content-Length: 0\r\n" in heads[0]


class TestRequests:
    def heads(self, transport: Transport, reply: bytes, **overrides: Any) -> list[bytes]:
        heads: list[bytes] = []

        def handle(connection: Connection) -> None:
            while head := connection.request():
                heads.append(head)
                connection.send(reply)

        with Server(handle) as server:
            for _ in range(2):
                transport.document(make_call(server, **overrides))
        return heads

    def test_cookies_are_not_sent(self, make_transport: MakeTransport) -> None:
        """Harbor sets cookies, and refuses clients that send them."""
        heads = self.heads(make_transport(), answer(b"", "200 OK", "Set-Cookie: sid=1; Path=/"))
        assert not any(b"cookie" in head.lower() for head in heads)

    def test_no_netrc_and_no_proxy_of_the_environment(
        self, make_transport: MakeTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With ~/.netrc requests would replace an Authorization header. The environment
        is read in one place.
        """
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login user password secret\ndefault login user password secret\n")
        netrc.chmod(0o600)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
        heads = self.heads(make_transport(), GOOD, headers={"Authorization": "Bearer mine"})
        assert all(b"Authorization: Bearer mine\r\n" in head for head in heads)
        heads = self.heads(make_transport(), GOOD)
        assert not any(b"authorization" in head.lower() for head in heads)

    def test_bodies_are_not_decompressed(self, make_transport: MakeTransport) -> None:
        """A tar.gz with Content-Encoding would arrive unpacked."""
        heads = self.heads(make_transport(user_agent="pyoci/1.0"), GOOD)
        assert b"Accept-Encoding: identity\r\n" in heads[0]
        assert b"User-Agent: pyoci/1.0\r\n" in heads[0]

    def test_redirects_are_not_followed(self, make_transport: MakeTransport) -> None:
        """The caller checks the target of a redirect before it is requested."""
        heads = self.heads(make_transport(), answer(b"", "307 Temporary Redirect", "Location: /elsewhere"))
        assert all(head.startswith(b"GET /v2/ ") for head in heads)

    @pytest.mark.parametrize(
        "query", ["_state=a%2bB%7E%2D==&x=%20", "sig=a/b+c%2F%3d&se=2026-11-20T20%3A23Z", "a=b&a=&&c"]
    )
    def test_a_query_stays_as_it_is(self, make_transport: MakeTransport, query: str) -> None:
        """A signature covers its bytes. Only the case of percent-encodings may change."""
        heads: list[bytes] = []

        def handle(connection: Connection) -> None:
            heads.append(connection.request())
            connection.send(GOOD)

        with Server(handle) as server:
            make_transport().document(make_call(server, url=f"{server.url}/v2/?{query}"))
        sent = heads[0].split(b" ")[1].decode().partition("?")[2]
        assert sent.lower() == query.lower()

    @pytest.mark.parametrize(
        ("method", "body"),
        [
            ("GET", b""),
            ("HEAD", b""),
            ("DELETE", b""),
            ("POST", b""),
            ("POST", FileBody(io.BytesIO(), 0)),
            ("PUT", b"content"),
            ("PATCH", FileBody(io.BytesIO(b"content"), 7)),
        ],
    )
    def test_the_form_of_a_url_changes_nothing_else(
        self, make_transport: MakeTransport, method: str, body: bytes | FileBody
    ) -> None:
        """A URL that needs no normalisation is prepared in another way."""
        received: list[tuple[list[bytes], bytes]] = []

        def handle(connection: Connection) -> None:
            while head := connection.request():
                received.append((sorted(head.split(b"\r\n")), connection.body(head)))
                connection.send(answer(b"", "201 Created", "X-One: 1", "x-one: 2"))

        transport, headers = make_transport(), {"Authorization": "Bearer mine", "Accept": "*/*"}
        with Server(handle) as server:
            for scheme in ("http", "HTTP"):
                url = f"{scheme}{server.url.removeprefix('http')}//v2/?a=%2b&b#part"
                call = make_call(server, method=method, url=url, body=body, headers=headers)
                assert transport.upload(call).headers["x-one"] == "1, 2"
        assert received[0] == received[1]

    @pytest.mark.parametrize("scheme", ["http", "HTTP"])
    @pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nX-Other: b", "a\r\n b", " a", "a\rb"])
    def test_a_header_is_one_line(self, make_transport: MakeTransport, value: str, scheme: str) -> None:
        """Part of a token could become another header."""
        with Server(always(GOOD)) as server:
            url = scheme + server.url.removeprefix("http")
            call = make_call(server, url=f"{url}/v2/", headers={"Authorization": value})
            with pytest.raises(ProtocolError):
                make_transport().document(call)

    def test_odd_characters_are_escaped(self, make_transport: MakeTransport) -> None:
        """A Location may contain characters that are invalid in URLs."""
        heads: list[bytes] = []

        def handle(connection: Connection) -> None:
            heads.append(connection.request())
            connection.send(GOOD)

        with Server(handle) as server:
            make_transport().document(make_call(server, url=f"{server.url}/v2/ä b?ü"))
        assert heads[0].startswith(b"GET /v2/%C3%A4%20b?%C3%BC ")


class TestSchemes:
    @pytest.mark.parametrize(
        ("url", "reach"),
        [
            ("http://registry.example/", Reach.PUBLIC),
            ("embedded://local/v2/", Reach.PUBLIC),
            ("embedded://local/v2/", Reach.LISTED),
            ("embedded://local/v2/", Reach.EMBEDDED),
            ("https://registry.example/", Reach.EMBEDDED),
            ("ftp://registry.example/", Reach.LISTED),
            ("file:///etc/passwd", Reach.LISTED),
            ("//registry.example/", Reach.LISTED),
        ],
    )
    def test_scheme_must_fit_the_reach(self, make_transport: MakeTransport, url: str, reach: Reach) -> None:
        """Plain http is only for listed registries, and `embedded:` only for the embedded one."""
        with pytest.raises(Denied, match="PYOCI_REGISTRIES"):
            make_transport().document(Call(method="GET", url=url, reach=reach))

    def test_credentials_in_an_address_are_not_repeated(self, make_transport: MakeTransport) -> None:
        """A message doesn't contain them, if a URL has any."""
        call = Call(method="GET", url="http://user:secret@registry.example/")
        with pytest.raises(Denied) as caught:
            make_transport().document(call)
        assert "secret" not in caught.value.message
        assert "secret" not in repr(call)

    def test_unusable_url_is_a_protocol_error(self, make_transport: MakeTransport) -> None:
        """requests can't parse the URL."""
        with pytest.raises(ProtocolError):
            make_transport().document(Call(method="GET", url="https://:99/", reach=Reach.LISTED))


class TestProxies:
    @pytest.fixture
    def heads(self) -> list[bytes]:
        return []

    @pytest.fixture
    def proxy(self, heads: list[bytes]) -> Iterator[Server]:
        """Answers every request itself, and refuses CONNECT."""

        def handle(connection: Connection) -> None:
            while head := connection.request():
                heads.append(head)
                refused = head.startswith(b"CONNECT")
                connection.send(answer(b"", "403 Forbidden") if refused else answer(b"by proxy"))

        with Server(handle) as server:
            yield server

    def lookup(self, *_: object) -> list[str]:
        raise AssertionError("the proxy resolves names")

    @pytest.mark.parametrize("reach", [Reach.VOUCHED, Reach.PRIVATE, Reach.LISTED])
    def test_listed_registries_use_the_proxy(
        self, make_transport: MakeTransport, proxy: Server, heads: list[bytes], reach: Reach
    ) -> None:
        """Only the proxy resolves the name. Its own address isn't checked."""
        transport = make_transport(proxies=Proxies({"http": proxy.url}), lookup=self.lookup)
        call = Call(method="GET", url="http://registry.example/v2/", reach=reach)
        assert transport.document(call).body == b"by proxy"
        assert heads[0].startswith(b"GET http://registry.example/v2/ ")

    def test_unlisted_registries_do_not_use_the_proxy(
        self, make_transport: MakeTransport, proxy: Server
    ) -> None:
        """The address that the proxy would connect to can't be checked."""
        transport = make_transport(proxies=Proxies({"https": proxy.url}))
        with pytest.raises(Unreachable, match="PYOCI_REGISTRIES"):
            transport.document(Call(method="GET", url="https://registry.example/v2/"))
        assert proxy.connections == 0

    @pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:127.0.0.1]", "10.0.0.1"])
    def test_private_address_named_by_a_registry_does_not_use_the_proxy(
        self, make_transport: MakeTransport, proxy: Server, host: str
    ) -> None:
        """The address is checked here, because the proxy would connect to it."""
        transport = make_transport(proxies=Proxies({"https": proxy.url}))
        with pytest.raises(Denied, match="proxy"):
            transport.document(Call(method="GET", url=f"https://{host}/", reach=Reach.VOUCHED))
        assert proxy.connections == 0

    def test_message_mentions_a_proxy_that_refuses(
        self, make_transport: MakeTransport, proxy: Server, heads: list[bytes]
    ) -> None:
        """So the operator knows where the failure is."""
        transport = make_transport(proxies=Proxies({"https": proxy.url}))
        call = Call(method="GET", url="https://registry.example/v2/", reach=Reach.LISTED)
        with pytest.raises(Unreachable, match="proxy"):
            transport.document(call)
        assert heads[0].startswith(b"CONNECT registry.example:443 ")

    def test_an_exempt_host_is_called_directly(self, make_transport: MakeTransport, proxy: Server) -> None:
        """Without the proxy, addresses are checked again."""
        with Server(always(answer(b"direct"))) as server:
            transport = make_transport(proxies=Proxies({"http": proxy.url}, "127.0.0.1"))
            assert transport.document(make_call(server)).body == b"direct"
        assert proxy.connections == 0

    def test_silent_proxy_is_unreachable(self, make_transport: MakeTransport) -> None:
        """The time of a call includes that of the proxy's tunnel."""
        with Server(lambda connection: connection.trickle(b"HTTP/1.1 200 OK\r\n", 0.1)) as silent:
            transport = make_transport(proxies=Proxies({"https": silent.url}), document_seconds=0.4)
            with pytest.raises(Unreachable):
                transport.document(Call(method="GET", url="https://registry.example/", reach=Reach.LISTED))


class TestHostLimits:
    def test_calls_to_one_host_are_limited(self, make_transport: MakeTransport) -> None:
        """Further calls for documents wait."""
        lock, now, most = threading.Lock(), 0, 0

        def handle(connection: Connection) -> None:
            nonlocal now, most
            while connection.request():
                with lock:
                    now += 1
                    most = max(most, now)
                connection.closing.wait(0.02)
                with lock:
                    now -= 1
                connection.send(GOOD)

        with Server(handle) as server:
            transport = make_transport(host_connections=3)
            threads = [
                threading.Thread(target=transport.document, args=(make_call(server),)) for _ in range(12)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert most == 3

    def test_waiting_for_a_host_has_a_limit(self, make_transport: MakeTransport) -> None:
        """While all permitted calls to a host hang, the next caller gets Unreachable."""
        with Server(lambda connection: connection.hang()) as server:
            transport = make_transport(host_connections=1, document_seconds=0.4)
            failures: list[Unreachable] = []

            def ask() -> None:
                with pytest.raises(Unreachable) as caught:
                    transport.document(make_call(server, name="the storage"))
                failures.append(caught.value)

            threads = [threading.Thread(target=ask) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert len(failures) == 3
        assert any("too many concurrent calls to the storage" in failure.message for failure in failures)

    def test_hosts_have_separate_limits(self, make_transport: MakeTransport) -> None:
        """A registry that hangs doesn't delay calls to another one."""
        with Server(lambda connection: connection.hang()) as stuck, Server(always(GOOD)) as server:
            transport = make_transport(host_connections=1, document_seconds=1)

            def ask() -> None:
                with pytest.raises(Unreachable):
                    transport.document(make_call(stuck))

            waiting = threading.Thread(target=ask)
            waiting.start()
            assert transport.document(make_call(server)).body == b"good"
            waiting.join()


class TestEvents:
    def test_calls_are_logged_without_secrets(self, make_transport: MakeTransport) -> None:
        """The event has method, host, status and seconds, and nothing of the query, the headers or the
        address.
        """
        told: list[dict[str, object]] = []
        events = Events(lambda event, **facts: told.append({"event": event, **facts}))
        with Server(always(GOOD)) as server:
            transport = make_transport(events=events)
            call = make_call(
                server, url=f"{server.url}/v2/?_state=secret", headers={"Authorization": "Basic secret"}
            )
            transport.document(call)
            transport.upload(call)
            transport.stream(call).close()
        with pytest.raises(Unreachable):
            transport.document(call)
        assert [fact.pop("status", None) for fact in told] == [200, 200, 200, None, None, None]
        assert {fact["event"] for fact in told} == {"call"}
        assert {(fact["room"], fact["level"], fact["host"]) for fact in told} == {
            ("net", "debug", server.host)
        }
        assert "failure" in told[-1]
        assert "secret" not in repr(told)


def test_ca_bundle_is_trusted(make_transport: MakeTransport, certificate: Certificate) -> None:
    """Without it the certificate is refused. SSL_CERT_FILE and REQUESTS_CA_BUNDLE name it."""
    with Server(always(GOOD), tls=certificate.server) as server:
        call = Call(method="GET", url=f"https://registry.example:{server.port}/", reach=Reach.LISTED)
        trusting = make_transport(lookup=lambda *_: ["127.0.0.1"], ca_bundle=str(certificate.file))
        assert trusting.document(call).body == b"good"
        with pytest.raises(Unreachable, match="TLS"):
            make_transport(lookup=lambda *_: ["127.0.0.1"]).document(call)


@pytest.fixture
def bundle(certificate: Certificate, tmp_path: Path) -> Path:
    """A copy of the certificate that a test may change."""
    return Path(shutil.copy(certificate.file, tmp_path / "bundle.pem"))


def test_ca_bundle_is_read_once(
    make_transport: MakeTransport, certificate: Certificate, bundle: Path
) -> None:
    """All connections share the certificates, those to another host too."""
    tls = certificate.server
    with Server(always(GOOD), tls=tls) as server, Server(always(GOOD), tls=tls) as other:
        calls = [
            Call(method="GET", url=f"https://registry.example:{each.port}/", reach=reach)
            for each in (server, other)
            for reach in (Reach.LISTED, Reach.PRIVATE)
        ]
        transport = make_transport(lookup=lambda *_: ["127.0.0.1"], ca_bundle=str(bundle))
        assert transport.document(calls[0]).body == b"good"
        bundle.unlink()
        assert [transport.document(call).body for call in calls[1:]] == [b"good"] * 3


def test_prepared_transport(
    make_transport: MakeTransport, certificate: Certificate, bundle: Path, tmp_path: Path
) -> None:
    """The certificates are read before the first call. If they can't be read, the first call reads them."""
    late = tmp_path / "late.pem"
    with Server(always(GOOD), tls=certificate.server) as server:
        call = Call(method="GET", url=f"https://registry.example:{server.port}/", reach=Reach.LISTED)
        early_reader, late_reader = (
            make_transport(lookup=lambda *_: ["127.0.0.1"], ca_bundle=str(each)) for each in (bundle, late)
        )
        early_reader.prepare()
        late_reader.prepare()
        bundle.rename(late)
        assert early_reader.document(call).body == b"good"
        assert late_reader.document(call).body == b"good"


def test_missing_ca_bundle(
    make_transport: MakeTransport, certificate: Certificate, bundle: Path, tmp_path: Path
) -> None:
    """Nobody is trusted. A bundle that appears later counts."""
    late = tmp_path / "late.pem"
    with Server(always(GOOD), tls=certificate.server) as server:
        call = Call(method="GET", url=f"https://registry.example:{server.port}/", reach=Reach.LISTED)
        transport = make_transport(lookup=lambda *_: ["127.0.0.1"], ca_bundle=str(late))
        with pytest.raises(Unreachable):
            transport.document(call)
        bundle.rename(late)
        assert transport.document(call).body == b"good"


def test_uploads_over_tls(make_transport: MakeTransport, certificate: Certificate) -> None:
    """The same bytes arrive."""
    received: list[bytes] = []

    def handle(connection: Connection) -> None:
        received.append(connection.body(connection.request()))
        connection.send(answer(status="201 Created"))

    content = os.urandom(700_000)
    with Server(handle, tls=certificate.server) as server:
        call = Call(
            method="PUT",
            url=f"https://registry.example:{server.port}/",
            reach=Reach.LISTED,
            body=FileBody(io.BytesIO(content), len(content)),
        )
        transport = make_transport(lookup=lambda *_: ["127.0.0.1"], ca_bundle=str(certificate.file))
        assert transport.upload(call).status == 201
    assert received == [content]
