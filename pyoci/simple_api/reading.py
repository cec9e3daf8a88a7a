"""read_json and read_html: parse a foreign page into a Page. Invalid values and unknown keys are left out."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import canonicalize_name

from pyoci.errors import ProtocolError
from pyoci.pauses import Pauses, json_hook
from pyoci.simple_api import model
from pyoci.simple_api.model import File, Page, version_of

FILES = 50_000  # the largest pages of PyPI have some 30,000
_VALUES = 1_000_000  # of JSON; each takes up to 100 bytes of memory, and a file has some 15
_DENSE = 64 * 1024  # bytes in which JSON may have a value for each two bytes; a page has one for some 40
_LINKS = 1_000_000  # of the list of all projects
_TEXT = 64 * 1024 * 1024  # bytes of JSON as a str, which has four for each character if one needs four
_JSON_PIECE = 256 * 1024  # bytes, in which values are counted at once
_HTML_PIECE = 64 * 1024  # characters
_HTML_ELEMENT = 256 * 1024  # characters of one tag or comment; attributes take 100 times that in memory
_VERSIONS = 100_000
_VERSION = 200  # characters
_BEGINNING = 256 * 1024  # bytes in which a page says what it is
_TITLE = 100  # characters of a page's title
_SIMPLE = re.compile(r"simple |links for ", re.IGNORECASE)  # how titles of the simple API begin
_REPOSITORY_VERSION = "pypi:repository-version"  # the name of a meta element (PEP 629)
_META = {"pypi:project-status": "status", "pypi:project-status-reason": "reason"}
_FIELDS = [(field.attribute, field.spellings, field.read) for field in model.FIELDS]
_UPSTREAM = "the upstream package index"  # what messages call the sender, unless the caller says otherwise
_ATTRIBUTES = [(f"data-{key}", key, field.from_html) for field in model.FIELDS for key in field.keys]


def read_json(body: bytes, name: str, base: str, sender: str = _UPSTREAM) -> Page:
    """The page of the project `name` (normalised), as JSON from the URL `base`. Raises ProtocolError."""
    return read_page(read_document(body, sender), name, base, sender)


def read_page(document: object, name: str, base: str, sender: str = _UPSTREAM) -> Page:
    """The same from JSON that was parsed. Raises ProtocolError."""
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise ProtocolError(
            f"{sender} sent JSON that isn't a project's page; expected the simple API's, with a list of files"
        )
    meta = document.get("meta")
    _check_version(meta.get("api-version") if isinstance(meta, dict) else None, sender)
    theirs = document.get("name")
    if isinstance(theirs, str) and canonicalize_name(theirs) != name:
        raise ProtocolError(f"{sender} sent another project's page")
    return _page(document, name, base, sender)


def read_document(body: bytes, sender: str = _UPSTREAM) -> Any:
    """JSON of any kind, if it takes little enough memory. Raises ProtocolError."""
    check_weight(body, sender)
    try:
        return json.loads(body, object_hook=json_hook(len(body)))
    except (ValueError, RecursionError):
        raise ProtocolError(f"{sender} sent JSON that can't be read") from None


def read_names(body: bytes, sender: str) -> list[object]:
    """The names in a list of all projects, as JSON; any value may stand for one. Raises ProtocolError."""
    check_weight(body, sender)
    names = None
    with suppress(ValueError, RecursionError):
        names = names_in(json.loads(body))
    if names is None:
        raise ProtocolError(f"{sender} sent no list of projects; expected JSON of the simple API")
    return names


def names_in(document: object) -> list[object] | None:
    """The same from JSON that was parsed; None if it is no list of projects."""
    projects = document.get("projects") if isinstance(document, dict) else None
    if not isinstance(projects, list) or not all(isinstance(each, dict) for each in projects):
        return None
    return [each["name"] for each in projects] if all("name" in each for each in projects) else None


@dataclass(frozen=True, slots=True)
class HtmlTraits:
    """What a page of HTML seems to be. `is_simple`: it says that it is one of the simple API."""

    title: str = ""
    is_simple: bool = False
    asks_for_password: bool = False


def read_traits(body: bytes, sender: str = _UPSTREAM) -> HtmlTraits:
    """The traits of a page, by its beginning. Raises ProtocolError for HTML that can't be read."""
    reader = _Traits()
    _feed(reader, body[:_BEGINNING], sender)
    title = " ".join(reader.title.split())
    return HtmlTraits(title, reader.has_version or bool(_SIMPLE.match(title)), reader.asks_for_password)


def read_html(body: bytes, name: str, base: str, sender: str = _UPSTREAM) -> Page:
    """The page of the project `name` (normalised), as HTML from the URL `base`. Raises ProtocolError."""
    reader = _Reader(base, sender)
    _feed(reader, body, sender)
    return _page({"files": reader.files, "project-status": reader.status}, name, reader.base, sender)


def read_links(body: bytes, base: str, sender: str = _UPSTREAM) -> list[str]:
    """The paths of the URLs that a page of HTML links to, such as the root of an index. Raises
    ProtocolError.
    """
    reader = _Links(base)
    _feed(reader, body, sender)
    return reader.paths


def _feed(reader: HTMLParser, body: bytes, sender: str) -> None:
    try:
        # Without close(): for an element without an end, it would search the rest of the page again at each
        # character.
        for piece in _text_pieces(body):
            reader.feed(piece)
            if len(reader.rawdata) > _HTML_ELEMENT:
                raise ProtocolError(
                    f"{sender} sent HTML with an element of more than {_HTML_ELEMENT} characters"
                )
    except (AssertionError, RecursionError):  # html.parser raises the former for a strange <![section[
        raise ProtocolError(f"{sender} sent HTML that can't be read") from None


def _page(document: Mapping[str, Any], name: str, base: str, sender: str) -> Page:
    entries = document["files"]
    _check_count(len(entries), sender)
    files = tuple(file for file in (read_file(entry, base) for entry in entries) if file is not None)
    versions = _versions(document.get("versions"))
    return Page(
        name=name,
        files=files,
        versions=_versions_of(files) if versions is None else versions,
        status=model.status(document.get("project-status")),
    )


class Weight:
    """Counts the values of JSON, which is given in pieces. Once it is parsed, each value takes some memory
    besides its text: `{},` takes 24 times as much as its bytes.
    """

    def __init__(self, sender: str = _UPSTREAM) -> None:
        self._sender = sender
        self._values = self._bytes = 0

    def add(self, piece: bytes) -> None:
        """Raises ProtocolError if there are too many values up to the end of this piece."""
        self._bytes += len(piece)
        self._values += sum(map(piece.count, (b",", b"[", b"{")))
        if self._values > _VALUES:
            raise ProtocolError(f"{self._sender} sent JSON with more than {_VALUES} values")
        if self._bytes > _DENSE and 2 * self._values > self._bytes:
            raise ProtocolError(
                f"{self._sender} sent JSON of hardly more than brackets and commas;"
                " expected that of the simple API"
            )


def check_weight(body: bytes, sender: str = _UPSTREAM) -> None:
    """Raises ProtocolError for JSON whose values would take far more memory than it has bytes."""
    # Counting takes a tenth of the time that reading a page takes. A value and its comma have two bytes at
    # least.
    if len(body) > 2 * _VALUES:
        weight, pause = Weight(sender), Pauses()
        for start in range(0, len(body), _JSON_PIECE):
            weight.add(body[start : start + _JSON_PIECE])
            pause()
    if 4 * len(body) <= _TEXT:
        return
    width = 1 if body.isascii() else 4 if re.search(rb"[\xf0-\xff]", body) else 2
    if width * len(body) > _TEXT:
        raise ProtocolError(
            f"{sender} sent JSON that takes more than {_TEXT} bytes of memory;"
            " expected fewer characters that are not ASCII"
        )


def _check_count(files: int, sender: str) -> None:
    if files > FILES:
        raise ProtocolError(f"{sender} sent a page with more than {FILES} files")


def _text_pieces(body: bytes) -> Iterator[str]:
    """HTML in pieces, because as one string it could take four times its size."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for start in range(0, len(body), _HTML_PIECE):
        yield decoder.decode(body[start : start + _HTML_PIECE])


def _check_version(version: object, sender: str) -> None:
    """Raises ProtocolError for another major version, which is a different format (PEP 629)."""
    if isinstance(version, str) and version.partition(".")[0] not in {"1", ""}:
        raise ProtocolError(f"{sender} speaks another version of the simple API; expected 1")


def read_file(entry: object, base: str) -> File | None:
    """A file of a page's JSON; None if it has no usable name and URL."""
    if not isinstance(entry, dict):
        return None
    filename, url = model.filename(entry.get("filename")), model.url(entry.get("url"), base)
    if filename is None or url is None:
        return None
    known: dict[str, Any] = {}
    for attribute, keys, read in _FIELDS:
        for key in keys:
            if key in entry:
                known[attribute] = read(entry[key])
                break
    return File(filename, url, model.hashes(entry.get("hashes")), **known)


def _versions(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    good = (text for text in value[:_VERSIONS] if isinstance(text, str) and len(text) <= _VERSION)
    return tuple(dict.fromkeys(text for text in good if text and text.isascii() and text.isprintable()))


def _versions_of(files: Iterable[File]) -> tuple[str, ...]:
    """The versions in the file names, in PEP 440 order."""
    found = {version for version in map(version_of, files) if version is not None}
    return tuple(map(str, sorted(found)))


class _Links(HTMLParser):
    """Collects the paths of links. A URL that can't be parsed is left out."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base
        self.paths: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(reversed(attrs)).get("href")
        if tag == "a" and href and len(self.paths) < _LINKS:
            with suppress(ValueError):
                self.paths.append(urlsplit(urljoin(self._base, href.strip())).path)


class _Traits(HTMLParser):
    """Collects what tells a page of the simple API from others."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.has_version = self.asks_for_password = False
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._in_title = tag in {"title", "h1"} and not self.title
        self.has_version |= tag == "meta" and attributes.get("name") == _REPOSITORY_VERSION
        self.asks_for_password |= tag == "input" and (attributes.get("type") or "").lower() == "password"

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title and len(self.title) < _TITLE:
            self.title = (self.title + data)[:_TITLE]


class _Reader(HTMLParser):
    """Collects the links (in the form of JSON's entries), the base URL and the project's status."""

    def __init__(self, base: str, sender: str) -> None:
        super().__init__()
        self.base = base
        self._sender = sender
        self.files: list[dict[str, Any]] = []
        self.status: dict[str, str | None] = {}
        self._has_base = False
        self._pause = Pauses()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._pause()
        attributes = dict(reversed(attrs))  # the first of two counts, as in browsers
        if tag == "a":
            self._link(attributes)
        elif tag == "base" and not self._has_base and attributes.get("href"):
            self._has_base = True
            self.base = model.url(attributes["href"], self.base) or self.base
        elif tag == "meta":
            self._meta(attributes.get("name"), attributes.get("content"))

    def _meta(self, name: str | None, content: str | None) -> None:
        if name == _REPOSITORY_VERSION:
            _check_version(content, self._sender)
        elif name in _META:
            self.status.setdefault(_META[name], content)

    def _link(self, attributes: dict[str, str | None]) -> None:
        href = attributes.get("href")
        if not href:
            return
        try:
            parts = urlsplit(urljoin(self.base, href.strip()))
        except ValueError:
            return
        entry: dict[str, Any] = {
            # The name is that in the URL, not the link's text: pip and uv use the URL.
            "filename": unquote(parts.path.rpartition("/")[2]),
            "url": href,
            "hashes": model.hashes_in(parts.fragment),
        }
        for attribute, key, from_html in _ATTRIBUTES:
            if attribute in attributes:
                entry[key] = from_html(attributes[attribute] or "")
        self.files.append(entry)
        _check_count(len(self.files), self._sender)
