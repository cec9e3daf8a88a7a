"""Requests as raw bytes, which no client library would send, and their answers."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import requests

from tests.live.servers import Server

PATIENCE = 60  # seconds after which a test gives up; nothing here should take a third of it


def connect(server: Server, *, receive: int | None = None) -> socket.socket:
    """Connect. `receive` is the size of the receive buffer in bytes, small for a slow reader."""
    parts = urlsplit(server.url)
    connection = socket.socket()
    connection.settimeout(PATIENCE)
    if receive is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    try:
        connection.connect((parts.hostname, parts.port))
    except OSError:
        connection.close()
        raise
    return connection


def make_head(line: str = "GET /health HTTP/1.1", *headers: str) -> bytes:
    """A request's head, with a Host."""
    return "\r\n".join((line, "Host: localhost", *headers, "", "")).encode("latin-1")


def received(connection: socket.socket) -> bytes:
    """All bytes until the other side closes, or resets."""
    parts = []
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            parts.append(piece)
    return b"".join(parts)


def exchange(server: Server, data: bytes) -> bytes:
    """Send `data` on a new connection; returns all bytes until it is closed."""
    with connect(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        return received(connection)


def statuses(answers: bytes) -> list[int]:
    """The statuses of several answers, in order."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def is_well(server: Server) -> bool:
    """Whether a new connection is answered."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{server.url}/health", timeout=PATIENCE).status_code == 200
