"""Projects with many versions, published through the package index itself."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.servers import Site
from benchmarks.transfers import upload
from benchmarks.wheels import File, small_files

_AT_ONCE = 4


def publish_versions(site: Site, project: str, count: int) -> None:
    """Publish versions 1.0 to 1.<count - 1> of a project, a wheel and an sdist of each. Raises Missed."""
    publish_all(site, (file for number in range(count) for file in small_files(project, f"1.{number}")))


def publish_all(site: Site, files: Iterable[File]) -> None:
    """Publish some files, a few at a time. Raises Missed."""
    with ThreadPoolExecutor(_AT_ONCE) as publishers:
        list(publishers.map(lambda file: upload(site.address, site.upload, file, site.headers), files))
