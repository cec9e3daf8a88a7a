"""Streams: journals in Redis, for several hosts."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from pyoci.cache.backend import Position
from pyoci.cache.journals import Missed, mark_of, number_of
from pyoci.cache.line import Down, Line, Refused

_ENTRIES = 1000  # that a stream keeps, or some more
_READ = 2 * _ENTRIES
_BITS = 64  # of the second half of a stream's id


class Streams:
    """Each journal is a stream that is never empty. Its position is the id of its last entry, which has the
    time in it, together with the run of the server: one that was restored from an older copy is another.

    Where Redis is gone, an entry that can't be recorded is made up for as soon as Redis answers, by removing
    the whole journal; until then no worker of this server can tell its position. Hosts that were cut off too
    wait some seconds longer before they tell one, so that everybody has had the time. Only a host that
    reached Redis all the while may take what it remembers for the present state until then; and until it asks
    the registry again by itself, if the one that missed something never comes back.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._missed = Missed()

    def position(self, line: Line, name: str) -> Position | None:
        number = number_of(name)
        try:
            if not line.settled or not self._mend(line, number):
                return None
            for _ in range(2):
                life = line.life
                last = line.ask(lambda redis: self._last(redis, number))
                if life is not None and line.life == life:  # else connected anew, maybe to another
                    return Position(life, last)
        except (Down, Refused):
            pass
        return None

    def since(self, line: Line, name: str, position: Position) -> frozenset[str] | None:
        number = number_of(name)
        if number in self._missed or line.life != position.epoch:
            return None
        first = _id(position.count)
        try:
            # From the entry of the position itself, which shows that nothing after it was cut off.
            found: Any = line.ask(lambda redis: redis.xrange(self._key(number), min=first, count=_READ))
        except (Down, Refused):
            return None
        if line.life != position.epoch or not 0 < len(found) < _READ or found[0][0] != first.encode():
            return None
        mark = mark_of(name).encode()
        try:
            return frozenset(
                fields[b"entry"].decode("utf-8", "surrogatepass")
                for _, fields in found[1:]
                if fields.get(b"name") == mark and b"entry" in fields
            )
        except UnicodeDecodeError:  # another program has written there
            return None

    def record(self, line: Line, name: str, entry: str) -> None:
        number = number_of(name)
        fields: dict[str, str | bytes] = {
            "name": mark_of(name),
            "entry": entry.encode("utf-8", "surrogatepass"),
        }
        try:
            line.ask(lambda redis: self._add(redis, number, fields))
        except (Down, Refused):
            self._missed.add(number)
            if not line.down:
                self.make_up(line)

    def make_up(self, line: Line) -> None:
        """Remove the journals that lack an entry."""
        for number in self._missed.numbers():
            try:
                self._mend(line, number)
            except (Down, Refused):
                return

    def _mend(self, line: Line, number: int) -> bool:
        return self._missed.mend(number, lambda: line.ask(lambda redis: redis.delete(self._key(number))) >= 0)

    def _last(self, redis: Redis, number: int) -> int:
        for _ in range(2):
            found: Any = redis.xrevrange(self._key(number), count=1)
            if found:
                return _count(found[0][0])
            self._begin(redis, number)
        raise Refused

    def _add(self, redis: Redis, number: int, fields: dict[str, str | bytes]) -> None:
        for _ in range(2):
            # Only to a stream that was begun as it should be; older servers refuse to look, and then it goes.
            if redis.xadd(self._key(number), fields, maxlen=_ENTRIES, nomkstream=True) is not None:  # type: ignore[arg-type]
                return
            self._begin(redis, number)
        raise Refused

    def _begin(self, redis: Redis, number: int) -> None:
        """Add a first entry, whose id no stream of this name has had, also not within this millisecond."""
        now: Any = redis.time()
        entry = f"{now[0] * 1000 + now[1] // 1000}-{secrets.randbits(_BITS - 2)}"
        with suppress(ResponseError):  # somebody else has begun it
            redis.xadd(self._key(number), {"name": ""}, id=entry)

    def _key(self, number: int) -> str:
        return f"{self._prefix}journal:{number:03x}"


def _count(entry: bytes) -> int:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds) << _BITS | int(number)


def _id(count: int) -> str:
    return f"{count >> _BITS}-{count % 2**_BITS}"
