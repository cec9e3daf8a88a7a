"""Minimal Python servers, as lower limits for PyOCI. `page` is a Flask view and `wsgi` a bare function, both
with PyOCI's gunicorn configuration; `sink` accepts telemetry. As a program, this module is a server with one
thread for each socket, which reads a blob from a registry, hashes it and sends it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, Response

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_PIECE = 1024 * 1024
_TIMEOUT = 60.0  # seconds


def _answer() -> tuple[dict[str, str], bytes]:
    """Headers and body: BENCH_ANSWER, a file in JSON, and the file beside it."""
    path = Path(os.environ["BENCH_ANSWER"])
    return json.loads(path.read_text()), path.with_suffix(".body").read_bytes()


def wsgi() -> WSGIApplication:
    """A function with one answer to everything: the least that Python can do under this gunicorn."""
    headers, body = _answer()
    given = [*headers.items(), ("Content-Length", str(len(body)))]

    def answer(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", given)
        return [body]

    return answer


def page() -> Flask:
    """A view with one answer for every path."""
    headers, body = _answer()
    app = Flask(__name__)

    @app.get("/<path:place>/")
    def show(place: str) -> Response:
        return Response(body, headers=headers)

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    return app


def sink() -> WSGIApplication:
    """A collector of telemetry that discards everything."""

    def take(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        while environ["wsgi.input"].read(_PIECE):
            pass
        start_response("200 OK", [("Content-Length", "0")])
        return []

    return take


def _passed_on(client: socket.socket, registry: str) -> None:
    """Answer one request for a blob, with its length known and its digest checked."""
    buffer = memoryview(bytearray(_PIECE))
    with client:
        path = client.recv(64 * 1024).split(b" ", 2)[1].decode()
        connection = http.client.HTTPConnection(registry, timeout=_TIMEOUT)
        connection.request("GET", path)
        answer = connection.getresponse()
        length = answer.getheader("Content-Length") or "0"
        head = f"HTTP/1.1 {answer.status} OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode())
        seen = hashlib.sha256()
        while count := answer.readinto(buffer):
            seen.update(buffer[:count])
            client.sendall(buffer[:count])
        connection.close()


def _main() -> None:
    port, registry = int(sys.argv[1]), urlsplit(sys.argv[2]).netloc
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_passed_on, args=(client, registry), daemon=True).start()


if __name__ == "__main__":
    _main()
