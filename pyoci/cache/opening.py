"""open_backend: the place that an address names, opened before the server forks."""

from __future__ import annotations

from pyoci.cache.address import CacheAddress
from pyoci.cache.backend import Backend
from pyoci.cache.files import FileBackend
from pyoci.cache.memory import MemoryBackend
from pyoci.events import Events


def open_backend(address: CacheAddress, events: Events | None = None, *, key: str = "") -> Backend:
    """Raises OSError where the server's own directory can't be made. A Redis that is away gets a warning.

    Values in Redis are signed with `key`. Those in a directory aren't: it is this server's user's alone.
    """
    if address.place == "redis":
        from pyoci.cache.line import look  # costs time and memory only where it is wanted
        from pyoci.cache.redis_backend import RedisBackend

        look(address.url, events or Events())
        return RedisBackend(address.url, events, key=key)
    if address.place == "memory":
        return MemoryBackend()
    return FileBackend(address.directory)
