"""Lists in pages: the parameters `n` and `last`, and the Link to the next page. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from pyoci.embedded.errors import Refusal

PAGE_LIMIT = 10_000  # names in one answer


def page(names: Sequence[str], query: Mapping[str, str]) -> tuple[Sequence[str], str | None]:
    """The names that `query` asks for, and the last of them where more follow. `names` are sorted."""
    text = query.get("n")
    if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise Refusal("PAGINATION_NUMBER_INVALID", "the parameter n is no number", detail={"n": text[:100]})
    count = PAGE_LIMIT if text is None else min(int(text), PAGE_LIMIT)
    start = bisect_right(names, query["last"]) if "last" in query else 0
    found = names[start : start + count]
    # OCI distribution 1.1, "Listing Tags": with n=0 an empty list, and no Link.
    more = bool(found) and start + count < len(names)
    return found, found[-1] if more else None


def link(path: str, **query: str | int) -> dict[str, str]:
    """A Link header to the next page (RFC 8288)."""
    return {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}
