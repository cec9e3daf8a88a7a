"""What is left of a Python server when everything is taken away: limits that PyOCI is held against.

`page` is a Flask view under PyOCI's own gunicorn configuration. As a program, this is a loop over one socket
a thread, that reads a blob from a registry, hashes it and writes it out.
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
from urllib.parse import urlsplit

from flask import Flask, Response

_PIECE = 1024 * 1024
_TIMEOUT = 60.0  # seconds


def page() -> Flask:
    """A view that answers every path with the bytes and headers of BENCH_ANSWER, a file in JSON, and of the
    file beside it.
    """
    path = Path(os.environ["BENCH_ANSWER"])
    headers, body = json.loads(path.read_text()), path.with_suffix(".body").read_bytes()
    app = Flask(__name__)

    @app.get("/<path:place>/")
    def show(place: str) -> Response:
        return Response(body, headers=headers)

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    return app


def _passed_on(client: socket.socket, registry: str) -> None:
    """Answer one request for a blob, with its length known and its digest checked."""
    buffer = memoryview(bytearray(_PIECE))
    with client:
        path = client.recv(64 * 1024).split(b" ", 2)[1].decode()
        road = http.client.HTTPConnection(registry, timeout=_TIMEOUT)
        road.request("GET", path)
        answer = road.getresponse()
        length = answer.getheader("Content-Length") or "0"
        head = f"HTTP/1.1 {answer.status} OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode())
        seen = hashlib.sha256()
        while count := answer.readinto(buffer):
            seen.update(buffer[:count])
            client.sendall(buffer[:count])
        road.close()


def _main() -> None:
    port, registry = int(sys.argv[1]), urlsplit(sys.argv[2]).netloc
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_passed_on, args=(client, registry), daemon=True).start()


if __name__ == "__main__":
    _main()
