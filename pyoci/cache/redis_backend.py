"""RedisBackend: bytes remembered in Redis, for the workers of several hosts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from redis import Redis

from pyoci.cache.backend import Position
from pyoci.cache.leases import RENEW, Lease
from pyoci.cache.line import PAUSE, Down, Line, Refused
from pyoci.cache.locks import LocalLocks, Waiting, encoded
from pyoci.cache.streams import Streams
from pyoci.events import Events

_PREFIX = "pyoci:"
_LARGEST = 16 * 1024 * 1024  # bytes of a value
_LONGEST = 7 * 86400.0  # seconds; whatever is still asked for then is fetched anew


class RedisBackend:
    """Values under hashed names, journals as streams, locks as leases that are renewed while they are held.

    A Redis that is gone costs a moment, once: then everything counts as not remembered until it is back.
    Locks then hold among the workers of this server alone, and so does one that Redis lost. What `position`
    promises after that, Streams says. `pause` and `renew` are seconds between two knocks at a Redis that is
    gone, and between two renewals of a lease.
    """

    def __init__(
        self, url: str, events: Events | None = None, *, pause: float = PAUSE, renew: float = RENEW
    ) -> None:
        self._url = url
        self._events = events or Events()
        self._pause = pause
        self._renew = renew
        self._streams = Streams(_PREFIX)
        self._waiting = Waiting(pause=0.02)
        self._local = LocalLocks()
        self._present = os.getpid(), self._made()

    def get(self, key: str) -> bytes | None:
        def ask(redis: Redis) -> bytes | None:
            value = redis.get(_key("value", key))
            return value if isinstance(value, bytes) else None

        try:
            return self._line().ask(ask)
        except (Down, Refused):
            return None

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        milliseconds = int(min(_LONGEST if seconds is None else seconds, _LONGEST) * 1000)
        if len(value) > _LARGEST or milliseconds <= 0:
            self.discard(key)
            return
        self._tell(lambda redis: redis.set(_key("value", key), value, px=milliseconds))

    def discard(self, key: str) -> None:
        self._tell(lambda redis: redis.delete(_key("value", key)))

    def position(self, name: str) -> Position | None:
        return self._streams.position(self._line(), name)

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        return self._streams.since(self._line(), name, position)

    def record(self, name: str, entry: str) -> None:
        self._streams.record(self._line(), name, entry)

    @contextmanager
    def lock(self, name: str, seconds: float) -> Iterator[bool]:
        deadline = self._waiting.clock() + seconds
        with self._local.held(name, deadline) as held:
            if not held:
                yield False
                return
            lease = Lease(self._line(), _key("lock", name), self._waiting, self._renew)
            try:
                yield lease.take(deadline)
            finally:
                lease.release()

    def close(self) -> None:
        self._line().close()

    def _tell(self, work: Callable[[Redis], object]) -> None:
        with suppress(Down, Refused):
            self._line().ask(work)

    def _line(self) -> Line:
        process, line = self._present
        if process != os.getpid():  # forked: connections belong to the process that opened them
            line = self._made()
            self._present = os.getpid(), line
        return line

    def _made(self) -> Line:
        return Line(self._url, self._streams.make_up, self._events, pause=self._pause)


def _key(kind: str, name: str) -> str:
    return f"{_PREFIX}{kind}:{hashlib.blake2b(encoded(name), digest_size=32).hexdigest()}"
