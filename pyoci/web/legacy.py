"""The legacy JSON of one project, which Renovate and Dependabot read. Pure.

Renovate takes a 200 without `releases` for a project without versions, and Dependabot skips a version
whose list is empty: so they are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC
from typing import Any

from pyoci.store.models import PackageFile, ProjectPage
from pyoci.web.rendering import link, timestamp, to_json

_HOME_LABELS = ("homepage", "home", "home page", "home-page")


def render_legacy(page: ProjectPage, resolve: Callable[[str], str]) -> bytes:
    """The project as PyPI's legacy API shows it; `resolve` makes a page's link absolute."""
    releases: dict[str, list[dict[str, Any]]] = {}
    for file in page.files:
        releases.setdefault(str(file.version), []).append(_file(file, resolve))
    return to_json(
        {
            "info": dict(_info(page)),
            "releases": releases,
            "urls": releases[str(page.latest)] if page.latest else [],
        }
    )


def _info(page: ProjectPage) -> Iterator[tuple[str, Any]]:
    latest = page.latest
    yield "name", page.name.normalized
    yield "summary", ""
    files = [file for file in page.files if file.version == latest]
    if latest is not None:
        yield "version", str(latest)
        yield "yanked", any(file.yanked is not None for file in files)
    urls = next((dict(file.project_urls) for file in files if file.project_urls), {})
    yield "project_urls", urls
    home = next((url for label, url in urls.items() if label.strip().lower() in _HOME_LABELS), None)
    if home:
        yield "home_page", home
    requires = next((file.requires_python for file in files if file.requires_python), None)
    if requires:
        yield "requires_python", requires


def _file(file: PackageFile, resolve: Callable[[str], str]) -> dict[str, Any]:
    return {
        "filename": file.filename,
        "url": resolve(link(file)),
        "packagetype": file.distribution.filetype,
        "digests": {"sha256": file.sha256},
        "yanked": file.yanked is not None,
        **dict(_known(file)),
    }


def _known(file: PackageFile) -> Iterator[tuple[str, Any]]:
    """The keys that have a value."""
    if file.yanked:
        yield "yanked_reason", file.yanked
    if file.requires_python:
        yield "requires_python", file.requires_python
    if file.size is not None:
        yield "size", file.size
    if file.upload_time is not None:
        yield "upload_time", file.upload_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        yield "upload_time_iso_8601", timestamp(file.upload_time)
