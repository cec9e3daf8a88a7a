"""InProcessAdapter: calls to `embedded://local/` go to a WSGI application in this process."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from urllib3 import HTTPHeaderDict
from urllib3.response import HTTPResponse

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


class _Pieces(io.RawIOBase):
    """A readable file over an iterable of bytes, of which it takes one piece at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._source = pieces
        self._pieces: Iterator[bytes] = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed and hasattr(self._source, "close"):
            self._source.close()
        super().close()


class InProcessAdapter(BaseAdapter):
    """Calls a WSGI application, and streams both bodies."""

    def __init__(self, application: WSGIApplication) -> None:
        super().__init__()
        self._application = application

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        started: list[tuple[int, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [(int(status.split(" ", 1)[0]), headers)]
            return lambda _: None

        body = self._application(_environ(request), start_response)
        pieces = iter(body)
        # A WSGI application may call start_response only when its first piece is requested.
        first = next(pieces, b"") if not started else b""
        if not started:
            raise ValueError("the application has not started its response")
        status, headers = started[0]
        return _response(request, status, headers, _Joined(first, pieces, body))

    def close(self) -> None:
        """There is nothing to close; requests requires the method."""


class _Joined:
    """A body whose first piece was already taken, with the application's own `close`."""

    def __init__(self, first: bytes, rest: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._first, self._rest, self._body = first, rest, body

    def __iter__(self) -> Iterator[bytes]:
        if self._first:
            yield self._first
        yield from self._rest

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()


def _environ(request: PreparedRequest) -> WSGIEnvironment:
    target = urlsplit(request.url or "")
    body = request.body or b""
    source = io.BytesIO(body) if isinstance(body, bytes) else io.BufferedReader(_Pieces(body), 256 * 1024)  # type: ignore[arg-type]
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method or "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(str(target.path)).decode("latin-1"),
        "QUERY_STRING": str(target.query),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": source,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update(_header_variables(request.headers))
    return environ


def _header_variables(headers: Mapping[str, str | bytes]) -> dict[str, str]:
    named = {name.upper().replace("-", "_"): str(value) for name, value in headers.items()}
    plain = {"CONTENT_TYPE", "CONTENT_LENGTH"}
    return {name if name in plain else f"HTTP_{name}": value for name, value in named.items()}


def _response(
    request: PreparedRequest, status: int, headers: list[tuple[str, str]], body: _Joined
) -> Response:
    response = Response()
    response.status_code = status
    response.headers.update(HTTPHeaderDict(headers))
    response.request = request
    response.url = request.url or ""
    response.raw = HTTPResponse(
        body=io.BufferedReader(_Pieces(body), 256 * 1024),
        headers=HTTPHeaderDict(headers),
        status=status,
        preload_content=False,
        decode_content=False,
        request_method=request.method,
    )
    return response
