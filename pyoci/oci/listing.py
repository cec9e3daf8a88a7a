"""Reading the paged lists of a registry: tags and repositories."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit, urlunsplit

from pyoci.errors import ProtocolError, Unreachable
from pyoci.net.messages import Answer
from pyoci.net.reading import next_link
from pyoci.oci import errors, models, quirks
from pyoci.oci.references import Digest

_PAGES = 500
_ALL_PAGES = 16 * 1024 * 1024  # bytes of all pages
_ENTRIES = 200_000
_REFERRERS = 1000  # of one document
ENTRY_LIMIT = 512  # characters; tags have at most 128 and names 255, longer entries are ignored
_SECONDS = 30.0  # for all pages

Fetch = Callable[[str], Answer]


def read_listing(
    fetch: Fetch,
    url: str,
    key: str,
    follow: Callable[[str, str], str],
    clock: Callable[[], float] = time.monotonic,
    pages: int | None = None,
    *,
    entries: Callable[[bytes], Iterable[str]] | None = None,
    size: int = _ALL_PAGES,
) -> tuple[str, ...]:
    """The strings under `key` of all pages, without duplicates, in the registry's order. `entries` reads
    them from the body of a page that has another shape. All pages together have at most `size` bytes.

    `fetch` gets a page or raises RegistryError; `follow` turns a Link of the page at a URL into the next URL.
    Reading ends after `pages` pages, and at a page without new entries, because Gitea sends a Link with every
    page that isn't empty. Raises ProtocolError if the list exceeds the limits, Unreachable if it takes too
    long.
    """
    deadline = clock() + _SECONDS
    found: dict[str, None] = {}
    left = size
    answer = _first(fetch, url)
    for number in range(1, _PAGES + 1):
        before = len(found)
        found.update(dict.fromkeys(entries(answer.body) if entries else _entries(answer.body, key)))
        left -= len(answer.body)
        if len(found) > _ENTRIES or left < 0:
            raise ProtocolError(f"the registry's list of {key} is too long; expected at most {_ENTRIES}")
        link = next_link(answer.headers.get("link", ""))
        if link is None or len(found) == before or number == pages:
            return tuple(found)
        if clock() > deadline:
            raise Unreachable(f"the registry's list of {key} took over {_SECONDS:.0f} seconds")
        url = follow(url, link)
        answer = _next(fetch, url, key)
    raise ProtocolError(f"the registry's list of {key} has more than {_PAGES} pages")


def read_referrers(
    fetch: Fetch, url: str, follow: Callable[[str, str], str]
) -> tuple[models.Descriptor, ...] | None:
    """The entries of a list of referrers (distribution specification 1.1, "Listing Referrers"), at most a
    thousand. None if the registry has no such lists, or answers with something else.
    """
    found: dict[Digest, models.Descriptor] = {}
    for _ in range(_PAGES):
        try:
            answer = fetch(url)
        except (errors.RegistryNotFound, errors.RegistryNotSupported, errors.RegistryRefused):
            return None
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        page = models.Document(media_type, answer.body).image_index()
        if page is None:
            return None
        before = len(found)
        found.update((entry.digest, entry) for entry in page.manifests)
        link = next_link(answer.headers.get("link", ""))
        if link is None or len(found) == before or len(found) >= _REFERRERS:
            break
        url = follow(url, link)
    return tuple(found.values())[:_REFERRERS]


def _first(fetch: Fetch, url: str) -> Answer:
    """The first page. If the registry refuses `n`, the request is repeated without it."""
    try:
        return fetch(url)
    except errors.RegistryError as exc:
        if not quirks.may_be_refusing_page_size(exc.status):
            raise
    return fetch(urlunsplit(urlsplit(url)._replace(query="")))


def _next(fetch: Fetch, url: str, key: str) -> Answer:
    try:
        return fetch(url)
    except errors.RegistryNotFound as exc:
        # zot answers 404 when the entry that the page should start after has just been deleted.
        raise ProtocolError(f"the registry's list of {key} changed while it was read; try again") from exc


def _entries(body: bytes, key: str) -> Iterable[str]:
    """The entries of a page. docker-registry sends null where a repository has no tags."""
    document = models.parse_json(body, f"a list of {key}")
    entries = document.get(key) if isinstance(document, dict) else ""
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise ProtocolError(f"the registry sent a list of {key} of the wrong shape; expected a JSON list")
    return (entry for entry in entries if isinstance(entry, str) and len(entry) <= ENTRY_LIMIT)
