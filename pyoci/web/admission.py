"""Checks of a request's head that do not depend on its address.

Like every answer, a refusal is sent only after the whole body has been read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import request

from pyoci.errors import Denied, InvalidRequest, UnsupportedCoding

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PORTS = {"http": 80, "https": 443}
# The separators end a host (RFC 3986); gunicorn joins repeated headers with a comma.
_HOST = re.compile(r"[^\s,@/?#\\]*")


def refuse_by_head() -> None:
    """Check the request before it is routed. Raises InvalidRequest, Denied and UnsupportedCoding."""
    environ = request.environ
    if not names_its_host(environ):
        raise InvalidRequest("the request names no host; expected one Host header, as HTTP/1.1 requires it")
    if request.method not in _WRITES:
        return
    if _is_from_elsewhere(environ):
        raise Denied("web pages of other sites may not write here; expected no Origin, or this server's")
    codings = {coding.strip().lower() for coding in environ.get("HTTP_CONTENT_ENCODING", "").split(",")}
    if codings - {"", "identity"}:
        raise UnsupportedCoding("the body has a Content-Encoding; expected a body without one")


def names_its_host(environ: WSGIEnvironment) -> bool:
    """Whether the request has exactly one valid Host (RFC 9112, section 3.2)."""
    host = environ.get("HTTP_HOST")
    if host is None:
        return environ.get("SERVER_PROTOCOL") != "HTTP/1.1"
    return _HOST.fullmatch(host) is not None


def _is_from_elsewhere(environ: WSGIEnvironment) -> bool:
    """Whether a browser sent this request for a page of another site. Package clients send neither of these
    headers.
    """
    if environ.get("HTTP_SEC_FETCH_SITE", "").strip().lower() == "cross-site":
        return True
    origin = environ.get("HTTP_ORIGIN")
    return origin is not None and not _is_own(origin, environ)


def _is_own(origin: str, environ: WSGIEnvironment) -> bool:
    """Whether an Origin has the host and the port that this request was sent to."""
    try:
        theirs, own = urlsplit(origin), urlsplit(f"//{environ.get('HTTP_HOST', '')}")
        port = theirs.port or _PORTS[theirs.scheme]
        ports = {own.port} if own.port else _own_ports(environ)
    except (ValueError, KeyError):  # "null", a browser extension's, or an invalid URL
        return False
    return bool(theirs.hostname) and theirs.hostname == own.hostname and port in ports


def _own_ports(environ: WSGIEnvironment) -> set[int]:
    """The possible ports of a Host without a port. Behind a proxy that terminates TLS and whose headers
    aren't trusted, an https request looks like an http request, so both default ports are possible.
    """
    return {443} if environ.get("wsgi.url_scheme") == "https" else {80, 443}
