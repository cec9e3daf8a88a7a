"""RedisConnection: one process's connections to a Redis server, which may be unreachable for a while; and
Lease, a lock among hosts.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import LockNotOwnedError, RedisError, ResponseError
from redis.lock import Lock
from redis.retry import Retry

from pyoci.cache.locks import Polling
from pyoci.events import Events

TIMEOUT = 0.5  # seconds for connecting, and for each answer
PAUSE = 2.0  # seconds between two attempts to reconnect
LEASE = 20.0  # seconds; the longest time for which a dead holder blocks others
RENEW = 5.0  # seconds between two renewals of a lease
# The number of pauses after which every host has reconnected, and has removed the journals that lack entries.
_SETTLING = 2
_RUN_ID = re.compile(rb"run_id:([0-9a-f]{1,64})")

_Result = TypeVar("_Result")


class Unavailable(Exception):
    """The server can't be reached, or couldn't be reached a moment ago."""


class Refused(Exception):
    """The server refuses the command: it is out of memory, or a read-only replica."""


def warn_if_unreachable(url: str, events: Events) -> None:
    """Warn if the server doesn't answer. Leaves no connection open that a forked process could inherit."""
    client = _client(url)
    try:
        client.ping()
    except (RedisError, OSError) as exc:
        events.warning("cache", "Redis can't be reached yet", reason=type(exc).__name__)
    finally:
        client.close()


def _client(url: str, on_connect: Callable[[AbstractConnection], None] | None = None) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        redis_connect_func=on_connect,
    )


class RedisConnection:
    """Connections to Redis for the threads of one process.

    After a failure no command is sent until the server is back. A thread tries to reconnect every `pause`
    seconds, and calls `on_return` once the server answers. `run_id` identifies one run of the server: a later
    run may have lost data.
    """

    def __init__(
        self,
        url: str,
        on_return: Callable[[RedisConnection], None],
        events: Events,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: float = PAUSE,
    ) -> None:
        self._on_return = on_return
        self._events = events
        self._clock = clock
        self._pause = pause
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._settled_at = 0.0
        self.is_down = False
        self.run_id: str | None = None  # of the last connected server; None before the first connection
        self._client = _client(url, self._connected)

    @property
    def is_settled(self) -> bool:
        """Whether the server has been reachable for long enough that every host has made its repairs."""
        return not self.is_down and self._clock() >= self._settled_at

    def ask(self, work: Callable[[Redis], _Result]) -> _Result:
        """Call `work` with the client. Raises Unavailable or Refused."""
        if self.is_down:
            raise Unavailable
        try:
            return work(self._client)
        except ResponseError:
            raise Refused from None
        except (RedisError, OSError) as exc:
            self._lost(exc)
            raise Unavailable from None

    def close(self) -> None:
        """Close the connections, without reconnecting."""
        self._closed.set()
        self._client.close()

    def _lost(self, reason: Exception) -> None:
        with self._guard:
            if self.is_down or self._closed.is_set():
                return
            self.is_down = True
        # Only the kind of failure: the client's messages may contain the URL.
        self._events.warning("cache", "Redis can't be reached", reason=type(reason).__name__)
        try:
            threading.Thread(target=self._reconnect, name="cache-reconnect", daemon=True).start()
        except RuntimeError:  # no thread can be started: the next request tries again
            self.is_down = False

    def _reconnect(self) -> None:
        while not self._closed.wait(self._pause):
            try:
                self._client.connection_pool.disconnect(inuse_connections=False)
                self._client.ping()
            except (RedisError, OSError):
                continue
            self._settled_at = self._clock() + _SETTLING * self._pause
            self.is_down = False
            self._events.warning("cache", "Redis is back")
            self._on_return(self)
            return

    def _connected(self, connection: AbstractConnection) -> None:
        connection.on_connect()  # type: ignore[no-untyped-call]
        connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            found = _RUN_ID.search(connection.read_response())
        except ResponseError:  # no permission: a server that was restored from an older copy isn't recognised
            found = None
        self.run_id = found[1].decode() if found else ""


class Lease:
    """One holder's lock among hosts. It is renewed while it is held, and expires after its holder has died.
    If Redis can't be reached, nothing waits for it.
    """

    def __init__(self, connection: RedisConnection, key: str, polling: Polling, renew: float = RENEW) -> None:
        self._connection = connection
        self._key = key
        self._polling = polling
        self._renew = renew
        self._token = secrets.token_hex(16)
        self._released = threading.Event()

    def acquire(self, deadline: float) -> bool:
        """Wait for the lease until `deadline`. False if another host still holds it."""
        if not self._polling.until(deadline, self._try):
            return False
        with suppress(RuntimeError):  # no thread can be started: the lease then ends after LEASE seconds
            threading.Thread(target=self._renew_until_released, name="cache-lease", daemon=True).start()
        return True

    def release(self) -> None:
        """Release the lease, even if the answer to acquiring it was lost."""
        self._released.set()

        def ask(redis: Redis) -> None:
            with suppress(LockNotOwnedError):
                self._lock(redis).do_release(self._token)

        with suppress(Unavailable, Refused):
            self._connection.ask(ask)

    def _try(self) -> bool:
        try:
            return self._connection.ask(lambda redis: self._lock(redis).do_acquire(self._token))
        except (Unavailable, Refused):
            return True

    def _renew_until_released(self) -> None:
        def ask(redis: Redis) -> None:
            lock = self._lock(redis)
            lock.local.token = self._token
            try:
                lock.reacquire()
            except LockNotOwnedError:
                lock.do_acquire(self._token)  # a server that was restarted has forgotten the lease

        while not self._released.wait(self._renew):
            with suppress(Unavailable, Refused):
                self._connection.ask(ask)

    def _lock(self, redis: Redis) -> Lock:
        return Lock(redis, self._key, timeout=LEASE, thread_local=False)
