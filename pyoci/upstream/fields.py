"""The single fields of a page, each by itself: what is broken is left out. Pure.

uv throws a whole page away for one null, or one upload-time without offset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from pyoci.upstream.models import ProjectStatus

_FILENAME = re.compile(r"[A-Za-z0-9._+!~ ()-]{1,255}")  # some uploads of the early years have blanks
_ALGORITHM = re.compile(r"[a-z0-9_]{1,20}")
_HEX = re.compile(r"[0-9a-fA-F]{8,256}")
_SIZES = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}  # hex digits
_HASHES = 16  # of one file
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_TEXT = 2000  # characters of a reason or a specifier
_URL = 4000  # characters
# Nearly all URLs, for which taking them apart would be most of the work.
_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,4})?/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII
)
_STATUSES = frozenset({"active", "archived", "quarantined", "deprecated"})
_LARGEST = 2**53
# What may stand in a URL as it is (RFC 3986): some servers forget to encode the rest.
_SAFE = "%!#$&'()*+,/:;=?@[]~"


def filename(value: object) -> str | None:
    """A name that is no path."""
    if not isinstance(value, str) or not _FILENAME.fullmatch(value) or value.strip("." + " ") != value:
        return None
    return value


def url(value: object, base: str) -> str | None:
    """An absolute URL of http or https without credentials, told relative to `base` or not."""
    if not isinstance(value, str) or len(value) > _URL or not value.strip() or not value.isprintable():
        return None
    if _PLAIN_URL.fullmatch(value):
        return value
    try:
        parts = urlsplit(urljoin(base, value.strip()))
        _ = parts.port
    except ValueError:
        return None
    host = parts.netloc
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _is_plain(host):
        return None
    return quote(parts._replace(fragment="").geturl(), safe=_SAFE)


def _is_plain(netloc: str) -> bool:
    return netloc.isascii() and not any(character in netloc for character in "@\\%<>\"'` ")


def hashes(value: object) -> dict[str, str]:
    """Hex by algorithm; a known algorithm's has to be as long as they are."""
    if not isinstance(value, dict):
        return {}
    pairs = [(key.lower(), digest) for key, digest in value.items() if isinstance(key, str)]
    return {algorithm: digest.lower() for algorithm, digest in pairs[:_HASHES] if _is_hash(algorithm, digest)}


def _is_hash(algorithm: str, digest: object) -> bool:
    if not isinstance(digest, str) or not _ALGORITHM.fullmatch(algorithm) or not _HEX.fullmatch(digest):
        return False
    return _SIZES.get(algorithm, len(digest)) == len(digest)


def core_metadata(entry: Mapping[str, Any]) -> bool | dict[str, str]:
    """PEP 714: `core-metadata` counts before the names that it had earlier."""
    for key in ("core-metadata", "data-core-metadata", "dist-info-metadata", "data-dist-info-metadata"):
        if key in entry:
            told = entry[key]
            return told if isinstance(told, bool) else hashes(told) or False
    return False


def size(value: object) -> int | None:
    """Bytes."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        return None
    return value


def upload_time(value: object) -> str | None:
    """A moment with an offset, as it is spelled."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return None
    return value


def text(value: object) -> str | None:
    """One line of a sensible length."""
    if not isinstance(value, str) or len(value) > _TEXT:
        return None
    line = " ".join(value.split())
    return line if line.isprintable() and line else None


def yanked(value: object) -> bool | str:
    """The reason as one line. A file that is yanked stays so, whatever is wrong with its reason."""
    if not isinstance(value, str):
        return value is True
    if not value:
        return False
    line = " ".join("".join(c if c.isprintable() else " " for c in value[:_TEXT]).split())
    return line or True


def flag(value: object) -> bool | None:
    """True, False, or nothing."""
    return value if isinstance(value, bool) else None


def status(value: object) -> ProjectStatus | None:
    """PEP 792; a status that nobody knows is none."""
    if not isinstance(value, dict):
        return None
    told = value.get("status")
    if not isinstance(told, str) or told not in _STATUSES:
        return None
    return ProjectStatus(told, text(value.get("reason")))
