"""The request's body without a server; test_server.py tests it with one."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci.errors import BodyTimeout, Exhausted, InvalidRequest
from pyoci.web.body import PIECE, Patience, ReadToTheEnd, RequestBody

SHORT = Patience(progress=0.1, start=0.3, slowest=1_000_000, chunked=0.3, refusal=0.3, cap=1000)


def make_body(
    data: bytes = b"",
    length: int | None = None,
    patience: Patience = SHORT,
    environ: dict[str, Any] | None = None,
) -> RequestBody:
    """A body with this Content-Length, or with its actual length."""
    size = str(len(data) if length is None else length)
    environ = {"wsgi.input": io.BytesIO(data), "CONTENT_LENGTH": size, **(environ or {})}
    return RequestBody(environ, patience)


def make_chunked(stream: Any, **overrides: Any) -> RequestBody:
    """A body without a length, from a server that ends the stream."""
    environ = {"wsgi.input": stream, "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return RequestBody(environ | overrides, SHORT)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end and the server's end of a connection."""
    client, server = socket.socketpair()
    with client, server:
        yield client, server


class Connection:
    """Reads from a socket like gunicorn: until all requested bytes have arrived."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self._connection.recv(size - len(data))):
            data += piece
        return data


class TestReading:
    """Reading to the end."""

    def test_pieces(self) -> None:
        """Pieces, then b"" at each further read."""
        body = make_body(b"abcde")
        assert [body.read(2), body.read(0), body.read(2), body.read(2), body.read(2)] == [
            b"ab",
            b"",
            b"cd",
            b"e",
            b"",
        ]
        assert (body.length, body.taken) == (5, 5)

    def test_as_a_file(self) -> None:
        """It can be used like a file."""
        assert make_body(b"ab\ncd").readlines() == [b"ab\n", b"cd"]
        assert make_body(b"abc").read() == b"abc"
        assert make_body(b"abc").read(None) == b"abc"
        assert io.BufferedReader(make_body(b"abc")).read(2) == b"ab"

    def test_stops_at_the_length(self) -> None:
        """The bytes of the next request aren't read."""
        assert make_body(b"abcnext", length=3).read() == b"abc"

    def test_chunked(self) -> None:
        """The server ends a body without a length."""
        body = make_chunked(io.BytesIO(b"abc"))
        assert (body.length, body.read(), body.read(5)) == (None, b"abc", b"")

    @pytest.mark.parametrize(
        "environ",
        [{}, {"CONTENT_LENGTH": ""}, {"HTTP_TRANSFER_ENCODING": "chunked"}],
        ids=["nothing said", "empty length", "chunks from a server that can't read them"],
    )
    def test_no_body(self, environ: dict[str, str]) -> None:
        """Without a length nothing is read, because the connection might stay open."""
        assert RequestBody({"wsgi.input": io.BytesIO(b"abc")} | environ, SHORT).read() == b""


class TestFailing:
    """Bodies that end too soon."""

    def test_too_short(self) -> None:
        """A body that is shorter than its length is an error, at each read."""
        body = make_body(b"abc", length=10)
        assert body.read(3) == b"abc"
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="after 3 bytes; expected 10"):
                body.read(1)
        assert body.finish() is False

    @pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), RuntimeError("bad chunk")])
    def test_server_fails(self, error: Exception) -> None:
        """Any exception of the server is the client's error: never an OSError, which means this machine's
        disk.
        """

        class Failing:
            def read(self, size: int) -> bytes:
                raise error

        with pytest.raises(InvalidRequest, match="a whole chunked body") as caught:
            make_chunked(Failing()).read(1)
        assert caught.value.__cause__ is error

    def test_stalled(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """A read ends after some time without a byte. The connection then has its former timeout."""
        client, server = pair
        server.settimeout(7)
        client.sendall(b"ab")
        body = make_body(length=10, environ={"wsgi.input": Connection(server), "gunicorn.socket": server})
        with pytest.raises(BodyTimeout, match="too long"):
            body.read(5)
        assert server.gettimeout() == 7

    def test_slow(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """A body that trickles ends, too, and an answer can still be sent."""
        client, server = pair
        patience = Patience(progress=300, start=0.2, slowest=1_000_000)
        environ = {"wsgi.input": Connection(server), "gunicorn.socket": server}
        body = make_body(length=10, patience=patience, environ=environ)
        client.sendall(b"a")
        assert body.read(5) == b"a"
        with pytest.raises(BodyTimeout):
            body.read(5)
        server.sendall(b"sorry")
        assert client.recv(10) == b"sorry"

    def test_slow_after_the_client_left(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """The timer finds the connection closed, and raises nothing."""
        _, server = pair
        environ = {"wsgi.input": io.BytesIO(b"a"), "gunicorn.socket": server}
        body = make_body(length=10, environ=environ)
        assert body.read(1) == b"a"
        server.close()
        time.sleep(0.5)
        with pytest.raises(BodyTimeout):
            body.read(1)


class TestFinishing:
    """Reading and discarding the rest."""

    def test_rest_is_read(self) -> None:
        """The rest that the application didn't read."""
        stream = io.BytesIO(b"x" * 900)
        body = make_body(length=900, environ={"wsgi.input": stream})
        body.read(10)
        assert (body.finish(), stream.tell()) == (True, 900)
        assert body.finish() is True

    def test_rest_over_the_cap_is_not_read(self) -> None:
        """The connection has to be closed."""
        stream = io.BytesIO(b"x" * 1001)
        assert (make_body(length=1001, environ={"wsgi.input": stream}).finish(), stream.tell()) == (False, 0)

    def test_chunks_without_end(self) -> None:
        """Chunks are read up to the cap."""
        stream = io.BytesIO(b"x" * 10 * PIECE)
        assert make_chunked(stream).finish() is False
        assert stream.tell() == PIECE

    def test_nothing_to_read(self) -> None:
        """Most requests have no body; nothing is done for them."""
        assert make_body().finish() is True


class TestMiddleware:
    """ReadToTheEnd around an application."""

    @staticmethod
    def call(application: Any, stream: io.BytesIO, length: int) -> list[tuple[str, list[tuple[str, str]]]]:
        started = []
        environ = {"wsgi.input": stream, "CONTENT_LENGTH": str(length)}
        wrapped = ReadToTheEnd(application, SHORT)
        list(wrapped(environ, lambda status, headers, *rest: started.append((status, headers))))  # type: ignore[arg-type]
        return started

    def test_reads_before_the_answer(self) -> None:
        """When the answer starts, the body has been read."""
        stream = io.BytesIO(b"x" * 500)
        seen = []

        def application(environ: Any, start_response: Any) -> list[bytes]:
            seen.append((environ["wsgi.input"].read(5), stream.tell()))
            start_response("200 OK", [("X", "y")])
            seen.append((b"", stream.tell()))
            return []

        assert self.call(application, stream, 500) == [("200 OK", [("X", "y")])]
        assert seen == [(b"xxxxx", 5), (b"", 500)]

    def test_connection_is_closed_if_the_rest_is_unread(self) -> None:
        """By `Connection: close`."""

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("400 no", [])
            return []

        assert self.call(application, io.BytesIO(), 500) == [("400 no", [("Connection", "close")])]

    def test_application_that_fails(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """Its timer is stopped."""
        client, server = pair
        client.sendall(b"x" * 10)

        def application(environ: Any, start_response: Any) -> list[bytes]:
            environ["wsgi.input"].read(5)
            raise RuntimeError("defect")

        environ = {"wsgi.input": Connection(server), "CONTENT_LENGTH": "10", "gunicorn.socket": server}
        with pytest.raises(RuntimeError):
            ReadToTheEnd(application, SHORT)(environ, lambda *_: None)  # type: ignore[arg-type]
        assert server.gettimeout() is None


def test_patience() -> None:
    """A longer body may take more time, and a chunked body has a limit of its own."""
    patience = Patience(start=10, slowest=100, chunked=50)
    assert [patience.in_all(0), patience.in_all(1000), patience.in_all(None)] == [10, 20, 50]


class TestMemory:
    """A lack of memory or threads isn't the client's error."""

    @pytest.mark.parametrize("chunked", [False, True])
    def test_no_memory_while_reading(self, *, chunked: bool) -> None:
        """The server has lost bytes of the body, so it can't be read on, and the connection is closed."""

        class Full:
            def read(self, _size: int) -> bytes:
                raise MemoryError

        body = make_chunked(Full()) if chunked else make_body(length=100, environ={"wsgi.input": Full()})
        for _ in range(2):
            with pytest.raises(Exhausted, match="no memory left"):
                body.read(10)
        assert body.finish() is False

    def test_no_thread_for_the_timer(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """Without the timer a body that trickles would never end. No system has a stack of 16 TiB."""
        client, server = pair
        body = make_body(length=3, environ={"wsgi.input": Connection(server), "gunicorn.socket": server})
        client.sendall(b"abc")
        before = threading.stack_size(16 * 1024**4)
        try:
            with pytest.raises(Exhausted, match="no memory left"):
                body.read(3)
            assert body.finish() is False
        finally:
            threading.stack_size(before)
        assert body.read(3) == b"abc"
