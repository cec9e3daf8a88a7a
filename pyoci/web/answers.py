"""Answers, with the headers that keep clients from showing one caller's page to the next."""

from __future__ import annotations

import gzip
import hashlib
from urllib.parse import quote

from flask import Response, request

from pyoci.web.negotiation import accepts_gzip

# With any max-age, or with Last-Modified alone, uv and poetry showed one caller's page to the next from
# their own cache, and kept new releases hidden.
_PAGE_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Vary": "Accept, Accept-Encoding, Authorization",
    "X-Content-Type-Options": "nosniff",
}
_HTML_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
}
_WORTH_COMPRESSING = 1024  # bytes
# What may stand in a query as it is; everything else that got here is encoded once more.
_QUERY_SAFE = "!$&'()*+,;=:@/?%-._~"


def page(content: bytes, content_type: str) -> Response:
    """A page: gzip where welcome, a strong ETag over exactly these bytes, 304 where the client has them.

    The store was asked before, so a 304 goes only to a caller who may read the page.
    """
    headers = dict(_PAGE_HEADERS)
    if content_type.partition(";")[0].endswith("html"):
        headers |= _HTML_HEADERS
    if len(content) > _WORTH_COMPRESSING and accepts_gzip(request.headers.get("Accept-Encoding", "")):
        content = gzip.compress(content, compresslevel=6, mtime=0)
        headers["Content-Encoding"] = "gzip"
    tag = hashlib.sha256(content).hexdigest()
    headers["ETag"] = f'"{tag}"'
    if unchanged(tag):
        headers.pop("Content-Encoding", None)
        return Response(status=304, headers=headers)
    return Response(content, headers=headers, content_type=content_type)


def unchanged(tag: str) -> bool:
    """Whether the client holds the representation with this ETag (RFC 9110, section 13.1.2)."""
    return bool(request.headers.get("If-None-Match")) and request.if_none_match.contains_weak(tag)


def text(content: str, status: int | str = 200) -> Response:
    """A short text that nobody keeps."""
    answer = Response(content, status=status, content_type="text/plain; charset=utf-8")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def moved(location: str) -> Response:
    """A permanent redirect within this site; pip and poetry remember it for ever.

    `location` is relative to the address asked for, so it holds behind any prefix and any proxy.
    """
    query = quote(request.query_string, safe=_QUERY_SAFE)
    answer = text("moved to its own address", 301)
    answer.headers["Location"] = f"{location}?{query}" if query else location
    del answer.headers["Cache-Control"]
    return answer
