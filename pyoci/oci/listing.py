"""Lists that a registry gives in pages: tags and repositories. Pure but for the function that fetches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit, urlunsplit

from pyoci.errors import ProtocolError, Unreachable
from pyoci.net.messages import Answer
from pyoci.net.reading import next_link
from pyoci.oci.errors import RegistryError, RegistryNotFound
from pyoci.oci.models import parse_json

PAGE = 1000  # entries asked for; ECR answers more with an error, distribution 3.1 caps there
PAGE_LIMIT = 4 * 1024 * 1024  # bytes; docker-registry 2.8 and Harbor send everything in one page
_PAGES = 500
_ALL_PAGES = 16 * 1024 * 1024  # bytes of all the pages together
_ENTRIES = 200_000
_ENTRY = 512  # characters; tags have 128 and names 255, foreign oddities are passed over
# What is no answer to `n` but to the question.
_MEANT = frozenset({401, 403, 404, 408, 429})
_SECONDS = 30.0  # for all the pages together

Fetch = Callable[[str], Answer]


def read_listing(
    fetch: Fetch,
    url: str,
    key: str,
    follow: Callable[[str, str], str],
    clock: Callable[[], float] = time.monotonic,
    pages: int | None = None,
) -> tuple[str, ...]:
    """The texts under `key` on all the pages, each once, in the registry's order.

    `fetch` gets a page or raises RegistryError; `follow` turns a Link of the page at a URL into the next
    URL. Ends where a page brings nothing new: Gitea sends a Link with every page that isn't empty.
    `pages` ends it after so many, with what they held.
    Raises ProtocolError where the pages don't end, Unreachable where they take too long.
    """
    deadline = clock() + _SECONDS
    found: dict[str, None] = {}
    size = 0
    answer = _first(fetch, url)
    for number in range(1, _PAGES + 1):
        before = len(found)
        found.update(dict.fromkeys(_entries(answer.body, key)))
        size += len(answer.body)
        if len(found) > _ENTRIES or size > _ALL_PAGES:
            raise ProtocolError(f"the registry's list of {key} is too long; expected at most {_ENTRIES}")
        link = next_link(answer.headers.get("link", ""))
        if link is None or len(found) == before or number == pages:
            return tuple(found)
        if clock() > deadline:
            raise Unreachable(f"the registry's list of {key} took over {_SECONDS:.0f} seconds")
        url = follow(url, link)
        answer = _next(fetch, url, key)
    raise ProtocolError(f"the registry's list of {key} has more than {_PAGES} pages")


def _first(fetch: Fetch, url: str) -> Answer:
    """The first page. A registry that refuses `n` is asked again without it."""
    try:
        return fetch(url)
    except RegistryError as exc:
        if exc.status in _MEANT or not 400 <= exc.status < 500:
            raise
    return fetch(urlunsplit(urlsplit(url)._replace(query="")))


def _next(fetch: Fetch, url: str, key: str) -> Answer:
    try:
        return fetch(url)
    except RegistryNotFound as exc:
        # zot says so when the entry that the page should start after has just been deleted.
        raise ProtocolError(f"the registry's list of {key} changed while it was read; try again") from exc


def _entries(body: bytes, key: str) -> Iterable[str]:
    """What a page lists. docker-registry sends null when a repository has no tags."""
    document = parse_json(body, f"a list of {key}")
    entries = document.get(key) if isinstance(document, dict) else ""
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise ProtocolError(f"the registry sent a list of {key} of the wrong shape; expected a JSON list")
    return (entry for entry in entries if isinstance(entry, str) and len(entry) <= _ENTRY)
