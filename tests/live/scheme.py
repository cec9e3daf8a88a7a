"""A WSGI application that answers with the scheme by which it was reached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    scheme = environ["wsgi.url_scheme"].encode()
    start_response("200 OK", [("Content-Length", str(len(scheme)))])
    return [scheme]
