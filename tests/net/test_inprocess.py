"""InProcessAdapter: a WSGI application answers like a server."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci.errors import ProtocolError
from pyoci.net.addresses import Reach
from pyoci.net.messages import Call, FileBody
from pyoci.net.transport import Transport

MIB = 1024 * 1024


def make_call(**overrides: Any) -> Call:
    given: dict[str, Any] = {
        "method": "GET",
        "url": "embedded://local/v2/",
        "reach": Reach.EMBEDDED,
    } | overrides
    return Call(**given)


class Application:
    """Sends a fixed answer, and records requests."""

    def __init__(self, *pieces: bytes, status: str = "200 OK", headers: Any = (), late: bool = False) -> None:
        self.pieces, self.status, self.headers, self.late = pieces, status, list(headers), late
        self.environ: dict[str, Any] = {}
        self.body = b""
        self.closed = 0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.environ = environ
        self.body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if not self.late:
            start_response(self.status, self.headers)
        return _Body(self, start_response)


class _Body:
    def __init__(self, application: Application, start_response: Any) -> None:
        self.application, self.start_response = application, start_response

    def __iter__(self) -> Iterator[bytes]:
        if self.application.late:
            self.start_response(self.application.status, self.application.headers)
        yield from self.application.pieces

    def close(self) -> None:
        self.application.closed += 1


@pytest.mark.parametrize("late", [False, True], ids=["at once", "with its first piece"])
def test_an_application_answers(late: bool) -> None:
    """It may call start_response when it is called, or before its first piece."""
    application = Application(b"a", b"", b"bc", headers=[("X-One", "1"), ("X-One", "2")], late=late)
    found = Transport(embedded=application).document(make_call())
    assert (found.status, found.body, found.headers["x-one"]) == (200, b"abc", "1, 2")
    assert application.closed == 1


def test_the_request_arrives() -> None:
    """The path is decoded as in WSGI; query, headers, body and length are unchanged."""
    application = Application()
    Transport(embedded=application).upload(
        make_call(
            method="PUT",
            url="embedded://local/v2/a%2Fb/%C3%A4/%FF?x=%2B&y",
            headers={"Content-Type": "text/x", "X-Two": "2"},
            body=FileBody(io.BytesIO(b"0123456789"), 10),
        )
    )
    environ = application.environ
    assert environ["PATH_INFO"] == "/v2/a/b/\u00c3\u00a4/\u00ff"
    assert environ["QUERY_STRING"] == "x=%2B&y"
    assert (environ["REQUEST_METHOD"], environ["CONTENT_TYPE"], environ["HTTP_X_TWO"]) == (
        "PUT",
        "text/x",
        "2",
    )
    assert application.body == b"0123456789"


def test_an_answer_to_head_has_no_body() -> None:
    """Its Content-Length is that of the answer to GET."""
    found = Transport(embedded=Application(headers=[("Content-Length", "5")])).document(
        make_call(method="HEAD")
    )
    assert (found.body, found.headers["content-length"]) == (b"", "5")


def test_a_body_is_taken_piece_by_piece() -> None:
    """Pieces are produced only when they are read."""
    made: list[int] = []

    def application(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])

        def pieces() -> Iterator[bytes]:
            for number in range(100):
                made.append(number)
                yield bytes(MIB)

        return pieces()

    pieces = Transport(embedded=application).stream(make_call()).pieces(MIB)
    assert 0 < len(next(pieces)) <= MIB
    assert len(made) <= 2
    pieces.close()


def test_memory_is_bounded_in_both_directions() -> None:
    """64 MiB pass, and only a few pieces are in memory at a time."""

    class Zeros(io.RawIOBase):
        def seek(self, *_: Any) -> int:
            return 0

        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        left = int(environ.get("CONTENT_LENGTH") or 0)
        while left:
            left -= len(environ["wsgi.input"].read(min(left, MIB)))
        start_response("200 OK", [])
        return (bytes(MIB) for _ in range(64 if environ["REQUEST_METHOD"] == "GET" else 0))

    transport = Transport(embedded=application)
    tracemalloc.start()
    try:
        body = FileBody(Zeros(), 64 * MIB)  # type: ignore[arg-type]
        assert transport.upload(make_call(method="PUT", body=body)).status == 200
        assert sum(map(len, transport.stream(make_call()).pieces(MIB))) == 64 * MIB
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("failure", [ConnectionResetError(104, "reset"), OSError(28, "full"), ValueError()])
def test_exception_of_a_body_is_raised(failure: Exception) -> None:
    """The application can't mistake it for an error of its own."""

    class Failing:
        def __len__(self) -> int:
            return 10

        def __iter__(self) -> Iterator[bytes]:
            yield b"12345"
            raise failure

    def application(environ: Any, start_response: Any) -> list[bytes]:
        with contextlib.suppress(OSError):
            environ["wsgi.input"].read(10)
        start_response("201 Created", [])
        return []

    with pytest.raises(type(failure)) as caught:
        Transport(embedded=application).upload(make_call(method="PUT", body=Failing()))
    assert caught.value is failure


def test_closing_a_stream_closes_the_application() -> None:
    """The application may have an open file."""
    application = Application(*[b"x" * 1000] * 100)
    transport = Transport(embedded=application)
    transport.stream(make_call()).close()
    assert application.closed == 1
    pieces = transport.stream(make_call()).pieces(1000)
    next(pieces)
    pieces.close()
    assert application.closed == 2


def test_an_application_that_never_starts_is_a_protocol_error() -> None:
    """It never calls start_response."""

    def application(_environ: Any, _start_response: Any) -> list[bytes]:
        return [b"body"]

    with pytest.raises(ProtocolError):
        Transport(embedded=application).document(make_call())
