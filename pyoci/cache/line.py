"""Line: the way from one process to a Redis server, which may be gone for a while."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from pyoci.events import Events

TIMEOUT = 0.5  # seconds for connecting, and for each answer
PAUSE = 2.0  # seconds between two knocks at a server that was gone
_SETTLING = 2  # pauses; by then every host has noticed that it is back, and said what it could not say before
_RUN = re.compile(rb"run_id:([0-9a-f]{1,64})")

_Result = TypeVar("_Result")


class Down(Exception):
    """The server can't be reached, or couldn't a moment ago."""


class Refused(Exception):
    """The server doesn't do this: it is out of memory, or a copy that is only read."""


def look(url: str, events: Events) -> None:
    """Warn where nobody answers now. Leaves no connection open that a process could inherit."""
    client = _client(url)
    try:
        client.ping()
    except (RedisError, OSError) as exc:
        events.warning("cache", "Redis can't be reached yet", reason=type(exc).__name__)
    finally:
        client.close()


def _client(url: str, greet: Callable[[AbstractConnection], None] | None = None) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        redis_connect_func=greet,
    )


class Line:
    """Connections to Redis, for the threads of one process.

    After a failure nothing is sent for a while: a thread knocks every `pause` seconds, and calls `returned`
    when the server has answered. That it is another one, or was started anew and may have lost something,
    shows in `life`.
    """

    def __init__(
        self,
        url: str,
        returned: Callable[[Line], None],
        events: Events,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: float = PAUSE,
    ) -> None:
        self._returned = returned
        self._events = events
        self._clock = clock
        self._pause = pause
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._settled_at = 0.0
        self.down = False
        self.life: str | None = None  # the run of the server that was last connected to; None before that
        self._client = _client(url, self._greet)

    @property
    def settled(self) -> bool:
        """Whether the server is there, and long enough for every host to have made up for what it missed."""
        return not self.down and self._clock() >= self._settled_at

    def ask(self, work: Callable[[Redis], _Result]) -> _Result:
        """Let `work` ask the server. Raises Down or Refused."""
        if self.down:
            raise Down
        return self._try(work)

    def close(self) -> None:
        """Give the connections back, and knock no more."""
        self._closed.set()
        self._client.close()

    def _try(self, work: Callable[[Redis], _Result]) -> _Result:
        try:
            return work(self._client)
        except ResponseError:
            raise Refused from None
        except (RedisError, OSError) as exc:
            self._lost(exc)
            raise Down from None

    def _lost(self, reason: Exception) -> None:
        with self._guard:
            if self.down or self._closed.is_set():
                return
            self.down = True
        # Only what kind of failure it was: messages of others may tell more than they should.
        self._events.warning("cache", "Redis can't be reached", reason=type(reason).__name__)
        try:
            threading.Thread(target=self._knock, name="cache-knock", daemon=True).start()
        except RuntimeError:  # no thread is to be had: then the next request knocks
            self.down = False

    def _knock(self) -> None:
        while not self._closed.wait(self._pause):
            try:
                self._client.connection_pool.disconnect(inuse_connections=False)
                self._client.ping()
            except (RedisError, OSError):
                continue
            self._settled_at = self._clock() + _SETTLING * self._pause
            self.down = False
            self._events.warning("cache", "Redis is back")
            self._returned(self)
            return

    def _greet(self, connection: AbstractConnection) -> None:
        connection.on_connect()  # type: ignore[no-untyped-call]
        connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            found = _RUN.search(connection.read_response())
        except ResponseError:  # not allowed to us: then a server restored from an old copy isn't told apart
            found = None
        self.life = found[1].decode() if found else ""
