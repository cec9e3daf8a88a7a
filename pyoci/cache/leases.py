"""Lease: a lock in Redis that ends by itself unless it is renewed."""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress

from redis import Redis

from pyoci.cache.line import Down, Line, Refused
from pyoci.cache.locks import Waiting

LEASE = 20.0  # seconds; a dead holder blocks nobody for longer
RENEW = 5.0  # seconds
# A server that was started anew has forgotten the lease: then it is taken again.
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] or not holder then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1
end
return 0
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lease:
    """One holder's claim to a lock among hosts. A server that can't be reached keeps nobody waiting."""

    def __init__(self, line: Line, key: str, waiting: Waiting, renew: float = RENEW) -> None:
        self._line = line
        self._key = key
        self._waiting = waiting
        self._renew = renew
        self._holder = secrets.token_hex(16)
        self._over = threading.Event()

    def take(self, deadline: float) -> bool:
        """Wait for the lease until `deadline`; False where another host has it still."""
        if not self._waiting.until(deadline, self._try):
            return False
        with suppress(RuntimeError):  # no thread is to be had: it then lasts as long as it was taken for
            threading.Thread(target=self._keep, name="cache-lease", daemon=True).start()
        return True

    def release(self) -> None:
        """Give it back, also where the answer to taking it was lost."""
        self._over.set()
        with suppress(Down, Refused):
            self._line.ask(lambda redis: redis.eval(_RELEASE, 1, self._key, self._holder))

    def _try(self) -> bool:
        def ask(redis: Redis) -> bool:
            return bool(redis.set(self._key, self._holder, nx=True, px=int(LEASE * 1000)))

        try:
            return self._line.ask(ask)
        except (Down, Refused):
            return True

    def _keep(self) -> None:
        milliseconds = str(int(LEASE * 1000))
        while not self._over.wait(self._renew):
            with suppress(Down, Refused):
                self._line.ask(lambda redis: redis.eval(_RENEW, 1, self._key, self._holder, milliseconds))
