"""A page in the representation that a client requested, with the URLs that PyOCI serves.

Rendered and RenderedPages: its bytes and headers, rendered once and sent many times. WrittenFiles: the JSON
of the files of large pages.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from operator import attrgetter
from urllib.parse import quote

from cachetools import LRUCache
from werkzeug.http import parse_etags

from pyoci.distributions.names import ProjectName
from pyoci.simple_api import verbatim
from pyoci.simple_api.model import File, timestamp
from pyoci.simple_api.verbatim import VerbatimFiles
from pyoci.simple_api.writing import (
    file_document,
    files_json,
    legacy_json,
    page_html,
    page_json,
    root_html,
    root_json,
    with_private_keys,
)
from pyoci.store.models import PackageFile, ProjectPage
from pyoci.upstream.client import UpstreamPage
from pyoci.web.addresses import DIGEST_DIGITS, SERVED
from pyoci.web.negotiation import Representation

_NEEDS_NO_QUOTING = re.compile(r"[A-Za-z0-9._-]+")
# With a max-age, or with Last-Modified alone, the caches of uv and poetry served one caller's page to another
# caller, and hid new releases.
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
_WRITTEN = 16 * 1024 * 1024  # bytes, roughly, of all written files in one process
_WEIGHT = 4  # written files take about this many times the size of their JSON
_LARGE = 1000  # files of a page that takes some 8 ms to write
_AT_ONCE = 200  # files

# The values of X-PyOCI-Origin, which says where a project's files come from.
REGISTRY = "registry"
UPSTREAM = "upstream"
# The value of X-PyOCI-Upstream for a page that was made of the files that are stored here.
STORED = "stored"

Headers = list[tuple[str, str]]


def render_page(
    page: ProjectPage | UpstreamPage,
    shape: Representation,
    up: str = "",
    *,
    proxied: bool = False,
    home: str = "",
    written: WrittenFiles | None = None,
    where: Hashable = None,
) -> bytes:
    """The page of one project. `up` is the relative path from the requested address to the project's own.
    Links to upstream's files are absolute, because clients download those from upstream, unless `proxied`.
    `home` is the URL of the project's page, for links to provenance, which have to be absolute (PEP 740).
    `written` keeps the JSON of files; `where` tells projects of the same name apart in it.
    """
    if isinstance(page, ProjectPage):

        def url_of(file: PackageFile) -> str:
            return up + link(file)

        def provenance_of(file: PackageFile) -> str | None:
            return _provenance(file, home)

        def write(files: Iterable[PackageFile]) -> bytes:
            return files_json(file.on_page(url_of(file), provenance_of(file)) for file in files)

        shown = page.as_page(url_of, provenance_of)
        if not shape.is_json:
            return page_html(shown)
        if written is None or len(page.files) < _LARGE:
            return page_json(shown)
        return page_json(shown, written=written.pieces((where, page.name, up, home), page.files, write))
    if proxied:
        page = with_links_here(page, up, home)
    # The order of keys in upstream's pages must not change, since that would change all their ETags.
    return page_json(page, files_last=False) if shape.is_json else page_html(page)


def as_sent(
    page: ProjectPage | UpstreamPage, shape: Representation, *, proxied: bool
) -> VerbatimFiles | None:
    """Upstream's page as upstream sent it, if clients may get that; None if it has to be rendered."""
    if isinstance(page, ProjectPage) or not isinstance(page.files, VerbatimFiles):
        return None
    about = page.files.about
    is_unchanged = (page.versions, page.status) == (about.versions, about.status)
    return page.files if is_unchanged and shape.is_json and not proxied else None


def render_explained(page: ProjectPage | UpstreamPage, up: str = "", *, proxied: bool = False) -> bytes:
    """The page of one project as JSON. If there are rules for it, `_rules` has their mode, and `_withheld`
    the files that they withhold, or would withhold, with `_rule`, `_reason` and `_until`.
    """
    content = render_page(page, Representation.JSON, up, proxied=proxied)
    if isinstance(page, ProjectPage) or page.judgement is None:
        return content
    judgement = page.judgement
    rules = {"mode": judgement.mode, "contact": judgement.contact, "quarantine": judgement.quarantine}
    files = [
        file_document(_proxied_file(each.file, up) if proxied else each.file)
        | {"_rule": each.rule, "_reason": each.reason}
        | ({"_until": timestamp(each.until)} if each.until is not None else {})
        for each in judgement.withheld
    ]
    return with_private_keys(content, {"_rules": rules, "_withheld": files})


def render_legacy(page: ProjectPage | UpstreamPage, base: str = "", summary: str = "") -> bytes:
    """The legacy JSON of one project. Links to the registry's files, and with a `base` to upstream's, start
    with `base`, a URL that ends with a slash.
    """
    if isinstance(page, ProjectPage):
        return legacy_json(page.as_page(lambda file: base + link(file)), summary)
    return legacy_json(with_links_here(page, base) if base else page)


def render_root(projects: Iterable[ProjectName], shape: Representation) -> bytes:
    """The list of the projects in one namespace."""
    names = [project.normalized for project in projects]
    return root_json(names) if shape.is_json else root_html(names)


def withheld(page: ProjectPage | UpstreamPage) -> str:
    """The value of X-PyOCI-Withheld for a page; "" if nothing is withheld from it."""
    if isinstance(page, ProjectPage) or page.judgement is None:
        return ""
    return page.judgement.header


def link(file: PackageFile) -> str:
    """The file's URL, relative to its page, with the first digits of its sha256: a file that was deleted and
    published with other content has another URL. It has no query: pip appends `.metadata` to it.
    """
    return _link(file.filename, file.sha256)


def _provenance(file: PackageFile, home: str) -> str | None:
    """The URL of a copy's provenance; None if it has none."""
    return f"{home}{link(file)}.provenance" if home and file.provenance else None


def _link(filename: str, sha256: str) -> str:
    quoted = filename if _NEEDS_NO_QUOTING.fullmatch(filename) else quote(filename, safe="")
    return f"+{sha256[:DIGEST_DIGITS]}/{quoted}"


def with_links_here(page: UpstreamPage, base: str, home: str = "") -> UpstreamPage:
    """The page with links to this server, which start with `base`; those to provenance start with `home`."""
    return replace(page, files=tuple(_proxied_file(file, base, home) for file in page.files))


def _proxied_file(file: File, base: str, home: str = "") -> File:
    """The file with a link to this server, without what this server can't verify. A file without a sha256 or
    with an unusual name is unchanged.
    """
    if "sha256" not in file.hashes or not file.filename.endswith(SERVED):
        return file
    metadata = file.core_metadata
    verifiable = isinstance(metadata, dict) and "sha256" in metadata
    path = _link(file.filename, file.hashes["sha256"])
    return file._replace(
        url=base + path,
        core_metadata=metadata if verifiable else None,
        gpg_sig=None,
        provenance=f"{home}{path}.provenance" if file.provenance and home else file.provenance,
    )


@dataclass(frozen=True, slots=True)
class Rendered:
    """One representation, with a strong ETag over exactly these bytes."""

    body: bytes = field(repr=False)
    etag: str  # without quotation marks
    headers: tuple[tuple[str, str], ...]
    content_type: str
    encoding: str = ""  # gzip, or none

    @classmethod
    def of(
        cls,
        content: bytes | VerbatimFiles,
        content_type: str,
        *,
        compressed: bool,
        origin: str = REGISTRY,
        withheld: str = "",
        stored: bool = False,
        html_headers: tuple[tuple[str, str], ...] = _HTML_HEADERS,
    ) -> Rendered:
        """Render `content`, with gzip if `compressed` and if it is large enough. `withheld` is the value of
        X-PyOCI-Withheld, if any; `stored` means that the page was made of the files that are stored here.
        """
        if isinstance(content, VerbatimFiles):
            body, encoding = (content.packed, "gzip") if compressed else (content.body(), "")
        elif compressed and len(content) > _WORTH_COMPRESSING:
            is_ours = origin == REGISTRY
            body = gzip.compress(content, compresslevel=6, mtime=0) if is_ours else verbatim.packed(content)
            encoding = "gzip"
        else:
            body, encoding = content, ""
        etag = hashlib.sha256(body).hexdigest()
        is_html = content_type.partition(";")[0].endswith("html")
        own = [("X-PyOCI-Origin", origin), ("ETag", f'"{etag}"')]
        if withheld:
            own.append(("X-PyOCI-Withheld", withheld))
        if stored:
            own.append(("X-PyOCI-Upstream", STORED))
        headers = (*_HEADERS, *(html_headers if is_html else ()), *own)
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

    def __len__(self) -> int:
        return len(self._known)

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


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some files of one version, and their JSON."""

    files: tuple[PackageFile, ...]
    json: bytes


class WrittenFiles:
    """The JSON of the files of large pages, version by version: of a page in which one version has changed,
    only that version is written again. One for the process.
    """

    def __init__(self, size: int = _WRITTEN) -> None:
        self._guard = threading.Lock()
        self._known: LRUCache[Hashable, list[_Piece]] = LRUCache(size, getsizeof=_weight)

    def __len__(self) -> int:
        return len(self._known)

    def pieces(
        self, key: Hashable, files: Sequence[PackageFile], write: Callable[[Iterable[PackageFile]], bytes]
    ) -> Iterator[bytes]:
        """The JSON of all files of a page, some at a time. Files that were not under `key` the last time are
        written by `write`, which has to return the same for the same files and key.
        """
        with self._guard:
            before = self._known.get(key, [])
        known = {piece.files[0].filename: piece for piece in before}
        found = []
        for some in _by_version(files):
            piece = known.get(some[0].filename)
            if piece is None or piece.files != some:
                piece = _Piece(some, write(some))
            found.append(piece)
            yield piece.json
        with self._guard:
            self._known.pop(key, None)
            with suppress(ValueError):  # it is too large to be kept
                self._known[key] = found


def _weight(pieces: Iterable[_Piece]) -> int:
    """Their approximate size in memory, in bytes."""
    return sum(300 + _WEIGHT * len(piece.json) for piece in pieces)


def _by_version(files: Iterable[PackageFile]) -> Iterator[tuple[PackageFile, ...]]:
    """The files of each version, some at a time if they are many."""
    for _, group in groupby(files, attrgetter("version")):
        while some := tuple(islice(group, _AT_ONCE)):
            yield some
