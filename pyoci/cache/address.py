"""CacheAddress: where a server remembers things, as PYOCI_CACHE_URL names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

_EXPECTED = "expected memory://, file://, file:///directory, redis://host:port/number or rediss://…"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheAddress:
    """`place` is memory, file or redis. A file's `directory` is None where the server makes its own; `url` is
    that of Redis, and may have a password in it.
    """

    place: str = "file"
    directory: Path | None = None
    url: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, which repeats nothing that may be a password."""
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError:
            raise ValueError(f"this is no URL; {_EXPECTED}") from None
        if "://" not in text or not text.isprintable() or parts.query or parts.fragment:
            raise ValueError(f"this is no address of a cache; {_EXPECTED}")
        if parts.scheme == "memory" and not parts.netloc and not parts.path:
            return cls(place="memory")
        if parts.scheme == "file":
            return cls(place="file", directory=_directory(parts))
        if parts.scheme in {"redis", "rediss"}:
            return cls(place="redis", url=_checked(parts).geturl())
        raise ValueError(f"this is no address of a cache; {_EXPECTED}")


def _directory(parts: SplitResult) -> Path | None:
    path = unquote(parts.path)
    if parts.netloc:
        raise ValueError(
            "file:// has the name of a host in it; expected file:///directory, with three slashes"
        )
    if not path:
        return None
    if path.strip("/") == "" or not path.isprintable() or ".." in path.split("/"):
        raise ValueError(
            "this is no directory; expected file:///directory, or file:// for one of PyOCI's own"
        )
    directory = Path(path)
    try:
        if any(place.exists() and not place.is_dir() for place in (directory, *directory.parents)):
            raise ValueError(
                f"{path[:80]!r} can't be a directory: a file is in the way; expected file:///directory"
            )
    except OSError as exc:
        raise ValueError(
            f"{path[:80]!r} can't be reached: {exc.strerror}; expected file:///directory"
        ) from None
    return directory


def _checked(parts: SplitResult) -> SplitResult:
    if not parts.hostname:
        raise ValueError(f"the address of Redis has no host; expected {parts.scheme}://host:port/number")
    number = parts.path.strip("/")
    if number and not (number.isdecimal() and number.isascii() and len(number) <= 5):
        raise ValueError(f"the address of Redis has a wrong path; expected {parts.scheme}://host:port/number")
    return parts
