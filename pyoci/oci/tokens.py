"""Tokens: fetched from a registry's token server, and used for a limited time (token authentication of the
distribution specification).

A token server checks a caller's rights only when it issues a token. A token is therefore used for at most
`ttl` seconds after it was requested, even if it is valid for longer: revoked rights end after that time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode, urlsplit, urlunsplit

from cachetools import TLRUCache

from pyoci.errors import ProtocolError
from pyoci.events import Events
from pyoci.net.messages import Answer, Call
from pyoci.net.transport import Transport
from pyoci.oci import errors, models, quirks
from pyoci.oci.challenges import Challenge
from pyoci.oci.credentials import Anonymous, Basic, Credentials, IdentityToken, secrets_of
from pyoci.oci.references import Registry
from pyoci.oci.targets import Targets
from pyoci.single_flight import SingleFlight

TOKEN_LIMIT = 64 * 1024  # bytes of a token server's answer
_LIFETIME = 60.0  # seconds, for answers without expires_in, such as Quay's
_LONGEST = 3600.0
_SIZE = 16 * 1024 * 1024  # bytes of all tokens in memory
_TOKEN = re.compile(r"[!-~]{1,32768}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token. Times are by the clock of TokenClient and Tokens."""

    value: str = field(repr=False)
    asked: float  # when it was requested
    until: float  # until when it may be used

    @property
    def header(self) -> str:
        return f"Bearer {self.value}"


class Tokens:
    """Tokens by key. Threads that need the same token at the same time share one request and its failure.

    A token that took longer than `ttl` seconds to arrive is used only by the threads that waited for it. If
    `ttl` is None, tokens are used until they expire; this is for the tokens of a single request.
    """

    def __init__(self, clock: Callable[[], float], ttl: float | None) -> None:
        self.ttl = ttl
        self._lock = threading.Lock()
        self._tokens: TLRUCache[Hashable, Token] = TLRUCache(
            _SIZE,
            ttu=lambda _key, token, _now: token.until,
            timer=clock,
            getsizeof=lambda token: 1024 + len(token.value),
        )
        self._flights = SingleFlight()

    def get(self, key: Hashable) -> Token | None:
        """The token under `key`, if it may still be used."""
        with self._lock:
            return self._tokens.get(key)

    def fetched(self, key: Hashable, fetch: Callable[[], Token], registry: Registry, seconds: float) -> Token:
        """The token under `key`; calls `fetch` if there is none. Raises Unreachable after waiting `seconds`
        for another thread that is fetching it.
        """

        def work() -> Token:
            token = self.get(key)  # another thread may have fetched it meanwhile
            if token is None:
                token = fetch()
                with self._lock:
                    self._tokens[key] = token
            return token

        return self._flights.run(key, "", work, seconds, late=f"{registry} did not issue a token in time")

    def drop(self, key: Hashable, sent: str | None, since: float) -> bool:
        """Remove the token whose header was `sent`, unless another thread has replaced it. Returns whether a
        new token may help: False if this one was requested after `since`.
        """
        with self._lock:
            token = self._tokens.get(key)
            if token is not None and sent == token.header:
                if token.asked >= since:
                    return False
                del self._tokens[key]
        return True


class TokenClient:
    """Requests tokens."""

    def __init__(
        self, transport: Transport, targets: Targets, clock: Callable[[], float], events: Events
    ) -> None:
        self._transport = transport
        self._targets = targets
        self._clock = clock
        self._events = events

    @property
    def seconds(self) -> float:
        """The longest time that `fetch` takes."""
        return self._transport.document_seconds

    def fetch(
        self,
        registry: Registry,
        credentials: Credentials,
        challenge: Challenge,
        scopes: tuple[str, ...],
        ttl: float | None,
    ) -> Token:
        """A token for `scopes` from the challenge's realm. Raises RegistryError, ProtocolError, Unreachable
        and Denied.
        """
        asked = self._clock()
        answer = self._request(registry, credentials, challenge, scopes)
        if answer.status == 400 and quirks.without_delete(scopes) != scopes:
            answer = self._request(registry, credentials, challenge, quirks.without_delete(scopes))
        if answer.status != 200:
            raise _refusal(registry, credentials, answer)
        return _parsed(registry, answer.body, asked, ttl)

    def _request(
        self, registry: Registry, credentials: Credentials, challenge: Challenge, scopes: tuple[str, ...]
    ) -> Answer:
        target = self._targets.target(registry, registry.url(""), challenge.realm, "realm")
        query = [("service", challenge.service)] if challenge.service else []
        headers = {"Accept": "application/json"}
        if isinstance(credentials, Basic):
            headers["Authorization"] = credentials.header()
        call = Call(
            method="GET",
            url=_with_query(target.url, query + [("scope", scope) for scope in scopes]),
            headers=headers,
            reach=target.reach,
            name=str(registry),
            operation="token",
        )
        if isinstance(credentials, IdentityToken):
            form = [
                *query,
                ("scope", " ".join(scopes)),
                ("grant_type", "refresh_token"),
                ("client_id", "pyoci"),
            ]
            call = replace(
                call,
                method="POST",
                url=target.url,
                headers={**headers, "Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode([*form, ("refresh_token", credentials.token)]).encode(),
            )
        answer = self._transport.document(call, TOKEN_LIMIT)
        self._events.count("tokens", registry.origin, answer.status)
        self._events.debug("oci", "token asked for", registry=str(registry), status=answer.status)
        return answer


def _with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(pairs))))
    return urlunsplit(parts._replace(query=query))


def _refusal(registry: Registry, credentials: Credentials, answer: Answer) -> Exception:
    """The error for a token server's refusal. A 403 may mean missing credentials: ghcr.io answers 403 DENIED
    to anonymous callers.

    A 404 doesn't become RegistryNotFound, since a missing token server says nothing about the repository.
    """
    status = answer.status
    judged = status
    if status == 400 or (status == 403 and isinstance(credentials, Anonymous)):
        judged = 401
    elif status not in {401, 403, 429} and status < 500:
        judged = 502
    given = credentials.token if isinstance(credentials, IdentityToken) else None
    secrets = secrets_of(credentials.header() if given is None else f"Bearer {given}")
    refusal = errors.registry_error(
        "sign in",
        str(registry),
        status,
        answer.headers,
        answer.body,
        judged=judged,
        secrets=secrets,
        hint=credentials.hint,
    )
    if isinstance(refusal, errors.RegistryUnauthorized):
        refusal.wrong_credentials = status == 401 and isinstance(credentials, Basic | IdentityToken)
    return refusal


def _parsed(registry: Registry, body: bytes, asked: float, ttl: float | None) -> Token:
    document = models.parse_json(body, "a token")
    if not isinstance(document, dict):
        raise ProtocolError(f"{registry} sent a token of the wrong shape; expected a JSON object")
    value = quirks.token_in(document)
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ProtocolError(f"{registry} sent no token; expected a text as token or access_token")
    lifetime = _lifetime(document.get("expires_in"))
    # The margin is for the time that requests take, and for clocks that differ.
    usable = lifetime - min(10.0, lifetime / 5)
    return Token(value, asked, asked + (usable if ttl is None else min(usable, ttl)))


def _lifetime(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return _LIFETIME
    return float(min(value, _LONGEST))
