"""For how long an answer counts: Cache-Control and Age (RFC 9111). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

LEAST = 60.0  # seconds, whatever upstream says: a client's run asks for a page more than once
MOST = 3600.0
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def lifetime(headers: Mapping[str, str], default: float) -> float:
    """Seconds for which an answer counts without asking again: what is left of its max-age, at least a minute
    and at most an hour; `default` where upstream says nothing.
    """
    directives = _directives(headers.get("cache-control", ""))
    if directives.keys() & {"no-store", "no-cache"}:
        return LEAST
    # Ours is a shared cache.
    told = directives.get("s-maxage", directives.get("max-age", ""))
    if not _SECONDS.fullmatch(told):
        return max(default, LEAST)
    age = headers.get("age", "").strip()
    left = float(told) - (float(age) if _SECONDS.fullmatch(age) else 0.0)
    return min(max(left, LEAST), MOST)


def _directives(header: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in header[:1000].split(","))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
