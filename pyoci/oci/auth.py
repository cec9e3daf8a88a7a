"""Answering a 401: which Authorization a call carries, the token exchange, and what is remembered of both.

The exchange is that of the distribution specification's token authentication. Scheme and challenge are
remembered per registry and repository, tokens per credentials, so that a second request needs one trip.
All of it stays in this process's memory.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

from cachetools import TLRUCache, TTLCache

from pyoci.errors import Denied, ProtocolError, PyOCIError, Unreachable
from pyoci.events import Events
from pyoci.net.messages import Answer, Call
from pyoci.net.transport import Transport
from pyoci.oci.challenges import Challenge, choose, parse_challenges
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, fingerprint, secrets_of
from pyoci.oci.doors import CHALLENGE_SECONDS, Doors, grants
from pyoci.oci.errors import RegistryDenied, RegistryError, RegistryUnauthorized, registry_error
from pyoci.oci.models import parse_json
from pyoci.oci.references import Registry
from pyoci.oci.targets import Targets

TOKEN_LIMIT = 64 * 1024  # bytes of a token endpoint's answer
_LIFETIME = 60.0  # seconds, where the answer has no expires_in (Quay)
_LONGEST = 3600.0
_CHALLENGES = 4096
_TOKENS = 16 * 1024 * 1024  # bytes of all tokens that are remembered
_TOKEN = re.compile(r"[!-~]{1,32768}")


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for: a repository ("" for the registry itself) and the actions it will take there."""

    repository: str
    actions: tuple[str, ...] = ("pull",)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    fetched: float  # by the authenticator's clock, as is the next
    expires: float


class Authenticator:
    """Knows the way in to every registry. One for the process."""

    def __init__(
        self,
        transport: Transport,
        targets: Targets,
        *,
        clock: Callable[[], float] = time.monotonic,
        events: Events | None = None,
    ) -> None:
        self._transport = transport
        self._targets = targets
        self._events = events or Events()
        self.now = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._challenges: TTLCache[Hashable, Challenge] = TTLCache(
            _CHALLENGES, CHALLENGE_SECONDS, timer=clock
        )
        self._tokens: TLRUCache[Hashable, _Token] = TLRUCache(
            _TOKENS,
            ttu=lambda _key, token, _now: token.expires,
            timer=clock,
            getsizeof=lambda token: 1024 + len(token.value),
        )
        self._flights: dict[Hashable, Future[_Token]] = {}
        self._doors = Doors(transport, targets, clock=clock)

    def introduce(self, registry: Registry, purpose: Purpose, credentials: Credentials) -> str | None:
        """The Authorization by the challenge at the registry's door, /v2/; None where it lets everybody in.

        For a registry that lets strangers read what is public, and hides the rest from them with a 404: it
        never challenges, and a caller who has credentials would be a stranger, too.
        """
        try:
            challenge = self._doors.challenge(registry)
        except (ProtocolError, Unreachable):
            return None  # what was answered stands; the next caller asks again
        if challenge is None:
            return None
        return self._remembered_answer(registry, purpose, credentials, challenge)

    def _remembered_answer(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> str | None:
        """The Authorization that answers a challenge, which is remembered unless nobody could answer it: a
        registry whose realm is wrong for a moment would stay broken for an hour.
        """
        try:
            header = self._answer(registry, purpose, credentials, challenge)
        except PyOCIError as exc:
            if isinstance(exc, RegistryError):
                self._remember(registry, purpose, credentials, challenge)
            raise
        self._remember(registry, purpose, credentials, challenge)
        return header

    def _remember(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> None:
        with self._lock:
            self._challenges[_challenge_key(registry, purpose, credentials)] = challenge

    def is_accepted(self, registry: Registry, purpose: Purpose, credentials: Credentials) -> bool:
        """Whether the registry knows who asks: it has given these credentials a token for just this, has let
        them in at its door, or lets everybody in. Only then does a 404 say that something isn't there.

        Raises what the road raises, and Unauthorized and the like where the token endpoint refuses.
        """
        if self._doors.is_open(registry):
            return True
        if isinstance(credentials, Anonymous):
            return False
        with self._lock:
            challenge = self._challenges.get(_challenge_key(registry, purpose, credentials))
        if isinstance(credentials, Basic):
            if challenge is None:
                return False  # nobody asked for them: the 404 was for a stranger
            if challenge.scheme == "bearer":
                header = self._answer(registry, purpose, credentials, challenge) or ""
                return grants(header.removeprefix("Bearer "), purpose.repository)
        elif not grants(credentials.token, purpose.repository):
            return False
        return self._doors.lets_in(registry, credentials)

    def header(self, registry: Registry, purpose: Purpose, credentials: Credentials) -> str | None:
        """The Authorization to send at first, by what is remembered; None where nothing is.

        Raises Unauthorized and the like where the token endpoint refuses.
        """
        if isinstance(credentials, Bearer):
            return credentials.header()
        key = _challenge_key(registry, purpose, credentials)
        with self._lock:
            challenge = self._challenges.get(key)
        if challenge is None:
            return None
        try:
            return self._answer(registry, purpose, credentials, challenge)
        except (ProtocolError, Unreachable, Denied) as exc:
            # The registry may want tokens from elsewhere by now: the next call asks it.
            with self._lock:
                self._challenges.pop(key, None)
            if isinstance(exc, Unreachable | RegistryDenied):
                raise
            return None

    def lasting(self, registry: Registry, purpose: Purpose, credentials: Credentials) -> float | None:
        """For how many seconds the token that is remembered is good; None where the way in needs none."""
        if isinstance(credentials, Bearer):
            return None
        with self._lock:
            challenge = self._challenges.get(_challenge_key(registry, purpose, credentials))
            if challenge is None or challenge.scheme == "basic":
                return None
            token = self._tokens.get(self._token_key(registry, purpose, credentials, challenge))
        return 0.0 if token is None else max(token.expires - self.now(), 0.0)

    def answer(
        self,
        registry: Registry,
        purpose: Purpose,
        credentials: Credentials,
        headers: Mapping[str, str],
        *,
        sent: str | None,
        since: float,
    ) -> str | None:
        """The Authorization that answers a 401 with these headers; None where there is nothing better
        than what was `sent`. A token that was fetched after `since` isn't fetched again.

        Raises Unauthorized where the token endpoint refuses.
        """
        challenge = choose(parse_challenges(headers.get("www-authenticate")))
        if challenge is None or isinstance(credentials, Bearer):
            return None
        header = self._remembered_answer(registry, purpose, credentials, challenge)
        if header == sent and challenge.scheme == "bearer":
            # The token that was remembered is of no use any more: revoked, or its rights have changed.
            if not self._forget(self._token_key(registry, purpose, credentials, challenge), sent, since):
                return None
            header = self._answer(registry, purpose, credentials, challenge)
        return header if header != sent else None

    def _answer(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> str | None:
        if challenge.scheme == "basic":
            return credentials.header()
        key = self._token_key(registry, purpose, credentials, challenge)
        with self._lock:
            token = self._tokens.get(key)
            flight = self._flights.get(key)
            if token is None and flight is None:
                own = self._flights[key] = Future()
        self._events.count("cache", "token", "miss" if token is None else "hit")
        if token is None and flight is not None:
            token = self._awaited(registry, flight)
        elif token is None:
            token = self._fly(key, own, lambda: self._fetch(registry, purpose, credentials, challenge))
        return f"Bearer {token.value}"

    def _fly(self, key: Hashable, flight: Future[_Token], fetch: Callable[[], _Token]) -> _Token:
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

    def _land(self, key: Hashable, token: _Token | None) -> None:
        with self._lock:
            del self._flights[key]
            if token is not None:
                self._tokens[key] = token

    def _awaited(self, registry: Registry, flight: Future[_Token]) -> _Token:
        try:
            return flight.result(self._transport.document_seconds)
        except TimeoutError:
            raise Unreachable(f"{registry} gave no token in time") from None
        except PyOCIError as exc:
            raise exc.bare() from None

    def _token_key(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> Hashable:
        who = fingerprint(credentials, self._key)
        return (registry.origin, challenge.realm, challenge.service, who, scopes(challenge, purpose))

    def _forget(self, key: Hashable, sent: str | None, since: float) -> bool:
        """Drop the token that was sent, and tell whether there is use in another. Another thread may have
        fetched a new one meanwhile.
        """
        with self._lock:
            token = self._tokens.get(key)
            if token is not None and sent == f"Bearer {token.value}":
                if token.fetched >= since:
                    return False
                del self._tokens[key]
        return True

    def _fetch(
        self, registry: Registry, purpose: Purpose, credentials: Credentials, challenge: Challenge
    ) -> _Token:
        wanted = scopes(challenge, purpose)
        asked = self.now()
        answer = self._exchange(registry, credentials, challenge, wanted)
        without = tuple(scope.replace(",delete", "") for scope in wanted)
        if answer.status == 400 and without != wanted:
            # Quay knows no such action.
            answer = self._exchange(registry, credentials, challenge, without)
        if answer.status != 200:
            raise _refusal(registry, credentials, answer)
        return _token(registry, answer.body, asked)

    def _exchange(
        self, registry: Registry, credentials: Credentials, challenge: Challenge, wanted: tuple[str, ...]
    ) -> Answer:
        target = self._targets.target(registry, registry.url(""), challenge.realm, "realm")
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", scope) for scope in wanted]
        headers = {"Accept": "application/json"}
        if isinstance(credentials, Basic):
            headers["Authorization"] = credentials.header()
        url = _with_query(target.url, query)
        call = Call(
            method="GET",
            url=url,
            headers=headers,
            reach=target.reach,
            name=str(registry),
            operation="token",
        )
        answer = self._transport.document(call, TOKEN_LIMIT)
        self._events.count("tokens", registry.origin, answer.status)
        self._events.debug("oci", "token asked for", registry=str(registry), status=answer.status)
        return answer


def _challenge_key(registry: Registry, purpose: Purpose, credentials: Credentials) -> Hashable:
    # Harbor tells somebody with a bad Bearer to come with Basic, which is no use to who has no password.
    return (registry.origin, purpose, isinstance(credentials, Anonymous))


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
    given = set(filter(None, actions.split(",")))
    # To delete is asked for where the registry says so: Quay refuses the word.
    needed = {action for action in purpose.actions if action != "delete"}
    if "push" in given:
        needed.add("pull")
    return f"{kind}:{name}:{','.join(sorted(given | needed, key=_rank))}"


def _rank(action: str) -> tuple[int, str]:
    order = ("pull", "push", "delete")
    return (order.index(action) if action in order else len(order), action)


def _with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(pairs))))
    return urlunsplit(parts._replace(query=query))


def _refusal(registry: Registry, credentials: Credentials, answer: Answer) -> Exception:
    """What a token endpoint's no means: ghcr.io says 403 DENIED to somebody who isn't signed in.

    That the endpoint is absent says nothing about the repository, so a 404 becomes no RegistryNotFound.
    """
    status = answer.status
    judged = status
    if status == 400 or (status == 403 and isinstance(credentials, Anonymous)):
        judged = 401
    elif status not in {401, 403, 429} and status < 500:
        judged = 502
    secrets = secrets_of(credentials.header())
    refusal = registry_error(
        "sign in", str(registry), status, answer.headers, answer.body, judged=judged, secrets=secrets
    )
    if isinstance(refusal, RegistryUnauthorized):
        refusal.wrong_credentials = status == 401 and isinstance(credentials, Basic)
    return refusal


def _token(registry: Registry, body: bytes, asked: float) -> _Token:
    """Azure sends `access_token` alone, Docker Hub both names, the others `token`."""
    document = parse_json(body, "a token")
    if not isinstance(document, dict):
        raise ProtocolError(f"{registry} sent a token of the wrong shape; expected a JSON object")
    value = document.get("token") or document.get("access_token")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ProtocolError(f"{registry} sent no token; expected a text as token or access_token")
    lifetime = _lifetime(document.get("expires_in"))
    # The margin is for the way there and for clocks that differ.
    return _Token(value, asked, asked + lifetime - min(10.0, lifetime / 5))


def _lifetime(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return _LIFETIME
    return float(min(value, _LONGEST))
