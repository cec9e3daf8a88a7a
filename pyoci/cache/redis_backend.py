"""RedisBackend: bytes remembered in Redis, for the workers of several hosts."""

from __future__ import annotations

import hashlib
import hmac
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
_MAC_SIZE = hashlib.sha256().digest_size


class RedisBackend:
    """Values under hashed names, journals as streams, locks as leases that are renewed while they are held.

    A Redis that is gone costs a moment, once: then everything counts as not remembered until it is back.
    Locks then hold among the workers of this server alone, and so does one that Redis lost. What `position`
    promises after that, Streams says. `pause` and `renew` are seconds between two knocks at a Redis that is
    gone, and between two renewals of a lease.

    With a `key` each value is stored behind an HMAC-SHA256 of its name and itself (RFC 2104). One that was
    written or moved by somebody without the key counts as absent; one from before that is put back doesn't.
    Signed values have names of their own: a server without the key would take the HMAC for a part of them.
    Journals and locks are not signed. Whoever writes there makes servers ask the registry again, or hides a
    change for as long as what is remembered counts without asking.
    """

    def __init__(
        self,
        url: str,
        events: Events | None = None,
        *,
        key: str = "",
        pause: float = PAUSE,
        renew: float = RENEW,
    ) -> None:
        self._url = url
        self._key = key.encode()
        self._kind = "signed" if key else "value"
        self._warned = False
        self._events = events or Events()
        self._pause = pause
        self._renew = renew
        self._streams = Streams(_PREFIX)
        self._waiting = Waiting(pause=0.02)
        self._local = LocalLocks()
        self._present = os.getpid(), self._made()

    def get(self, key: str) -> bytes | None:
        name = _key(self._kind, key)

        def ask(redis: Redis) -> bytes | None:
            value = redis.get(name)
            return value if isinstance(value, bytes) else None

        try:
            stored = self._line().ask(ask)
        except (Down, Refused):
            return None
        return stored if stored is None or not self._key else self._verified(name, stored)

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        milliseconds = int(min(_LONGEST if seconds is None else seconds, _LONGEST) * 1000)
        if len(value) > _LARGEST or milliseconds <= 0:
            self.discard(key)
            return
        name = _key(self._kind, key)
        stored = self._mac(name, value) + value if self._key else value
        self._tell(lambda redis: redis.set(name, stored, px=milliseconds))

    def discard(self, key: str) -> None:
        self._tell(lambda redis: redis.delete(_key(self._kind, key)))

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

    def _mac(self, name: str, value: bytes) -> bytes:
        return hmac.digest(self._key, b"\0".join((name.encode(), value)), "sha256")

    def _verified(self, name: str, stored: bytes) -> bytes | None:
        """The value, if it is signed with our key; None for any other, which is counted, and logged once."""
        mac, value = stored[:_MAC_SIZE], stored[_MAC_SIZE:]
        if hmac.compare_digest(mac, self._mac(name, value)):
            return value
        self._events.count("cache", "signature", "miss")
        if not self._warned:
            self._warned = True
            self._events.warning(
                "cache",
                "value in Redis refused",
                reason="it isn't signed with the PYOCI_CACHE_KEY of this server; such values count as absent",
            )
        return None

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
