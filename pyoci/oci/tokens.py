"""Tokens: those that were fetched for callers, and for how long each may be used.

A token server judges a caller when it issues a token, and never again. A token is therefore used for at most
`ttl` seconds after its request was sent, however long it would live: access that was revoked ends with it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

from cachetools import TLRUCache

from pyoci.errors import ProtocolError, PyOCIError, Unreachable
from pyoci.oci.models import parse_json
from pyoci.oci.references import Registry

TOKEN_LIMIT = 64 * 1024  # bytes of a token endpoint's answer
_LIFETIME = 60.0  # seconds, where the answer has no expires_in (Quay)
_LONGEST = 3600.0
_TOKENS = 16 * 1024 * 1024  # bytes of all tokens that are remembered
_TOKEN = re.compile(r"[!-~]{1,32768}")


@dataclass(frozen=True, slots=True)
class Token:
    value: str = field(repr=False)
    asked: float  # when its request was sent; by the clock of Tokens, as is the next
    until: float  # from when on it isn't used any more

    @property
    def header(self) -> str:
        return f"Bearer {self.value}"


class Tokens:
    """Tokens by key. Threads that want the same one at the same time share one request, or its failure.

    A token that took longer than `ttl` to come is used once, by those who waited for it. Without a `ttl` a
    token is used until it expires: for the tokens of a single request.
    """

    def __init__(self, clock: Callable[[], float], ttl: float | None) -> None:
        self._clock = clock
        self._ttl = ttl
        self._lock = threading.Lock()
        self._kept: TLRUCache[Hashable, Token] = TLRUCache(
            _TOKENS,
            ttu=lambda _key, token, _now: token.until,
            timer=clock,
            getsizeof=lambda token: 1024 + len(token.value),
        )
        self._flights: dict[Hashable, Future[Token]] = {}

    def get(self, key: Hashable) -> Token | None:
        """The token that is remembered under `key`, if it may still be used."""
        with self._lock:
            return self._kept.get(key)

    def fetched(self, key: Hashable, fetch: Callable[[], Token], registry: Registry, seconds: float) -> Token:
        """The token under `key`, fetched where there is none. Waits `seconds` for another thread that is
        fetching it, and raises Unreachable after that.
        """
        with self._lock:
            token = self._kept.get(key)
            flight = self._flights.get(key)
            if token is None and flight is None:
                own = self._flights[key] = Future()
        if token is not None:
            return token
        if flight is None:
            return self._fly(key, own, fetch)
        try:
            return flight.result(seconds)
        except TimeoutError:
            raise Unreachable(f"{registry} gave no token in time") from None
        except PyOCIError as exc:
            raise exc.bare() from None

    def drop(self, key: Hashable, sent: str | None, since: float) -> bool:
        """Forget the token whose header was `sent`, and tell whether there is use in another: not where it
        was fetched after `since`. Another thread may have fetched a new one meanwhile.
        """
        with self._lock:
            token = self._kept.get(key)
            if token is not None and sent == token.header:
                if token.asked >= since:
                    return False
                del self._kept[key]
        return True

    def read(self, registry: Registry, body: bytes, asked: float) -> Token:
        """The token in a token endpoint's answer to a request that was sent when the clock said `asked`.

        Azure sends `access_token` alone, Docker Hub both names, the others `token`.
        """
        document = parse_json(body, "a token")
        if not isinstance(document, dict):
            raise ProtocolError(f"{registry} sent a token of the wrong shape; expected a JSON object")
        value = document.get("token") or document.get("access_token")
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise ProtocolError(f"{registry} sent no token; expected a text as token or access_token")
        lifetime = _lifetime(document.get("expires_in"))
        # The margin is for the way there and for clocks that differ.
        usable = lifetime - min(10.0, lifetime / 5)
        return Token(value, asked, asked + (usable if self._ttl is None else min(usable, self._ttl)))

    def _fly(self, key: Hashable, flight: Future[Token], fetch: Callable[[], Token]) -> Token:
        """Fetch a token for all who wait for it; they share a failure, too, instead of trying in turn."""
        try:
            token = fetch()
        except BaseException as exc:
            self._land(key, None)
            flight.set_exception(exc.bare() if isinstance(exc, PyOCIError) else RuntimeError("no token"))
            raise
        self._land(key, token)
        flight.set_result(token)
        return token

    def _land(self, key: Hashable, token: Token | None) -> None:
        with self._lock:
            del self._flights[key]
            if token is not None:
                self._kept[key] = token


def _lifetime(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return _LIFETIME
    return float(min(value, _LONGEST))
