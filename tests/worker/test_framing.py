"""What a head says about its body, and where a chunked body ends."""

from __future__ import annotations

import pytest

from pyoci.worker.framing import ChunkScanner, Frame, read_frame


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        pytest.param((), 0, id="none"),
        pytest.param(("Content-Length: 12",), 12, id="length"),
        pytest.param(("CONTENT-LENGTH:12",), 12, id="spelling"),
        pytest.param(("Transfer-Encoding: chunked",), None, id="chunked"),
        pytest.param(("Transfer-Encoding: identity, Chunked",), None, id="identity-and-chunked"),
        pytest.param(("Content-Length: 1", "Content-Length: 1"), 0, id="two-lengths"),
        pytest.param(("Content-Length: 1", "Transfer-Encoding: chunked"), 0, id="both"),
        pytest.param(("Content-Length: +1",), 0, id="sign"),
        pytest.param((f"Content-Length: {10**18}",), 0, id="long"),
        pytest.param(("Transfer-Encoding: chunked, gzip",), 0, id="not-last"),
        pytest.param(("Transfer-Encoding:\x0bchunked",), 0, id="vertical-tab"),
    ],
)
def test_length(lines: tuple[str, ...], length: int | None) -> None:
    """In bytes; None for chunks; 0 if gunicorn's parser will refuse the request."""
    head = "\r\n".join(("POST /a/b?c=d HTTP/1.1", "Host: x", *lines, "", "")).encode()
    assert read_frame(head).length == length


@pytest.mark.parametrize("ahead", [b"", b"\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"])
def test_request_line(ahead: bytes) -> None:
    """After an empty line, or a line of the PROXY protocol. The query isn't part of the path."""
    head = ahead + b"PUT /a/b?c=d HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n"
    assert read_frame(head) == Frame("PUT", "/a/b", 1, expects_continue=True)


def test_old_version() -> None:
    """HTTP/1.0 has neither chunks nor 100 Continue."""
    head = b"PUT /a HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    assert read_frame(head) == Frame("PUT", "/a", 1)
    assert read_frame(b"PUT /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").length == 0


@pytest.mark.parametrize("head", [b"", b"\r\n\r\n", b"\nContent-Length: 1", b"GET\r\nContent-Length: 1"])
def test_nonsense(head: bytes) -> None:
    """It is left to the parser."""
    assert read_frame(head).length == 0


BODIES = {
    "empty": b"0\r\n\r\n",
    "chunks": b"4\r\nabcd\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
    "line breaks in data": b"6\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
    "trailers": b"1\r\na\r\n0\r\nX: y\r\nZ: \r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_chunks_end(body: bytes, size: int) -> None:
    """At the body's last byte, however the body is split. Bytes of the next request are ignored."""
    scanner, data = ChunkScanner(), body + b"GET / HTTP/1.1"
    seen = 0
    while not scanner.ended:
        scanner.feed(data[seen : seen + size])
        seen += size
    assert len(body) <= seen < len(body) + size


def test_announced() -> None:
    """A chunk counts as soon as its size is known."""
    scanner = ChunkScanner()
    scanner.feed(b"2\r\nab\r\nffffffff\r\n")
    assert (scanner.announced, scanner.ended) == (2 + 0xFFFFFFFF, False)


@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"\r\n", b"-1\r\n", b"0x1\r\n", b"1" * 17 + b"\r\n", b"1" * 20_000]
)
def test_invalid_chunks_end_at_once(body: bytes) -> None:
    """The parser then refuses them."""
    scanner = ChunkScanner()
    scanner.feed(body)
    assert scanner.ended
