"""CacheAddress: the cache that PYOCI_CACHE_URL names; and open_backend, which opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from pyoci.cache import backend, files, memory
from pyoci.events import Events

_EXPECTED = "expected memory://, file://, file:///directory, redis://host:port/number or rediss://…"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheAddress:
    """`kind` is memory, file or redis. `directory` is for files; None if the server creates a temporary one.
    `url` is for Redis, and may contain a password.
    """

    kind: str = "file"
    directory: Path | None = None
    url: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a URL. Raises ValueError; its message never repeats a possible password."""
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError:
            raise ValueError(f"this is not a URL; {_EXPECTED}") from None
        if "://" not in text or not text.isprintable() or parts.query or parts.fragment:
            raise ValueError(f"this is no address of a cache; {_EXPECTED}")
        if parts.scheme == "memory" and not parts.netloc and not parts.path:
            return cls(kind="memory")
        if parts.scheme == "file":
            return cls(kind="file", directory=_directory(parts))
        if parts.scheme in {"redis", "rediss"}:
            return cls(kind="redis", url=_checked(parts).geturl())
        raise ValueError(f"this is no address of a cache; {_EXPECTED}")


def _directory(parts: SplitResult) -> Path | None:
    text = unquote(parts.path)
    if parts.netloc:
        raise ValueError("file:// is followed by a host name; expected file:///directory, with three slashes")
    if not text:
        return None
    if text.strip("/") == "" or not text.isprintable() or ".." in text.split("/"):
        raise ValueError(
            "this is not a directory; expected file:///directory, or file:// for a temporary one"
        )
    directory = Path(text)
    try:
        if any(path.exists() and not path.is_dir() for path in (directory, *directory.parents)):
            raise ValueError(
                f"{text[:80]!r} can't be a directory: a file of that name exists; expected file:///directory"
            )
    except OSError as exc:
        raise ValueError(
            f"{text[:80]!r} can't be reached: {exc.strerror}; expected file:///directory"
        ) from None
    return directory


def _checked(parts: SplitResult) -> SplitResult:
    if not parts.hostname:
        raise ValueError(f"the address of Redis has no host; expected {parts.scheme}://host:port/number")
    number = parts.path.strip("/")
    if number and not (number.isdecimal() and number.isascii() and len(number) <= 5):
        raise ValueError(f"the address of Redis has a wrong path; expected {parts.scheme}://host:port/number")
    return parts


def open_backend(address: CacheAddress, events: Events | None = None, *, key: str = "") -> backend.Backend:
    """Open the cache at `address`. Call this before the server forks.

    Values in Redis are signed with `key`. Those in a directory aren't, because only this server's user can
    write there. Raises OSError if the server's own directory can't be created. A Redis that can't be
    reached gives a warning.
    """
    if address.kind == "redis":
        # Importing redis costs time and memory.
        from pyoci.cache.redis_backend import RedisBackend
        from pyoci.cache.redis_connection import warn_if_unreachable

        warn_if_unreachable(address.url, events or Events())
        return RedisBackend(address.url, events, key=key)
    if address.kind == "memory":
        return memory.MemoryBackend()
    return files.FileBackend(address.directory)
