"""Content negotiation: Accept, Accept-Encoding and ?format= (PEP 691, RFC 9110 section 12.5).

Results are cached by the raw header. Clients send few different ones, and parsing a header takes as long as
all other work for a cached page.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from pyoci.errors import NotAcceptable

_REMEMBERED = 256  # headers
_HEADER_LIMIT = 1000  # characters; no known client sends a longer Accept, and the rest is not parsed


class Representation(Enum):
    """The representations of a page. The value is the Content-Type."""

    # No space before ";": uv splits there without trimming.
    JSON = "application/vnd.pypi.simple.v1+json"
    SIMPLE_HTML = "application/vnd.pypi.simple.v1+html; charset=utf-8"
    HTML = "text/html; charset=utf-8"

    @property
    def media_type(self) -> str:
        return self.value.partition(";")[0]

    @property
    def is_json(self) -> bool:
        return self is Representation.JSON


_NAMES = {
    "application/vnd.pypi.simple.v1+json": Representation.JSON,
    "application/vnd.pypi.simple.latest+json": Representation.JSON,
    "application/vnd.pypi.simple.v1+html": Representation.SIMPLE_HTML,
    "application/vnd.pypi.simple.latest+html": Representation.SIMPLE_HTML,
    "text/html": Representation.HTML,
}
_SHORT_NAMES = {"json": Representation.JSON, "html": Representation.HTML}
# The order of preference among equal qualities. A client that names types gets the type with the most data. A
# client that sends only */* gets HTML, because hatch sends that and reads nothing else.
_IF_NAMED = (Representation.JSON, Representation.SIMPLE_HTML, Representation.HTML)
_IF_WILD = (Representation.HTML, Representation.SIMPLE_HTML, Representation.JSON)
_XHTML = "application/xhtml+xml"
_API = frozenset(name for name, shape in _NAMES.items() if shape is not Representation.HTML)
_EXPECTED = ", ".join(dict.fromkeys(shape.media_type for shape in _IF_NAMED))


def choose(accept: str | None, wanted: str | None = None) -> Representation:
    """The representation for `?format=` (`wanted`), or else for an Accept header. Raises NotAcceptable."""
    if wanted:
        # In a query "+" means a space, and few people write %2B.
        name = wanted.strip().lower().replace(" ", "+")
        chosen = _NAMES.get(name) or _SHORT_NAMES.get(name)
        if chosen is None:
            raise NotAcceptable(f"there is no format {wanted[:100]!a}; expected one of {_EXPECTED}")
        return chosen
    if not accept:
        return Representation.HTML
    chosen = _best(accept[:_HEADER_LIMIT])
    if chosen is None:
        raise NotAcceptable(f"nothing here satisfies the Accept header; expected one of {_EXPECTED}")
    return chosen


@lru_cache(maxsize=_REMEMBERED)
def is_browser(accept: str) -> bool:
    """Whether a browser sent this Accept header: it accepts XHTML, which no client of packages does, and
    names no type of the simple API.
    """
    kinds = [
        (kind.partition(";")[0].strip().lower(), q) for kind, q in parse_accept_header(accept[:_HEADER_LIMIT])
    ]
    return any(kind == _XHTML and q > 0 for kind, q in kinds) and not any(kind in _API for kind, _ in kinds)


@lru_cache(maxsize=_REMEMBERED)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted with a quality of at least that of no encoding."""
    codings = parse_accept_header(accept_encoding[:_HEADER_LIMIT])
    qualities = {coding.lower(): quality for coding, quality in codings}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0)


@lru_cache(maxsize=_REMEMBERED)
def prefers_json(accept: str) -> bool:
    """Whether JSON is preferred to plain text, as by uv when it publishes."""
    types = parse_accept_header(accept[:_HEADER_LIMIT], MIMEAccept)
    return types.quality("application/json") > types.quality("text/plain")


@lru_cache(maxsize=_REMEMBERED)
def _best(accept: str) -> Representation | None:
    # Parameters (`text/html;charset=utf-8`) are ignored.
    bare = [(kind.partition(";")[0].strip().lower(), q) for kind, q in parse_accept_header(accept)]
    types = MIMEAccept([(kind, q) for kind, q in bare if kind == "*" or kind.count("/") == 1])
    named = {kind for kind, _ in types}
    if not types:
        return Representation.HTML  # an invalid header is treated like a missing one
    quality = {shape: _quality(shape, types, named) for shape in Representation}
    best = max(quality.values())
    if best <= 0:
        return None
    best_shapes = [shape for shape in Representation if quality[shape] == best]
    by_name = [shape for shape in _IF_NAMED if shape in best_shapes and _names_of(shape) & named]
    return by_name[0] if by_name else next(shape for shape in _IF_WILD if shape in best_shapes)


def _names_of(shape: Representation) -> set[str]:
    return {name for name, named in _NAMES.items() if named is shape}


def _quality(shape: Representation, types: MIMEAccept, named: set[str]) -> float:
    """The highest quality of its names. A name that the header doesn't list has the quality of a matching
    wildcard.
    """
    names = _names_of(shape) & named or {shape.media_type}
    return max(types.quality(name) for name in names)
