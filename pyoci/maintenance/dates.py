"""Upload times of package indexes whose pages have none: devpi, Artifactory and Nexus have them in APIs of
their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pyoci.errors import PyOCIError

FetchJson = Callable[
    [str], Any
]  # the JSON at a URL of the index's own host; raises the kinds of pyoci.errors

_ARTIFACTORY = re.compile(r"(?P<base>.*)/api/pypi/(?P<repository>[^/]+)/(?P<path>.+)")
_NEXUS = re.compile(r"(?P<base>.*)/repository/(?P<repository>[^/]+)/(?P<path>.+)")
_PAGES = 200  # of Nexus's search, with some fifty assets each


def upload_times(index_url: str, project: str, urls: Iterable[str], fetch: FetchJson) -> dict[str, datetime]:
    """The upload times that are known of a project's files, by file name. `urls` are those of the files.

    An API that refuses, or answers with something else, gives none.
    """
    parts = urlsplit(index_url)
    root = f"{parts.scheme}://{parts.netloc}"
    with suppress(PyOCIError, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        if parts.path.rstrip("/").endswith("+simple"):
            return _devpi(f"{index_url.rstrip('/').removesuffix('+simple')}{project}", fetch)
        if _ARTIFACTORY.fullmatch(parts.path):
            return _artifactory(root, urls, fetch)
        found = _NEXUS.fullmatch(parts.path)
        if found is not None:
            return _nexus(f"{root}{found['base']}", found["repository"], project, fetch)
    return {}


def _devpi(url: str, fetch: FetchJson) -> dict[str, datetime]:
    """From the log of each release file in a project's JSON: `"when": [2024, 5, 1, 12, 30, 0]`, in UTC."""
    found: dict[str, datetime] = {}
    for version in fetch(url)["result"].values():
        for link in version.get("+links", ()):
            for entry in link.get("log", ()):
                if link.get("rel") == "releasefile" and entry.get("what") == "upload":
                    found[_last(link["href"])] = _utc(entry["when"])
    return found


def _artifactory(root: str, urls: Iterable[str], fetch: FetchJson) -> dict[str, datetime]:
    """From the storage API, which has a document for each file."""
    found: dict[str, datetime] = {}
    for url in urls:
        place = _ARTIFACTORY.fullmatch(urlsplit(url).path)
        if place is None or not url.startswith(f"{root}/"):
            continue
        document = fetch(f"{root}{place['base']}/api/storage/{place['repository']}/{place['path']}")
        moment = _moment(document.get("created"))
        if moment is not None:
            found[_last(url)] = moment
    return found


def _nexus(base: str, repository: str, project: str, fetch: FetchJson) -> dict[str, datetime]:
    """From the search API, a page at a time."""
    found: dict[str, datetime] = {}
    query = f"repository={quote(repository, safe='')}&format=pypi&name={quote(project, safe='')}"
    token = ""
    for _ in range(_PAGES):
        document = fetch(f"{base}/service/rest/v1/search/assets?{query}{token}")
        for asset in document["items"]:
            moment = _moment(asset.get("blobCreated")) or _moment(asset.get("lastModified"))
            if moment is not None:
                found[_last(asset["path"])] = moment
        if not document.get("continuationToken"):
            break
        token = f"&continuationToken={quote(document['continuationToken'], safe='')}"
    return found


def _last(path: str) -> str:
    return unquote(urlsplit(path).path.rpartition("/")[2])


def _moment(text: object) -> datetime | None:
    """A time with an offset; one without is in UTC. Nexus writes `2024-05-01T12:30:00.000+00:00`."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is None or moment.tzinfo is None:
            return moment and moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _utc(when: list[int]) -> datetime:
    year, month, day, hour, minute, second = when[:6]
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
