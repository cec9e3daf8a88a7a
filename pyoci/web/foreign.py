"""Pages of another package index, as ours: the simple repository API 1.4 and the legacy JSON. Pure.

Links are absolute, for the files stay where they are. Strangers wrote everything that stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pyoci.upstream.models import UpstreamFile, UpstreamPage
from pyoci.upstream.releases import latest, releases
from pyoci.web.negotiation import Representation
from pyoci.web.rendering import timestamp, to_html, to_json


def render_foreign(page: UpstreamPage, shape: Representation) -> bytes:
    """The page of one project."""
    if shape.is_json:
        return to_json(page.document())
    links = [(_link(file), file.filename, dict(_attributes(file))) for file in page.files]
    return to_html("foreign.html", name=page.name, status=page.status, links=links)


def _link(file: UpstreamFile) -> str:
    """The file's URL, and its hash where one is known (PEP 503)."""
    return f"{file.url}#{_hash(file.hashes)}" if file.hashes else file.url


def _attributes(file: UpstreamFile) -> Iterator[tuple[str, str]]:
    """The attributes of a link, without `data-` (PEP 503, 592, 658, 714)."""
    if file.requires_python:
        yield "requires-python", file.requires_python
    if file.core_metadata:
        told = _hash(file.core_metadata)
        yield "core-metadata", told
        yield "dist-info-metadata", told
    if file.yanked:
        yield "yanked", "" if file.yanked is True else file.yanked
    if file.gpg_sig is not None:
        yield "gpg-sig", "true" if file.gpg_sig else "false"
    if file.provenance:
        yield "provenance", file.provenance
    if file.size is not None:
        yield "size", str(file.size)
    if file.upload_time:
        yield "upload-time", file.upload_time


def _hash(told: bool | Mapping[str, str]) -> str:
    """One hash as HTML tells it, the best known one; `true` where there is none."""
    hashes = {} if isinstance(told, bool) else told
    algorithm = "sha256" if "sha256" in hashes else next(iter(hashes), "")
    return f"{algorithm}={hashes[algorithm]}" if algorithm else "true"


def render_foreign_legacy(page: UpstreamPage) -> bytes:
    """The project as PyPI's legacy API shows it, as far as a page tells."""
    found = releases(page.files)
    newest = latest(found)
    files = {str(release.version): [_file(file) for file in release.files] for release in found}
    info: dict[str, Any] = {"name": page.name, "summary": "", "project_urls": {}}
    if newest is not None:
        info |= {"version": str(newest.version), "yanked": newest.is_yanked}
    return to_json(
        {"info": info, "releases": files, "urls": files[str(newest.version)] if newest is not None else []}
    )


def _file(file: UpstreamFile) -> dict[str, Any]:
    return {
        "filename": file.filename,
        "url": file.url,
        "packagetype": "bdist_wheel" if file.filename.endswith(".whl") else "sdist",
        "digests": dict(file.hashes),
        "yanked": bool(file.yanked),
        **dict(_known(file)),
    }


def _known(file: UpstreamFile) -> Iterator[tuple[str, Any]]:
    """The keys that have a value."""
    if isinstance(file.yanked, str):
        yield "yanked_reason", file.yanked
    if file.requires_python:
        yield "requires_python", file.requires_python
    if file.size is not None:
        yield "size", file.size
    if file.upload_time:
        moment = datetime.fromisoformat(file.upload_time)
        yield "upload_time", moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        yield "upload_time_iso_8601", timestamp(moment)
