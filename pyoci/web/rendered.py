"""Rendered: an answer's bytes and headers, made once and given often."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cachetools import LRUCache
from werkzeug.http import parse_etags

# With any max-age, or with Last-Modified alone, uv and poetry showed one caller's page to the next from
# their own cache, and kept new releases hidden.
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
_SIZE = 32 * 1024 * 1024  # bytes that one process remembers

# Who answered, for whoever wonders where a version comes from: the value of X-PyOCI-Origin.
REGISTRY = "registry"
UPSTREAM = "upstream"

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One representation, with a strong ETag over exactly these bytes."""

    body: bytes = field(repr=False)
    etag: str  # without its quotation marks
    headers: tuple[tuple[str, str], ...]
    content_type: str
    encoding: str = ""  # gzip, or none

    @classmethod
    def of(cls, content: bytes, content_type: str, *, compressed: bool, origin: str = REGISTRY) -> Rendered:
        """`content` as it is sent; `compressed` where that is welcome, and worth it."""
        encoding = "gzip" if compressed and len(content) > _WORTH_COMPRESSING else ""
        body = gzip.compress(content, compresslevel=6, mtime=0) if encoding else content
        etag = hashlib.sha256(body).hexdigest()
        is_html = content_type.partition(";")[0].endswith("html")
        own = (("X-PyOCI-Origin", origin), ("ETag", f'"{etag}"'))
        headers = (*_HEADERS, *(_HTML_HEADERS if is_html else ()), *own)
        return cls(body, etag, headers, content_type, encoding)

    def answer(self, condition: str | None) -> tuple[int, Headers, bytes]:
        """Status, headers and body; 304 for whoever has it already (RFC 9110, section 13.1.2)."""
        if condition and is_met(condition, self.etag):
            return 304, list(self.headers), b""
        headers = [
            *self.headers,
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
        ]
        if self.encoding:
            headers.append(("Content-Encoding", self.encoding))
        return 200, headers, self.body


def is_met(condition: str, etag: str) -> bool:
    """Whether an If-None-Match names this ETag."""
    return condition == f'"{etag}"' or parse_etags(condition).contains_weak(etag)


class RenderedPages:
    """Each page in each shape as it was rendered last. One for the process."""

    def __init__(self, size: int = _SIZE) -> None:
        self._guard = threading.Lock()
        self._known: LRUCache[Hashable, tuple[str, Rendered]] = LRUCache(
            size, getsizeof=lambda entry: 1000 + len(entry[1].body)
        )

    def get(self, key: Hashable, fingerprint: str) -> Rendered | None:
        """What is remembered under `key`, if it has that fingerprint."""
        with self._guard:
            known = self._known.get(key)
        return known[1] if known is not None and known[0] == fingerprint else None

    def made(self, key: Hashable, fingerprint: str, make: Callable[[], Rendered]) -> Rendered:
        """What is remembered under `key` with that fingerprint, or what `make` makes."""
        known = self.get(key, fingerprint)
        if known is not None:
            return known
        rendered = make()
        if len(rendered.body) <= self._known.maxsize // 2:
            with self._guard:
                self._known[key] = (fingerprint, rendered)
        return rendered
