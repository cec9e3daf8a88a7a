"""A relay before a registry: passes requests on, and counts them."""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_TIMEOUT = 30.0  # seconds
_PIECE = 256 * 1024
_OWN = frozenset({"connection", "keep-alive", "transfer-encoding"})  # these end at each hop (RFC 9110, 7.6.1)
# What a path asks for, in the order in which it is looked at.
_KINDS = {
    "tags": re.compile(r"^GET /v2/.+/tags/list$"),
    "documents": re.compile(r"^(?:GET|HEAD) /v2/.+/manifests/[^/]+$"),
    "blobs": re.compile(r"^(?:GET|HEAD) /v2/.+/blobs/[^/]+$"),
}


class Relay:
    """A running relay: its URL, and what came through since `reset`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def counts(self) -> dict[str, int]:
        """How many requests there were, by what they asked for."""
        with self._lock:
            return dict(self._counts)

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()

    def note(self, request: str) -> None:
        kind = next((name for name, pattern in _KINDS.items() if pattern.match(request)), request)
        with self._lock:
            self._counts[kind] += 1


@contextmanager
def relay_to(registry: str) -> Iterator[Relay]:
    """Listen on a free port of this machine, and pass on to the registry at that URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.target = urlsplit(registry).netloc  # type: ignore[attr-defined]  # read by the handler
    server.relay = Relay(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.relay  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_TIMEOUT)


class _Handler(BaseHTTPRequestHandler):
    """One client's connection, and one of its own to the registry."""

    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    upstream: http.client.HTTPConnection

    def setup(self) -> None:
        super().setup()
        self.upstream = http.client.HTTPConnection(self.server.target, timeout=_TIMEOUT)  # type: ignore[attr-defined]

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
        """Say nothing."""

    def pass_on(self) -> None:
        self.server.relay.note(f"{self.command} {self.path.partition('?')[0]}")  # type: ignore[attr-defined]
        self._send()
        with self.upstream.getresponse() as answer:
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            if answer.getheader("Content-Length") is None and answer.status not in {204, 304}:
                self.send_header("Connection", "close")  # chunked: the end of the connection is its end
            self.end_headers()
            while piece := answer.read(_PIECE):
                self.wfile.write(piece)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815  # the base class's

    def _send(self) -> None:
        self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OWN:
                self.upstream.putheader(name, value)
        self.upstream.endheaders()
        left = int(self.headers.get("Content-Length") or 0)
        while left and (piece := self.rfile.read(min(left, _PIECE))):
            self.upstream.send(piece)
            left -= len(piece)
