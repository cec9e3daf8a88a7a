"""Rendered and RenderedPages: a page's bytes and headers, rendered once and sent many times."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cachetools import LRUCache
from werkzeug.http import parse_etags

# With a max-age, or with Last-Modified alone, the caches of uv and poetry served one caller's page to another
# # caller, and hid new releases.
_HEADERS = (
    ("Cache-Control", "private, no-cache"),
    ("Vary", "Accept, Accept-Encoding, Authorization"),
    ("X-Content-Type-Options", "nosniff"),
)
_HTML_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
)
_WORTH_COMPRESSING = 1024  # bytes
_SIZE = 32 * 1024 * 1024  # bytes of all rendered pages in one process

# The values of X-PyOCI-Origin, which says where a project's files come from.
REGISTRY = "registry"
UPSTREAM = "upstream"

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One representation, with a strong ETag over exactly these bytes."""

    body: bytes = field(repr=False)
    etag: str  # without quotation marks
    headers: tuple[tuple[str, str], ...]
    content_type: str
    encoding: str = ""  # gzip, or none

    @classmethod
    def of(cls, content: bytes, content_type: str, *, compressed: bool, origin: str = REGISTRY) -> Rendered:
        """Render `content`, with gzip if `compressed` and if it is large enough."""
        encoding = "gzip" if compressed and len(content) > _WORTH_COMPRESSING else ""
        body = gzip.compress(content, compresslevel=6, mtime=0) if encoding else content
        etag = hashlib.sha256(body).hexdigest()
        is_html = content_type.partition(";")[0].endswith("html")
        own = (("X-PyOCI-Origin", origin), ("ETag", f'"{etag}"'))
        headers = (*_HEADERS, *(_HTML_HEADERS if is_html else ()), *own)
        return cls(body, etag, headers, content_type, encoding)

    def answer(self, condition: str | None) -> tuple[int, Headers, bytes]:
        """Status, headers and body; 304 if If-None-Match (`condition`) has this ETag (RFC 9110, 13.1.2)."""
        if condition and matches(condition, self.etag):
            return 304, list(self.headers), b""
        headers = [
            *self.headers,
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
        ]
        if self.encoding:
            headers.append(("Content-Encoding", self.encoding))
        return 200, headers, self.body


def matches(condition: str, etag: str) -> bool:
    """Whether an If-None-Match contains this ETag."""
    return condition == f'"{etag}"' or parse_etags(condition).contains_weak(etag)


class RenderedPages:
    """The last rendering of each page in each representation. One for the process."""

    def __init__(self, size: int = _SIZE) -> None:
        self._guard = threading.Lock()
        self._known: LRUCache[Hashable, tuple[str, Rendered]] = LRUCache(
            size, getsizeof=lambda entry: 1000 + len(entry[1].body)
        )

    def get(self, key: Hashable, fingerprint: str) -> Rendered | None:
        """The rendering under `key`, if it is of the page with this fingerprint."""
        with self._guard:
            known = self._known.get(key)
        return known[1] if known is not None and known[0] == fingerprint else None

    def get_or_render(self, key: Hashable, fingerprint: str, render: Callable[[], Rendered]) -> Rendered:
        """The rendering under `key` for this fingerprint. If there is none, calls `render` and stores its
        result.
        """
        known = self.get(key, fingerprint)
        if known is not None:
            return known
        rendered = render()
        if len(rendered.body) <= self._known.maxsize // 2:
            with self._guard:
                self._known[key] = (fingerprint, rendered)
        return rendered
