"""Pages and roots as bytes: the simple repository API 1.4 in HTML and JSON. Pure.

PEP 503 (HTML), 592 (yanked), 629 (version), 658 and 714 (core metadata), 691 (JSON), 700 (size, upload
time). What isn't known is left out, never null: uv throws a whole page away for one null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyoci.distributions.names import ProjectName
from pyoci.store.models import PackageFile, ProjectPage
from pyoci.web.addresses import DIGEST_DIGITS
from pyoci.web.negotiation import Representation

API_VERSION = "1.4"
_AT_ONCE = 200  # files
_NEEDS_NO_QUOTING = re.compile(r"[A-Za-z0-9._-]+")
# HTML has no way to write these down, not even escaped.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def render_page(page: ProjectPage, shape: Representation, up: str = "") -> bytes:
    """The page of one project; `up` leads from its address to the project's own."""
    if shape.is_json:
        head = {
            "meta": {"api-version": API_VERSION},
            "name": page.name.normalized,
            "versions": [str(version) for version in page.versions],
        }
        return b'%s,"files":[%s]}' % (to_json(head)[:-1], b",".join(_lists(page.files, up)))
    return to_html("page.html", name=page.name.normalized, files=page.files, up=up)


def render_root(projects: Iterable[ProjectName], shape: Representation) -> bytes:
    """The list of the projects in one namespace."""
    names = [project.normalized for project in projects]
    if shape.is_json:
        return to_json({"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]})
    return to_html("root.html", names=names)


def to_json(document: Any) -> bytes:
    """The one serializer. ASCII only, so that even half a surrogate pair can be sent."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def link(file: PackageFile) -> str:
    """The file's URL, relative to its page, with a part of its sha256: a file that was deleted and published
    with other content has another URL. It has no query: pip appends `.metadata` to it.
    """
    return f"+{file.sha256[:DIGEST_DIGITS]}/{_quoted(file.filename)}"


def _quoted(filename: str) -> str:
    return filename if _NEEDS_NO_QUOTING.fullmatch(filename) else quote(filename, safe="")


@lru_cache(maxsize=1024)
def timestamp(moment: datetime) -> str:
    """`2026-11-20T08:15:30.000000Z`: PEP 700 wants UTC, and uv wants the Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _lists(files: Sequence[PackageFile], up: str) -> Iterator[bytes]:
    """The files as JSON, some at a time: the dictionaries of ten thousand files at once keep the garbage
    collector as busy as the serializer.
    """
    for start in range(0, len(files), _AT_ONCE):
        yield to_json([_file(file, up) for file in files[start : start + _AT_ONCE]])[1:-1]


def _file(file: PackageFile, up: str) -> dict[str, Any]:
    """What is known of a file: optional keys only where they have a value."""
    found: dict[str, Any] = {
        "filename": file.filename,
        "url": up + link(file),
        "hashes": {"sha256": file.sha256},
    }
    if file.size is not None:
        found["size"] = file.size
    if file.upload_time is not None:
        found["upload-time"] = timestamp(file.upload_time)
    if file.requires_python:
        found["requires-python"] = file.requires_python
    if file.core_metadata:
        found["core-metadata"] = {"sha256": file.core_metadata}
    if file.yanked is not None:
        found["yanked"] = file.yanked or True
    return found


def to_html(template: str, **values: Any) -> bytes:
    """A page by its template. What can't be encoded becomes a question mark."""
    text = _templates().get_template(template).render(api_version=API_VERSION, **values)
    return text.encode("utf-8", "replace")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("pyoci.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["link"] = link
    environment.filters["timestamp"] = timestamp
    environment.filters["writable"] = lambda text: _UNWRITABLE.sub(" ", text)
    return environment
