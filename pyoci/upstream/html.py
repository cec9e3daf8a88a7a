"""A page's HTML (PEP 503, 592, 629, 658, 714, 792), turned into what JSON would have said. Pure.

Upstream's own word is read, not a browser's guess: attributes of links, and three kinds of meta element.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pyoci.errors import ProtocolError
from pyoci.upstream import fields
from pyoci.upstream.documents import check_version, page_of
from pyoci.upstream.models import UpstreamPage

_META = {"pypi:project-status": "status", "pypi:project-status-reason": "reason"}


def read_html(body: bytes, name: str, base: str) -> UpstreamPage:
    """The page of the project `name`, as HTML that came from the URL `base`. Raises ProtocolError."""
    reader = _Reader(base)
    try:
        # All at once and never closed: what is begun and not ended at the end of a page would be looked at
        # again for each of its characters.
        reader.feed(body.decode("utf-8", "replace"))
    except (AssertionError, RecursionError):  # html.parser's word for a strange <![section[
        raise ProtocolError("the upstream package index sent HTML that can't be read") from None
    return page_of({"files": reader.files, "project-status": reader.status}, name, reader.base)


class _Reader(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.files: list[dict[str, Any]] = []
        self.status: dict[str, str | None] = {}
        self._based = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(reversed(attrs))  # of two the first counts, as in browsers
        if tag == "a":
            self._link(told)
        elif tag == "base" and not self._based and told.get("href"):
            self._based = True
            self.base = fields.url(told["href"], self.base) or self.base
        elif tag == "meta":
            self._meta(told.get("name"), told.get("content"))

    def _meta(self, name: str | None, content: str | None) -> None:
        if name == "pypi:repository-version":
            check_version(content)
        elif name in _META:
            self.status.setdefault(_META[name], content)

    def _link(self, told: dict[str, str | None]) -> None:
        href = told.get("href")
        if not href:
            return
        try:
            parts = urlsplit(urljoin(self.base, href.strip()))
        except ValueError:
            return
        entry = {
            # The text should say the same; pip and uv go by the URL.
            "filename": unquote(parts.path.rpartition("/")[2]),
            "url": href,
            "hashes": _hashes(parts.fragment),
            "requires-python": told.get("data-requires-python"),
            "upload-time": told.get("data-upload-time"),
            "provenance": told.get("data-provenance"),
            "size": _number(told.get("data-size")),
            "gpg-sig": {"true": True, "false": False}.get(told.get("data-gpg-sig") or ""),
            "yanked": (told["data-yanked"] or True) if "data-yanked" in told else False,
        }
        for key in ("core-metadata", "dist-info-metadata"):
            if f"data-{key}" in told:
                entry[key] = _metadata(told[f"data-{key}"])
        self.files.append(entry)


def _hashes(text: str) -> dict[str, str]:
    """`sha256=…`, alone or among other words of a fragment."""
    pairs = (pair.partition("=") for pair in text.split("&")[:16])
    return {algorithm: digest for algorithm, _, digest in pairs}


def _metadata(text: str | None) -> bool | dict[str, str]:
    """`true`, or a hash."""
    told = (text or "").strip()
    return told.lower() == "true" or _hashes(told)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 17 else None
