"""Answering a 401: which Authorization a call carries, the token exchange, and what is remembered of both.

The exchange is that of the distribution specification's token authentication. Scheme and challenge are
remembered per registry and repository, tokens per credentials, so that a second request needs one trip.
All of it stays in this process's memory.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit
from weakref import WeakValueDictionary

from cachetools import LRUCache, TLRUCache

from pyoci.errors import ProtocolError, Unauthorized, Unreachable
from pyoci.net.messages import Answer, Call
from pyoci.net.transport import DOCUMENT_SECONDS, Transport
from pyoci.oci.challenges import Challenge, choose, parse_challenges
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, fingerprint
from pyoci.oci.errors import registry_error
from pyoci.oci.models import parse_json
from pyoci.oci.references import Registry
from pyoci.oci.targets import Targets

TOKEN_LIMIT = 64 * 1024  # bytes of a token endpoint's answer
_LIFETIME = 60.0  # seconds, where the answer has no expires_in
_LONGEST = 3600.0
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for: a repository ("" for the registry itself) and the actions it will take there."""

    repository: str
    actions: tuple[str, ...] = ("pull",)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    expires: float  # by the authenticator's clock


class Authenticator:
    """Knows the way in to every registry. One for the process."""

    def __init__(
        self, transport: Transport, targets: Targets, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._targets = targets
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._challenges: LRUCache[Hashable, Challenge] = LRUCache(_REMEMBERED)
        self._tokens: TLRUCache[Hashable, _Token] = TLRUCache(
            _REMEMBERED, ttu=lambda _key, token, _now: token.expires, timer=clock
        )
        self._fetching: WeakValueDictionary[Hashable, _Flight] = WeakValueDictionary()

    def header(self, registry: Registry, purpose: Purpose, credentials: Credentials) -> str | None:
        """The Authorization to send at first, by what is remembered; None where nothing is."""
        if isinstance(credentials, Bearer):
            return credentials.header()
        with self._lock:
            challenge = self._challenges.get((registry.origin, purpose))
        if challenge is None:
            return None
        return self._answer(registry, purpose, credentials, challenge)

    def answer(
        self,
        registry: Registry,
        purpose: Purpose,
        credentials: Credentials,
        headers: Mapping[str, str],
        *,
        sent: str | None,
    ) -> str | None:
        """The Authorization that answers a 401 with these headers; None where there is nothing better
        than what was `sent`. Raises Unauthorized where the token endpoint refuses.
        """
        challenge = choose(parse_challenges(headers.get("www-authenticate")))
        if challenge is None or isinstance(credentials, Bearer):
            return None
        with self._lock:
            self._challenges[registry.origin, purpose] = challenge
        header = self._answer(registry, purpose, credentials, challenge)
        if header == sent and challenge.scheme == "bearer":
            # The token that was remembered is of no use any more: revoked, or its rights have changed.
            self._forget(self._token_key(registry, purpose, credentials, challenge), sent)
            header = self._answer(registry, purpose, credentials, challenge)
        return header if header != sent else None

    def _answer(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> str | None:
        if challenge.scheme == "basic":
            return credentials.header()
        key = self._token_key(registry, purpose, credentials, challenge)
        token = self._remembered(key)
        if token is None:
            with self._flight(key).turn(registry):
                token = self._remembered(key)
                if token is None:
                    token = self._fetch(registry, purpose, credentials, challenge)
                    with self._lock:
                        self._tokens[key] = token
        return f"Bearer {token.value}"

    def _token_key(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> Hashable:
        who = fingerprint(credentials, self._key)
        return (registry.origin, challenge.realm, challenge.service, who, scopes(challenge, purpose))

    def _remembered(self, key: Hashable) -> _Token | None:
        with self._lock:
            return self._tokens.get(key)

    def _forget(self, key: Hashable, sent: str | None) -> None:
        """Drop the token that was sent; another thread may have fetched a new one meanwhile."""
        with self._lock:
            token = self._tokens.get(key)
            if token is not None and sent == f"Bearer {token.value}":
                del self._tokens[key]

    def _flight(self, key: Hashable) -> _Flight:
        with self._lock:
            return self._fetching.setdefault(key, _Flight())

    def _fetch(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> _Token:
        target = self._targets.target(registry, registry.url(""), challenge.realm, "realm")
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", scope) for scope in scopes(challenge, purpose)]
        headers = {"Accept": "application/json"}
        if isinstance(credentials, Basic):
            headers["Authorization"] = credentials.header()
        call = Call(method="GET", url=_with_query(target.url, query), headers=headers, reach=target.reach)
        asked = self._clock()
        answer = self._transport.document(call, TOKEN_LIMIT)
        if answer.status != 200:
            raise _refusal(registry, credentials, answer)
        return _token(registry, answer.body, asked)


def scopes(challenge: Challenge, purpose: Purpose) -> tuple[str, ...]:
    """The scopes to ask for: the challenge's, with the actions that the whole purpose will need.

    Push never comes without pull: some token servers give one only with the other. Nothing is added to a
    scope of another kind (`registry:catalog:*`, Forgejo's `*`).
    """
    wanted = challenge.scopes
    if not wanted and purpose.repository:
        wanted = (f"repository:{purpose.repository}:{','.join(purpose.actions)}",)
    return tuple(sorted(_completed(scope, purpose) for scope in wanted))


def _completed(scope: str, purpose: Purpose) -> str:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    if kind != "repository" or name != purpose.repository or "*" in actions:
        return scope
    needed = ["pull"] if "push" in actions else []
    merged = dict.fromkeys(sorted({*filter(None, actions.split(",")), *needed, *purpose.actions}, key=_rank))
    return f"{kind}:{name}:{','.join(merged)}"


def _rank(action: str) -> tuple[int, str]:
    order = ("pull", "push", "delete")
    return (order.index(action) if action in order else len(order), action)


class _Flight:
    """Held by whoever fetches a token, so that the others wait for it instead of asking too."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, registry: Registry) -> Iterator[None]:
        """Wait as long as one exchange may take; where it failed, not everybody tries again in turn."""
        if not self._lock.acquire(timeout=DOCUMENT_SECONDS):
            raise Unreachable(f"{registry} gave no token in time")
        try:
            yield
        finally:
            self._lock.release()


def _with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(pairs))))
    return urlunsplit(parts._replace(query=query))


def _refusal(registry: Registry, credentials: Credentials, answer: Answer) -> Exception:
    """What a token endpoint's no means: ghcr.io says 403 DENIED to somebody who isn't signed in."""
    error = registry_error("sign in", str(registry), answer.status, answer.headers, answer.body)
    if answer.status in {400, 401} or (answer.status == 403 and isinstance(credentials, Anonymous)):
        return Unauthorized(error.message)
    return error


def _token(registry: Registry, body: bytes, asked: float) -> _Token:
    """Azure sends `access_token` alone, Docker Hub both names, the others `token`."""
    document = parse_json(body, "a token")
    if not isinstance(document, dict):
        raise ProtocolError(f"{registry} sent a token of the wrong shape; expected a JSON object")
    value = document.get("token") or document.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ProtocolError(f"{registry} sent no token; expected a text as token or access_token")
    lifetime = document.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
        lifetime = _LIFETIME
    lifetime = min(float(lifetime), _LONGEST)
    # The margin is for the way there and for clocks that differ.
    return _Token(value, asked + lifetime - min(10.0, lifetime / 5))
