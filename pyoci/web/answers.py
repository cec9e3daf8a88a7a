"""Answers, with headers that prevent caches from serving one caller's page to another."""

from __future__ import annotations

from collections.abc import Hashable
from http import HTTPStatus
from urllib.parse import quote

from flask import Response, request

from pyoci.upstream.client import UpstreamPage
from pyoci.web import warm
from pyoci.web.finding import Found
from pyoci.web.negotiation import accepts_gzip
from pyoci.web.rendering import REGISTRY, STORED, UPSTREAM, Rendered, matches

# Characters that a query may contain unencoded. All others are percent-encoded.
_QUERY_SAFE = "!$&'()*+,;=:@/?%-._~"


def page(content: bytes, content_type: str, origin: str = REGISTRY, withheld: str = "") -> Response:
    """A page: compressed if the client accepts gzip, with a strong ETag over exactly these bytes, and 304 if
    the client has them.

    The store has authorized the caller before, so only a caller who may read the page gets a 304.
    """
    compressed = gzip_is_welcome()
    return rendered(
        Rendered.of(content, content_type, compressed=compressed, origin=origin, withheld=withheld)
    )


def rendered(page: Rendered) -> Response:
    """The answer for a rendered page."""
    status, headers, body = page.answer(request.headers.get("If-None-Match"))
    answer = Response(body, status=status, headers=headers)
    if status == HTTPStatus.NOT_MODIFIED:
        del answer.headers["Content-Type"]
    return answer


def given_again(page: Rendered, key: Hashable, found: Found) -> Response:
    """The entry `key` of RenderedPages for what was found. WarmPages may send it again, unless its headers
    have its age, which changes.
    """
    content, answer = found.content, rendered(page)
    if isinstance(content, UpstreamPage) and content.stale is not None:
        return from_upstream(answer, content)
    warm.may_be_given_again(request.environ, found.page.validity, key, content.fingerprint)
    return answer


def from_upstream(answer: Response, page: UpstreamPage) -> Response:
    """The answer with the headers of upstream's pages and files. If upstream can't be asked, X-PyOCI-Upstream
    is `stale`, with the seconds since it was last asked, or `stored`.
    """
    answer.headers["X-PyOCI-Origin"] = UPSTREAM
    if page.stored:
        answer.headers["X-PyOCI-Upstream"] = STORED
    elif page.stale is not None:
        answer.headers["X-PyOCI-Upstream"] = f"stale; age={page.stale:.0f}"
    return answer


def gzip_is_welcome() -> bool:
    """Whether this client accepts gzip."""
    return accepts_gzip(request.headers.get("Accept-Encoding", ""))


def unchanged(tag: str) -> bool:
    """Whether the client has the representation with this ETag (RFC 9110, section 13.1.2)."""
    condition = request.headers.get("If-None-Match")
    return condition is not None and matches(condition, tag)


def text(content: str, status: int | str = 200) -> Response:
    """A short text, with headers that forbid caching."""
    answer = Response(content, status=status, content_type="text/plain; charset=utf-8")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def moved(location: str) -> Response:
    """A permanent redirect within this site. pip and poetry cache it forever.

    `location` is relative to the requested address, so it is correct behind any prefix and proxy.
    """
    query = quote(request.query_string, safe=_QUERY_SAFE)
    answer = text("moved to its normalised address", 301)
    answer.headers["Location"] = f"{location}?{query}" if query else location
    del answer.headers["Cache-Control"]
    return answer
