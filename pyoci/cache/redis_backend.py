"""RedisBackend: a cache in Redis, which the workers of several hosts share; and Streams, its journals."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from pyoci.cache.backend import Position
from pyoci.cache.journals import Unrecorded, journal_number, name_hash
from pyoci.cache.locks import LocalLocks, Polling, encoded
from pyoci.cache.redis_connection import PAUSE, RENEW, Lease, RedisConnection, Refused, Unavailable
from pyoci.events import Events

_PREFIX = "pyoci:"
_LARGEST = 16 * 1024 * 1024  # bytes of a value
_USUAL = 7 * 86400.0  # seconds for which a value is stored if its owner doesn't say
_MAC_SIZE = hashlib.sha256().digest_size
_ENTRIES = 1000  # that a stream keeps, approximately
_READ = 2 * _ENTRIES
_BITS = 64  # of the second half of a stream's id


class RedisBackend:
    """Values under hashed names, journals as streams, and locks as leases that are renewed while they are
    held.

    When Redis fails, one request waits for the timeout. After that, all values count as missing until Redis
    is back; `Streams` documents what `position` guarantees meanwhile. Without Redis, or when it has lost a
    lock, locks exclude only the workers of this server. `pause` is the number of seconds between attempts to
    reconnect, `renew` the number between renewals of a lease.

    With a `key`, each value is stored with an HMAC-SHA256 of its name and content (RFC 2104). A value that
    was written or moved without the key counts as missing; an older value of the same name that is written
    back is not detected. Signed values have different names, because a server without the key would take the
    HMAC for part of the value. Journals and locks are not signed. Anyone with write access to them can make
    servers ask the registry again, or hide a change for as long as cached answers are used without asking.
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
        self._polling = Polling(pause=0.02)
        self._local = LocalLocks()
        self._current = os.getpid(), self._connected()

    def get(self, key: str) -> bytes | None:
        name = _key(self._kind, key)

        def ask(redis: Redis) -> bytes | None:
            value = redis.get(name)
            return value if isinstance(value, bytes) else None

        try:
            stored = self._connection().ask(ask)
        except (Unavailable, Refused):
            return None
        return stored if stored is None or not self._key else self._verified(name, stored)

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        milliseconds = int((_USUAL if seconds is None else seconds) * 1000)
        if len(value) > _LARGEST or milliseconds <= 0:
            self.discard(key)
            return
        name = _key(self._kind, key)
        stored = self._mac(name, value) + value if self._key else value
        self._send(lambda redis: redis.set(name, stored, px=milliseconds))

    def discard(self, key: str) -> None:
        self._send(lambda redis: redis.delete(_key(self._kind, key)))

    def position(self, name: str) -> Position | None:
        return self._streams.position(self._connection(), name)

    def since(self, name: str, position: Position) -> frozenset[str] | None:
        return self._streams.since(self._connection(), name, position)

    def record(self, name: str, entry: str) -> None:
        self._streams.record(self._connection(), name, entry)

    @contextmanager
    def lock(self, name: str, seconds: float) -> Iterator[bool]:
        deadline = self._polling.clock() + seconds
        with self._local.held(name, deadline) as held:
            if not held:
                yield False
                return
            lease = Lease(self._connection(), _key("lock", name), self._polling, self._renew)
            try:
                yield lease.acquire(deadline)
            finally:
                lease.release()

    def close(self) -> None:
        self._connection().close()

    def _mac(self, name: str, value: bytes) -> bytes:
        return hmac.digest(self._key, b"\0".join((name.encode(), value)), "sha256")

    def _verified(self, name: str, stored: bytes) -> bytes | None:
        """The value, if it is signed with our key. Other values are counted, and logged once."""
        mac, value = stored[:_MAC_SIZE], stored[_MAC_SIZE:]
        if hmac.compare_digest(mac, self._mac(name, value)):
            return value
        self._events.count("cache", "signature", "miss")
        if not self._warned:
            self._warned = True
            self._events.warning(
                "cache",
                "value in Redis refused",
                reason="it isn't signed with this server's PYOCI_CACHE_KEY; such values count as missing",
            )
        return None

    def _send(self, work: Callable[[Redis], object]) -> None:
        with suppress(Unavailable, Refused):
            self._connection().ask(work)

    def _connection(self) -> RedisConnection:
        process, connection = self._current
        if process != os.getpid():  # after a fork: connections belong to the process that opened them
            connection = self._connected()
            self._current = os.getpid(), connection
        return connection

    def _connected(self) -> RedisConnection:
        return RedisConnection(self._url, self._streams.repair_all, self._events, pause=self._pause)


class Streams:
    """Each journal is a stream that is never empty. Its position is the id of its last entry, which includes
    the time, and the run id of the Redis server, which changes if the server is restored from an older copy.

    If an entry can't be recorded, the whole journal is removed as soon as Redis answers. Until then no worker
    of this server can read its position. Hosts that lost the connection as well wait some seconds longer
    before they read positions, so that every host has had the time for this repair. Meanwhile only a host
    that stayed connected may use outdated cache entries. If the host that could not record never comes back,
    that lasts until these entries expire.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._unrecorded = Unrecorded()

    def position(self, connection: RedisConnection, name: str) -> Position | None:
        number = journal_number(name)
        try:
            if not connection.is_settled or not self._repair(connection, number):
                return None
            for _ in range(2):
                run_id = connection.run_id
                last = connection.ask(lambda redis: self._last(redis, number))
                # A difference means a reconnection, perhaps to another server.
                if run_id is not None and connection.run_id == run_id:
                    return Position(run_id, last)
        except (Unavailable, Refused):
            pass
        return None

    def since(self, connection: RedisConnection, name: str, position: Position) -> frozenset[str] | None:
        number = journal_number(name)
        if number in self._unrecorded or connection.run_id != position.epoch:
            return None
        first = _id(position.count)
        try:
            # Includes the entry at the position itself, which proves that no later entry was trimmed.
            found: Any = connection.ask(lambda redis: redis.xrange(self._key(number), min=first, count=_READ))
        except (Unavailable, Refused):
            return None
        if connection.run_id != position.epoch or not 0 < len(found) < _READ or found[0][0] != first.encode():
            return None
        hashed = name_hash(name).encode()
        try:
            return frozenset(
                fields[b"entry"].decode("utf-8", "surrogatepass")
                for _, fields in found[1:]
                if fields.get(b"name") == hashed and b"entry" in fields
            )
        except UnicodeDecodeError:  # another program wrote it
            return None

    def record(self, connection: RedisConnection, name: str, entry: str) -> None:
        number = journal_number(name)
        fields: dict[str, str | bytes] = {
            "name": name_hash(name),
            "entry": entry.encode("utf-8", "surrogatepass"),
        }
        try:
            connection.ask(lambda redis: self._add(redis, number, fields))
        except (Unavailable, Refused):
            self._unrecorded.add(number)
            if not connection.is_down:
                self.repair_all(connection)

    def repair_all(self, connection: RedisConnection) -> None:
        """Remove the journals that lack an entry."""
        for number in self._unrecorded.numbers():
            try:
                self._repair(connection, number)
            except (Unavailable, Refused):
                return

    def _repair(self, connection: RedisConnection, number: int) -> bool:
        return self._unrecorded.repair(
            number, lambda: connection.ask(lambda redis: redis.delete(self._key(number))) >= 0
        )

    def _last(self, redis: Redis, number: int) -> int:
        for _ in range(2):
            found: Any = redis.xrevrange(self._key(number), count=1)
            if found:
                return _count(found[0][0])
            self._begin(redis, number)
        raise Refused

    def _add(self, redis: Redis, number: int, fields: dict[str, str | bytes]) -> None:
        for _ in range(2):
            # Only to a stream that _begin created. Servers before 6.2 refuse NOMKSTREAM; the journal is then
            # removed.
            if redis.xadd(self._key(number), fields, maxlen=_ENTRIES, nomkstream=True) is not None:  # type: ignore[arg-type]
                return
            self._begin(redis, number)
        raise Refused

    def _begin(self, redis: Redis, number: int) -> None:
        """Add a first entry with an id that no stream of this name has had, not even in this millisecond."""
        now: Any = redis.time()
        entry = f"{now[0] * 1000 + now[1] // 1000}-{secrets.randbits(_BITS - 2)}"
        with suppress(ResponseError):  # another process has begun it
            redis.xadd(self._key(number), {"name": ""}, id=entry)

    def _key(self, number: int) -> str:
        return f"{self._prefix}journal:{number:03x}"


def _key(kind: str, name: str) -> str:
    return f"{_PREFIX}{kind}:{hashlib.blake2b(encoded(name), digest_size=32).hexdigest()}"


def _count(entry: bytes) -> int:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds) << _BITS | int(number)


def _id(count: int) -> str:
    return f"{count >> _BITS}-{count % 2**_BITS}"
