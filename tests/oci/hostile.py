"""A hostile registry. Each behaviour is a handler of raw connections."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from tests.net.servers import Connection, answer

METADATA = (
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://[fe80::1]/",
)
BOMB = gzip.compress(bytes(50_000_000))

Handler = Callable[[Connection], None]


def every(*pieces: bytes) -> Handler:
    """Answer every request with the same bytes."""

    def handle(connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            connection.send(*pieces)

    return handle


def routed(routes: dict[str, bytes], otherwise: Handler | None = None) -> Handler:
    """Answer by the beginning of the request line. Other requests get `otherwise`, or 404."""

    def handle(connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            line = head.decode("latin-1")
            for start, reply in routes.items():
                if line.startswith(start):
                    connection.send(reply)
                    break
            else:
                if otherwise is not None:
                    otherwise(connection)
                    return
                connection.send(answer(b"", "404 Not Found"))

    return handle


def challenge(realm: str) -> bytes:
    return answer(b"", "401 Unauthorized", f'WWW-Authenticate: Bearer realm="{realm}",service="x"')


def redirect(location: str, status: str = "307 Temporary Redirect") -> bytes:
    return answer(b"", status, f"Location: {location}")


def endless_body(
    connection: Connection, head: bytes = b"HTTP/1.1 200 OK\r\n\r\n", piece: bytes = b""
) -> None:
    """A body without end, sent as fast as it is read."""
    connection.send(head)
    connection.flood(piece or b'{"token": "' + b"x" * 65536)


def endless_tags(connection: Connection) -> None:
    """Pages of tags without end, each with a new tag and a Link to the next."""
    number = 0
    while connection.request():
        number += 1
        link = f'Link: </v2/a/b/tags/list?last={number}>; rel="next"'
        connection.send(answer(b'{"tags": ["t%d"]}' % number, "200 OK", link))


def slow(reply: bytes) -> Handler:
    """Send one byte at a time."""

    def handle(connection: Connection) -> None:
        connection.request()
        connection.trickle(reply, 0.05)

    return handle


def reset(connection: Connection) -> None:
    connection.request()
    connection.reset()


def half(connection: Connection) -> None:
    """Send the beginning of an answer, and close the connection."""
    connection.request()
    connection.send(answer(b'{"tags": [', length=1000))


def silent(connection: Connection) -> None:
    connection.request()
    connection.hang()


def chunked_forever(connection: Connection) -> None:
    """Send small chunks without a last one."""
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.flood(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def continuing_forever(connection: Connection) -> None:
    """Send 100 Continue without end."""
    connection.request()
    connection.flood(b"HTTP/1.1 100 Continue\r\n\r\n")


def headers_forever(connection: Connection) -> None:
    """Send headers without end."""
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\n")
    connection.flood(b"X: y\r\n" * 1000)
