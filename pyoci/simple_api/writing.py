"""Pages and lists of projects as bytes: JSON and HTML of the simple API, and the legacy JSON.

PEP 503 (HTML), 592 (yanked), 629 (version), 658 and 714 (core metadata), 691 (JSON), 700 (size, upload
time), 740 (provenance), 792 (status). Unknown values are left out instead of written as null: uv rejects a
whole page for one null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any

from pyoci.pauses import Pauses
from pyoci.simple_api.model import API_VERSION, FIELDS, File, Page, best_hash, by_version, latest_of

_AT_ONCE = 200  # files
_META = {"api-version": API_VERSION}
# The keys of a file's JSON: those that every file has, and those of FIELDS; and their values in a File.
_NAMES = {"filename", "url", "hashes", "publisher", *(field.attribute for field in FIELDS)}
_OWN = {"publisher": "_publisher"}  # keys that begin with an underscore are an index's own (PEP 691)
_KEYS = tuple(_OWN.get(name) or name.replace("_", "-") for name in File._fields if name in _NAMES)
_values = itemgetter(*(position for position, name in enumerate(File._fields) if name in _NAMES))
# For HTML: a field's position in a File, the beginnings of its attributes, and the field.
_ATTRIBUTES = [
    (File._fields.index(field.attribute), [f' data-{key}="' for key in field.keys], field) for field in FIELDS
]
_LEGACY = [
    (File._fields.index(field.attribute), field.legacy) for field in FIELDS if field.legacy is not None
]
_HOME_LABELS = ("homepage", "home", "home page", "home-page")
# HTML can't contain these, not even escaped.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# ASCII only, so that halves of surrogate pairs can be sent.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def page_json(page: Page, *, files_last: bool = True, written: Iterable[bytes] | None = None) -> bytes:
    """The page as JSON. Without `files_last`, its versions and status come after its files. `written`: its
    files, if `files_json` writes them elsewhere, some at a time.
    """
    head: dict[str, Any] = {"meta": _META, "name": page.name}
    rest: dict[str, Any] = {"versions": page.versions}
    if page.status is not None:
        rest["project-status"] = page.status.document()
    files = b",".join(map(Pauses().after, _pieces(page.files) if written is None else written))
    if files_last:
        return b'%s,"files":[%s]}' % (_json(head | rest)[:-1], files)
    return b'%s,"files":[%s],%s' % (_json(head)[:-1], files, _json(rest)[1:])


def page_html(page: Page) -> bytes:
    """The page as HTML."""
    name, head = _escaped(page.name), []
    if page.status is not None:
        head.append(f'<meta name="pypi:project-status" content="{_escaped(page.status.status)}">')
        if page.status.reason:
            reason = _escaped_text(page.status.reason)
            head.append(f'<meta name="pypi:project-status-reason" content="{reason}">')
    return _html(f"Links for {name}", map(_link, page.files), head, f"<h1>Links for {name}</h1>")


def root_json(names: Iterable[str]) -> bytes:
    """The list of projects as JSON, by their normalised names."""
    return _json({"meta": _META, "projects": [{"name": name} for name in names]})


def root_html(names: Iterable[str]) -> bytes:
    """The list of projects as HTML, by their normalised names."""
    return _html("Projects", (f'<a href="{name}/">{name}</a><br>' for name in names), (), "<h1>Projects</h1>")


def legacy_json(page: Page, summary: str = "") -> bytes:
    """The project as PyPI's legacy API shows it. The URLs of the files should be absolute.

    `releases` has every version and its files: for an answer without `releases`, Renovate finds no versions,
    and Dependabot skips a version whose list is empty. Files without a version are left out.
    """
    versions = by_version(page.files)
    releases = {str(version): list(map(_legacy_file, files)) for version, files in versions.items()}
    newest = latest_of(versions)
    info: dict[str, Any] = {"name": page.name, "summary": summary}
    if page.status is not None:
        info["project_status"] = page.status.document()
    if newest is None:
        return _json({"info": info | {"project_urls": {}}, "releases": {}, "urls": []})
    files = versions[newest]
    info |= {"version": str(newest), "yanked": any(file.yanked for file in files)}
    return _json({"info": info | dict(_links(files)), "releases": releases, "urls": releases[str(newest)]})


def _links(files: Iterable[File]) -> Iterator[tuple[str, Any]]:
    """The keys of `info` from the files of the newest version: for each key, the first known value."""
    urls = next((dict(file.project_urls) for file in files if file.project_urls), {})
    yield "project_urls", urls
    home = next((url for label, url in urls.items() if label.strip().lower() in _HOME_LABELS), None)
    if home:
        yield "home_page", home
    requires = next((file.requires_python for file in files if file.requires_python), None)
    if requires:
        yield "requires_python", requires


def _legacy_file(file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.filename,
        "url": file.url,
        "packagetype": "bdist_wheel" if file.filename.endswith(".whl") else "sdist",
        "digests": file.hashes,
        "yanked": bool(file.yanked),
    }
    if isinstance(file.yanked, str):
        entry["yanked_reason"] = file.yanked
    for position, to_legacy in _LEGACY:
        if file[position] is not None:
            entry |= to_legacy(file[position])
    return entry


def file_document(file: File) -> dict[str, Any]:
    """A file as the JSON of a page has it."""
    return {key: value for key, value in zip(_KEYS, _values(file), strict=True) if value is not None}


def files_json(files: Iterable[File]) -> bytes:
    """Some files as the JSON of a page has them, with commas between them."""
    return _json(list(map(file_document, files)))[1:-1]


def with_private_keys(page: bytes, keys: dict[str, Any]) -> bytes:
    """A page's JSON with further keys, which begin with an underscore (PEP 691)."""
    return b"%s,%s" % (page[:-1], _json(keys)[1:]) if keys else page


def _pieces(files: Iterable[File]) -> Iterator[bytes]:
    """The files as JSON, some at a time: the dictionaries of ten thousand files at once would keep the
    garbage collector as busy as the encoder.
    """
    left = iter(files)
    while piece := files_json(islice(left, _AT_ONCE)):
        yield piece


def _json(document: Any) -> bytes:
    return _ENCODER.encode(document).encode("ascii")


def _html(title: str, lines: Iterable[str], head: Iterable[str], heading: str) -> bytes:
    """A page of these lines. What UTF-8 can't encode becomes a question mark."""
    text = "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta name="pypi:repository-version" content="{API_VERSION}">',
            *head,
            f"<title>{title}</title>\n</head>\n<body>\n{heading}",
            *lines,
            "</body>\n</html>",
        )
    )
    return text.encode("utf-8", "replace")


def _link(file: File) -> str:
    """A file as a link, with its best hash as the fragment."""
    fragment = f"#{best_hash(file.hashes)}" if file.hashes else ""
    text = f'<a href="{_escaped(file.url)}{fragment}"'
    for position, starts, field in _ATTRIBUTES:
        value = file[position]
        if value is not None:
            written = field.to_html(value)
            if field.needs_escaping:
                written = _escaped_text(written)
            for start in starts:
                text += f'{start}{written}"'
    return f"{text}>{_escaped(file.filename)}</a><br>"


def _escaped(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ('"', "&#34;")):
        text = text.replace(character, entity)
    return text


@lru_cache(maxsize=1024)  # the files of a page have the same few specifiers
def _escaped_text(text: str) -> str:
    return _escaped(_UNWRITABLE.sub(" ", text))
