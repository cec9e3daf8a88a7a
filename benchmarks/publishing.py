"""Projects with many versions, published through the package index itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from benchmarks.servers import Site
from benchmarks.transfers import upload
from benchmarks.wheels import small_files

_AT_ONCE = 4


def publish_versions(site: Site, project: str, count: int) -> None:
    """Publish versions 1.0 to 1.<count - 1> of a project, a wheel and an sdist of each. Raises Missed."""

    def publish(number: int) -> None:
        for file in small_files(project, f"1.{number}"):
            upload(site.address, site.upload, file, site.headers)

    with ThreadPoolExecutor(_AT_ONCE) as publishers:
        list(publishers.map(publish, range(count)))
