"""Connections over real sockets: addresses that were checked, reuse, and time limits."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from pyoci.errors import Denied, InvalidRequest, ProtocolError, Unreachable
from pyoci.net.addresses import Reach
from pyoci.net.messages import Call, FileBody
from pyoci.net.transport import Transport
from tests.net.conftest import Certificate, MakeTransport
from tests.net.servers import Connection, Server, after_request, always, answer


def make_call(server: Server, path: str = "/v2/", host: str = "", **overrides: object) -> Call:
    url = f"{'https' if server.tls else 'http'}://{host or '127.0.0.1'}:{server.port}{path}"
    return Call(**({"method": "GET", "url": url, "reach": Reach.LISTED} | overrides))  # type: ignore[arg-type]


def local(*_: object) -> list[str]:
    return ["127.0.0.1"]


@contextlib.contextmanager
def stuffed(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose queue is full: the system drops what else wants to connect, and nobody answers."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server((address, port), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()[1]


class TestPinning:
    def test_host_header_has_the_name(self, make_transport: MakeTransport) -> None:
        """The connection goes to the address that was checked; the Host header has the registry's name and
        port.
        """
        heads: list[bytes] = []

        def handle(connection: Connection) -> None:
            heads.append(connection.request())
            connection.send(answer())

        with Server(handle) as server:
            make_transport(lookup=local).document(make_call(server, host="registry.example"))
            assert f"Host: registry.example:{server.port}\r\n".encode() in heads[0]

    def test_tls_verifies_the_name(self, make_transport: MakeTransport, certificate: Certificate) -> None:
        """SNI and the check of the certificate use the host's name, not its address."""
        asked: list[str | None] = []
        certificate.server.sni_callback = lambda _sock, name, _context: asked.append(name)
        with Server(always(answer(b"{}")), tls=certificate.server) as server:
            transport = make_transport(lookup=local, ca_bundle=str(certificate.file))
            found = transport.document(make_call(server, host="registry.example"))
            with pytest.raises(Unreachable, match="could not be trusted: its TLS certificate"):
                transport.document(make_call(server, host="other.example"))
        assert found.body == b"{}"
        assert asked[0] == "registry.example"

    def test_name_is_resolved_once_for_a_connection(self, make_transport: MakeTransport) -> None:
        """With DNS rebinding, the second answer of the name server isn't used."""
        answers: Iterator[list[str]] = iter([["8.8.8.8"], ["127.0.0.1"]])
        dialled: list[str] = []

        def lookup(host: str, _port: int) -> list[str]:
            dialled.append(host)
            return next(answers)

        with Server(always(answer())) as server:
            transport = make_transport(lookup=lookup, document_seconds=0.3)
            call = make_call(server, host="rebind.example", reach=Reach.PRIVATE)
            with pytest.raises(Unreachable):
                transport._read(call, 1000, None, 0.2)
        assert dialled == ["rebind.example"]
        assert server.connections == 0

    def test_each_connection_is_checked(self, make_transport: MakeTransport) -> None:
        """If a name has a private address when the next connection is opened, that connection is refused."""
        answers = iter([["127.0.0.1"], ["169.254.169.254"]])
        with Server(after_request(lambda connection: connection.send(answer()))) as server:
            transport = make_transport(lookup=lambda *_: next(answers))
            call = make_call(server, host="rebind.example", reach=Reach.PRIVATE)
            assert transport.document(call).status == 200
            time.sleep(0.1)  # the server has closed its connection by then
            with pytest.raises(Denied, match="PYOCI_REGISTRIES"):
                transport.document(call)

    @pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
    def test_an_unlisted_host_reaches_no_loopback(self, make_transport: MakeTransport, address: str) -> None:
        """However the address is spelled."""
        with Server(always(answer())) as server:
            call = Call(method="GET", url=f"https://{address}:{server.port}/")
            with pytest.raises((Denied, Unreachable)):
                make_transport().document(call)
        assert server.connections == 0

    def test_reach_does_not_share_connections(self, make_transport: MakeTransport) -> None:
        """A call for an unlisted host never uses a connection that was opened for a listed one."""
        with Server(always(answer())) as server:
            transport = make_transport(lookup=local)
            assert transport.document(make_call(server, host="own.example")).status == 200
            with pytest.raises(Denied):
                transport.document(make_call(server, host="own.example", reach=Reach.VOUCHED))

    def test_next_address_is_tried_after_a_refusal(self, make_transport: MakeTransport) -> None:
        """A name may have several addresses."""
        with Server(always(answer())) as server:
            transport = make_transport(lookup=lambda *_: ["127.9.9.9", "127.0.0.1"])
            assert transport.document(make_call(server, host="two.example")).status == 200

    def test_addresses_that_never_answer_are_given_up(self, make_transport: MakeTransport) -> None:
        """A name whose four addresses never answer costs the time of one call."""
        with stuffed() as port:
            transport = make_transport(lookup=lambda *_: ["127.0.0.1"] * 4, document_seconds=0.8)
            with pytest.raises(Unreachable, match="in time"):
                transport.document(Call(method="GET", url=f"http://full.example:{port}/", reach=Reach.LISTED))

    def test_addresses_share_the_connect_timeout(self, make_transport: MakeTransport) -> None:
        """The first address takes its share of the call's time; the second one is reached within the rest."""
        with Server(always(answer())) as server, stuffed("127.0.0.2", server.port):
            transport = make_transport(lookup=lambda *_: ["127.0.0.2", "127.0.0.1"], document_seconds=3.0)
            assert transport.document(make_call(server, host="two.example")).status == 200

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            (socket.gaierror(-2, "Name or service not known"), "no address"),
            (OSError("resolver gone"), "broke off"),
            (UnicodeError("label too long"), "broke off"),
            ([], "broke off"),
        ],
        ids=["unknown", "broken resolver", "no name", "no address"],
    )
    def test_name_without_address_is_unreachable(
        self, make_transport: MakeTransport, found: Exception | list[str], words: str
    ) -> None:
        """The message is one sentence."""

        def lookup(*_: object) -> list[str]:
            if isinstance(found, Exception):
                raise found
            return found

        call = Call(method="GET", url="https://gone.example/v2/", reach=Reach.LISTED)
        with pytest.raises(Unreachable, match=words) as caught:
            make_transport(lookup=lookup).document(call)
        assert "\n" not in caught.value.message

    def test_refused_connection_is_unreachable(self, make_transport: MakeTransport) -> None:
        """No server listens on the port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(Unreachable, match="could not be reached"):
            make_transport().document(Call(method="GET", url=f"http://127.0.0.1:{port}/", reach=Reach.LISTED))


class TestReuse:
    @pytest.mark.parametrize(
        ("method", "reply"),
        [
            ("GET", answer(b"{}")),
            ("GET", answer(b"no", "404 Not Found")),
            ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
            ("HEAD", answer(length=1_000_000)),
            ("HEAD", answer(status="404 Not Found", length=100)),
            ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("POST", answer(status="202 Accepted")),
            ("PUT", answer(status="201 Created")),
        ],
        ids=["GET", "GET 404", "chunked", "HEAD", "HEAD 404", "204", "POST", "PUT"],
    )
    def test_connection_is_reused(self, make_transport: MakeTransport, method: str, reply: bytes) -> None:
        """After each kind of answer that was read completely."""
        with Server(always(reply)) as server:
            transport = make_transport()
            for _ in range(5):
                transport.document(make_call(server, method=method))
        assert server.connections == 1

    def test_connection_is_reused_after_a_stream(self, make_transport: MakeTransport) -> None:
        """A download needs no new handshake."""
        with Server(always(answer(b"x" * 100_000))) as server:
            transport = make_transport()
            for _ in range(3):
                assert len(b"".join(transport.stream(make_call(server)).pieces(4096))) == 100_000
        assert server.connections == 1

    def test_connection_is_closed_after_half_a_stream(self, make_transport: MakeTransport) -> None:
        """The unread bytes would be parsed as the next answer."""
        with Server(always(answer(b"x" * 10_000_000))) as server:
            transport = make_transport()
            pieces = transport.stream(make_call(server)).pieces(1000)
            next(pieces)
            pieces.close()
            stream = transport.stream(make_call(server))
            stream.close()
            assert transport.stream(make_call(server)).head(3) == b"xxx"
        assert server.connections == 3

    def test_closed_connection_is_replaced(self, make_transport: MakeTransport) -> None:
        """A server may close an idle connection at any time."""

        def once(connection: Connection) -> None:
            connection.request()
            connection.send(answer())

        with Server(once) as server:
            transport = make_transport()
            for _ in range(3):
                assert transport.document(make_call(server)).status == 200
                time.sleep(0.05)
        assert server.connections == 3

    @pytest.mark.parametrize("kind", ["document", "stream"])
    def test_connection_closed_during_a_request_is_replaced(
        self, make_transport: MakeTransport, kind: str
    ) -> None:
        """The server closes it at the moment of the next request."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(answer())
            if connection.number == 1:
                connection.request()  # and no answer
            else:
                connection.request()
                connection.send(answer(b"second"))

        with Server(handle) as server:
            transport = make_transport()
            call = make_call(server)
            transport.document(call)
            found = getattr(transport, kind)(call)
            assert found.status == 200
            if kind == "stream":
                found.close()
        assert server.connections == 2

    def test_high_file_descriptors_work(self, make_transport: MakeTransport) -> None:
        """select() fails for descriptors from 1024 on; a busy process has that many."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2048:
            pytest.skip("too few file descriptors are allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        kept = [os.open("/dev/null", os.O_RDONLY)]
        try:
            while kept[-1] < 1100:
                kept.append(os.dup(kept[0]))
            with Server(always(answer(b"{}"))) as server:
                transport = make_transport()
                upload = make_call(server, method="PUT", body=FileBody(io.BytesIO(b"x" * 10), 10))
                assert transport.upload(upload).status == 200
        finally:
            for descriptor in kept:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestTimeLimits:
    """A socket's own timeout doesn't end these calls, because it starts again with every byte."""

    BUDGET = 0.4

    def read(self, transport: Transport, call: Call) -> None:
        with pytest.raises(Unreachable, match="in time"):
            transport.document(call)

    @pytest.mark.parametrize(
        "reply",
        [
            answer(b"x" * 100),
            b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200,
            b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 200,
        ],
        ids=["head and body", "continue", "chunk size", "body without length"],
    )
    def test_document_that_trickles_is_cut(self, make_transport: MakeTransport, reply: bytes) -> None:
        """A document has a time limit however many bytes arrive. An incomplete document is an error."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.trickle(reply)

        with Server(handle) as server:
            self.read(make_transport(document_seconds=self.BUDGET), make_call(server))

    def test_a_slow_handshake_is_cut(self, make_transport: MakeTransport) -> None:
        """The TLS handshake counts as part of the call."""

        def handle(connection: Connection) -> None:
            connection.trickle(b"\x16\x03\x03\x40\x00\x02" + b"\x00" * 1000)

        with Server(handle) as server:
            transport = make_transport(document_seconds=self.BUDGET)
            self.read(transport, Call(method="GET", url=f"https://{server.host}/", reach=Reach.LISTED))

    def test_silent_server_is_unreachable(self, make_transport: MakeTransport) -> None:
        """It accepts the connection and sends nothing."""
        with Server(Connection.hang) as server:
            self.read(make_transport(document_seconds=self.BUDGET), make_call(server))

    def test_stream_without_a_head_is_cut(self, make_transport: MakeTransport) -> None:
        """The head of a blob must arrive within the stall limit."""
        with Server(after_request(Connection.hang)) as server:
            transport = make_transport(stall_seconds=self.BUDGET, document_seconds=self.BUDGET)
            with pytest.raises(Unreachable, match="in time"):
                transport.stream(make_call(server))

    @pytest.mark.parametrize("pause", [None, 0.02], ids=["silence", "a byte now and then"])
    def test_stream_that_stalls_is_cut(self, make_transport: MakeTransport, pause: float | None) -> None:
        """After silence, and after too few bytes."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(answer(b"begin", length=10_000_000))
            if pause is None:
                connection.hang()
            else:
                connection.trickle(b"x" * 10_000, pause)

        with Server(handle) as server:
            transport = make_transport(stall_seconds=self.BUDGET)
            stream = transport.stream(make_call(server))
            with pytest.raises(Unreachable, match=r"in time|almost nothing"):
                list(stream.pieces(1024))

    def test_stream_with_few_bytes_a_second_is_cut(self, make_transport: MakeTransport) -> None:
        """Although its pieces are passed on."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(answer(length=10_000_000))
            connection.trickle(b"x" * 10_000, 0.05)

        with Server(handle) as server:
            pieces = make_transport(stall_seconds=1.1).stream(make_call(server)).pieces(1024)
            assert next(pieces)
            with pytest.raises(Unreachable, match="almost nothing"):
                list(pieces)

    def test_slow_bytes_are_passed_on(self, make_transport: MakeTransport) -> None:
        """pip gives up after 15 seconds without a byte, so an incomplete piece is passed on."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(answer(length=3000))
            for _ in range(3):
                connection.send(b"x" * 1000)
                connection.closing.wait(1.2)

        with Server(handle) as server:
            pieces = list(make_transport().stream(make_call(server)).pieces(1024 * 1024))
        assert [len(piece) for piece in pieces] == [2000, 1000]

    def test_slow_reader_does_not_cut_a_stream(self, make_transport: MakeTransport) -> None:
        """Only the time spent reading counts."""
        with Server(always(answer(b"x" * 3000))) as server:
            stream = make_transport(stall_seconds=0.2).stream(make_call(server))
            read = 0
            for piece in stream.pieces(1000):
                time.sleep(0.15)
                read += len(piece)
        assert read == 3000

    def test_upload_may_take_long_while_bytes_move(self, make_transport: MakeTransport) -> None:
        """The stall limit starts again with every piece."""

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                time.sleep(0.15)
                return super().read(min(size or 0, 1000))

        with Server(always(answer(status="201 Created"))) as server:
            body = FileBody(Slow(b"x" * 5000), 5000)
            transport = make_transport(stall_seconds=self.BUDGET)
            assert transport.upload(make_call(server, method="PUT", body=body)).status == 201

    @pytest.mark.parametrize("trickled", [False, True], ids=["silence", "a byte now and then"])
    def test_answer_to_an_upload_has_a_time_limit(
        self, make_transport: MakeTransport, trickled: bool
    ) -> None:
        """It begins after the last byte of the body."""

        def handle(connection: Connection) -> None:
            connection.body(connection.request())
            if trickled:
                connection.trickle(answer(b"x" * 100))
            connection.hang()

        with Server(handle) as server:
            body = FileBody(io.BytesIO(b"x" * 5000), 5000)
            transport = make_transport(stall_seconds=0.3, answer_seconds=0.6)
            with pytest.raises(Unreachable, match="in time"):
                transport.upload(make_call(server, method="PUT", body=body))

    def test_cut_call_leaves_other_calls_alone(self, make_transport: MakeTransport) -> None:
        """Calls that are in time continue while another one is cut."""

        def handle(connection: Connection) -> None:
            while head := connection.request():
                if b"/slow" in head:
                    connection.hang()
                connection.closing.wait(0.01)
                connection.send(answer(b"{}"))

        with Server(handle) as server:
            transport = make_transport(document_seconds=self.BUDGET)
            slow = threading.Thread(target=self.read, args=(transport, make_call(server, "/slow")))
            slow.start()
            while slow.is_alive():
                assert transport.document(make_call(server)).body == b"{}"
            assert transport.document(make_call(server)).body == b"{}"
            slow.join()


class TestEarlyAnswers:
    def test_an_early_answer_ends_the_upload(self, make_transport: MakeTransport) -> None:
        """A 413 that arrives during the upload is read at once, and the rest of the file isn't sent."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(answer(b"too large", "413 Content Too Large"))
            connection.closing.wait(1)

        sent = io.BytesIO(b"x" * 50_000_000)
        with Server(handle) as server:
            found = make_transport().upload(make_call(server, method="PUT", body=FileBody(sent, 50_000_000)))
        assert (found.status, found.body) == (413, b"too large")
        assert sent.tell() < 20_000_000

    def test_connection_with_half_a_request_is_not_reused(self, make_transport: MakeTransport) -> None:
        """Even if the server would read the rest."""

        def handle(connection: Connection) -> None:
            head = connection.request()
            if b"PUT" in head:
                connection.send(answer(status="401 Unauthorized"))
                connection.hang(5)
            connection.send(answer(b"{}"))

        with Server(handle) as server:
            transport = make_transport()
            body = FileBody(io.BytesIO(b"x" * 50_000_000), 50_000_000)
            assert transport.upload(make_call(server, method="PUT", body=body)).status == 401
            assert transport.document(make_call(server)).body == b"{}"
        assert server.connections == 2

    def test_a_file_that_is_too_short_is_noticed(self, make_transport: MakeTransport) -> None:
        """The registry would wait for the missing bytes until its timeout."""
        with Server(always(answer())) as server:
            body = FileBody(io.BytesIO(b"short"), 10)
            with pytest.raises(InvalidRequest, match="5 bytes before"):
                make_transport().upload(make_call(server, method="PUT", body=body))

    def test_a_file_that_has_grown_is_sent_up_to_its_size(self) -> None:
        """The Content-Length was sent before."""
        assert b"".join(FileBody(io.BytesIO(b"0123456789"), 4)) == b"0123"

    def test_an_early_answer_is_seen_under_tls(
        self, make_transport: MakeTransport, certificate: Certificate
    ) -> None:
        """A session ticket also makes the socket readable, and isn't an answer. The byte that was read to
        distinguish them isn't lost.
        """

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(answer(b"too large", "413 Content Too Large"))
            connection.hang(5)

        sent = io.BytesIO(b"x" * 50_000_000)
        with Server(handle, tls=certificate.server) as server:
            transport = make_transport(lookup=local, ca_bundle=str(certificate.file))
            body = FileBody(sent, 50_000_000)
            found = transport.upload(make_call(server, host="registry.example", method="PUT", body=body))
            assert (found.status, found.body) == (413, b"too large")
            assert sent.tell() < 40_000_000
            assert transport.document(make_call(server, host="registry.example")).status == 413
        assert server.connections == 2

    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
    def test_a_registry_that_closes_in_the_middle_is_unreachable(
        self, make_transport: MakeTransport, certificate: Certificate, tls: bool
    ) -> None:
        """With or without close_notify. The message doesn't blame the certificate."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.sock.recv(65536)

        with Server(handle, tls=certificate.server if tls else None) as server:
            transport = make_transport(lookup=local, ca_bundle=str(certificate.file))
            body = FileBody(io.BytesIO(b"x" * 50_000_000), 50_000_000)
            with pytest.raises(Unreachable, match="broke off"):
                transport.upload(make_call(server, host="registry.example", method="PUT", body=body))


@dataclass
class Arriving:
    """A body of `pieces`. The last one may be an exception, which is raised."""

    pieces: Sequence[bytes | Exception]
    size: int
    before: Callable[[], object] = lambda: None  # called before each piece

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.before()
            if isinstance(piece, Exception):
                raise piece
            yield piece


class TestBodiesThatArrive:
    @pytest.mark.parametrize(
        "failure",
        [
            InvalidRequest("the client left"),
            ConnectionResetError(104, "reset"),
            OSError(28, "full"),
            ValueError(),
        ],
        ids=["ours", "reset", "disk full", "a defect"],
    )
    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
    def test_exception_of_a_body_is_raised_unchanged(
        self, make_transport: MakeTransport, certificate: Certificate, failure: Exception, tls: bool
    ) -> None:
        """And at once: urllib3 would treat an OSError as its own, and wait for an answer."""
        ends: list[bytes] = []

        def handle(connection: Connection) -> None:
            while head := connection.request():
                ends.append(connection.body(head))
                connection.send(answer(b"{}"))

        with Server(handle, tls=certificate.server if tls else None) as server:
            transport = make_transport(lookup=local, ca_bundle=str(certificate.file))
            call = make_call(server, host="registry.example", method="PUT")
            transport.document(call)  # so that there is a connection to go back to
            body = Arriving([b"x" * 1000, failure], 5000)
            with pytest.raises(type(failure)) as caught:
                transport.upload(replace(call, body=body))
            assert caught.value is failure
            assert transport.document(replace(call, method="GET")).body == b"{}"
        assert ends[0] == b""
        assert b"x" * 1000 in ends
        assert server.connections == 2

    def test_waiting_for_the_body_does_not_count(self, make_transport: MakeTransport) -> None:
        """Only the registry's own time without progress counts."""
        with Server(always(answer(status="201 Created"))) as server:
            body = Arriving([b"x" * 1000] * 2, 2000, before=lambda: time.sleep(1.4))
            transport = make_transport(stall_seconds=1.0)
            assert transport.upload(make_call(server, method="PUT", body=body)).status == 201

    def test_registry_that_takes_no_bytes_is_cut(self, make_transport: MakeTransport) -> None:
        """Although more of the body keeps arriving."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.hang()

        with Server(handle) as server:
            body = Arriving([b"x" * 1_000_000] * 100, 100_000_000)
            with pytest.raises(Unreachable, match="in time"):
                make_transport(stall_seconds=0.5).upload(make_call(server, method="PUT", body=body))


class TestGarbage:
    @pytest.mark.parametrize(
        "reply",
        [
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
            b"HTTP/1.1 twohundred OK\r\n\r\n",
        ],
        ids=["ssh", "many headers", "huge header", "no status"],
    )
    def test_answer_that_is_not_http_is_a_protocol_error(
        self, make_transport: MakeTransport, reply: bytes
    ) -> None:
        """It isn't repeated, because another attempt would not help."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(reply)
            connection.hang(1)

        with Server(handle) as server, pytest.raises(ProtocolError, match="can't be read"):
            make_transport(document_seconds=2).document(make_call(server))
        assert server.connections == 1

    @pytest.mark.parametrize("when", ["handshake", "head", "body"])
    def test_connection_closed_without_close_notify_broke_off(
        self, make_transport: MakeTransport, certificate: Certificate, when: str
    ) -> None:
        """The message doesn't blame the certificate."""

        def handle(connection: Connection) -> None:
            if when == "handshake":
                connection.sock.recv(100)
                return
            sock = certificate.server.wrap_socket(connection.sock, server_side=True)
            Connection(sock, 1, connection.closing).request()
            if when == "body":
                sock.sendall(answer(b"half", length=100))
            socket.socket.shutdown(sock, socket.SHUT_WR)
            connection.closing.wait(0.2)
            sock.detach()

        with Server(handle) as server:
            transport = make_transport(lookup=local, ca_bundle=str(certificate.file))
            call = Call(method="GET", url=f"https://registry.example:{server.port}/", reach=Reach.LISTED)
            with pytest.raises(Unreachable, match=r"broke off$"):
                transport.document(call)

    def test_plain_http_on_an_https_port_is_unreachable(self, make_transport: MakeTransport) -> None:
        """The server doesn't speak TLS."""
        with (
            Server(lambda connection: connection.send(answer())) as server,
            pytest.raises(Unreachable, match="TLS"),
        ):
            make_transport().document(Call(method="GET", url=f"https://{server.host}/", reach=Reach.LISTED))

    @pytest.mark.parametrize("cut", [answer(b"half", length=100), answer(length=9), b""])
    def test_short_answer_is_a_lost_connection(self, make_transport: MakeTransport, cut: bytes) -> None:
        """The answer has fewer bytes than its Content-Length."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(cut)

        with Server(handle) as server, pytest.raises(Unreachable, match="broke off"):
            make_transport().document(make_call(server))
        assert server.connections == 3

    def test_reset_is_a_lost_connection(self, make_transport: MakeTransport) -> None:
        """Also in the middle of a blob."""

        def handle(connection: Connection) -> None:
            connection.request()
            connection.send(answer(b"x" * 1000, length=10_000))
            connection.closing.wait(0.1)
            connection.reset()

        with Server(handle) as server:
            stream = make_transport().stream(make_call(server))
            with pytest.raises(Unreachable, match="broke off"):
                list(stream.pieces(1024 * 1024))

    def test_compressed_documents_are_refused(self, make_transport: MakeTransport) -> None:
        """PyOCI didn't ask for compression. It refuses the document without unpacking it."""
        with Server(always(answer(b"\x1f\x8b...", "200 OK", "Content-Encoding: gzip"))) as server:
            with pytest.raises(ProtocolError, match="compressed"):
                make_transport().document(make_call(server))
            head = make_transport().document(make_call(server, method="HEAD"))
            assert head.status == 200

    def test_an_error_may_be_compressed(self, make_transport: MakeTransport) -> None:
        """Its status is enough."""
        reply = answer(b"\x1f\x8b", "401 Unauthorized", "Content-Encoding: gzip")
        with Server(always(reply)) as server:
            assert make_transport().document(make_call(server)).status == 401

    def test_a_false_length_of_a_416_is_not_waited_for(self, make_transport: MakeTransport) -> None:
        """docker-registry 2.8 announces a body that it never sends."""
        reply = answer(status="416 Range Not Satisfiable", length=100)
        with Server(always(reply)) as server:
            assert make_transport().stream(make_call(server)).head(100) == b""
            assert make_transport().document(make_call(server)).status == 416

    def test_an_error_text_that_never_comes_is_left_out(self, make_transport: MakeTransport) -> None:
        """The status is known without the body."""
        reply = answer(b"half", "403 Forbidden", length=1000)
        with Server(always(reply)) as server:
            found = make_transport(document_seconds=0.3).document(make_call(server))
        assert (found.status, found.body) == (403, b"")
