"""Answering a 401: which Authorization a call carries, the token exchange, and what is remembered of both.

The exchange is that of the distribution specification's token authentication. Scheme and challenge are
remembered per registry and repository, tokens per credentials (`tokens`), so that a second request needs one
trip. All of it stays in this process's memory.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

from cachetools import TTLCache

from pyoci.errors import Denied, ProtocolError, PyOCIError, Unreachable
from pyoci.events import Events
from pyoci.net.messages import Answer, Call
from pyoci.net.transport import Transport
from pyoci.oci.challenges import Challenge, choose, parse_challenges
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, fingerprint, secrets_of
from pyoci.oci.errors import RegistryDenied, RegistryError, RegistryUnauthorized, registry_error
from pyoci.oci.ping import CHALLENGE_SECONDS, Ping, grants
from pyoci.oci.references import Registry
from pyoci.oci.targets import Targets
from pyoci.oci.tokens import TOKEN_LIMIT, Token, Tokens

TTL = 60.0  # seconds for which a registry's word to a caller counts
_CHALLENGES = 4096


@dataclass(frozen=True, slots=True)
class Scope:
    """What a call is for: a repository ("" for the registry itself) and the actions it will take there."""

    repository: str
    actions: tuple[str, ...] = ("pull",)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a request, the registry that it is for, and where the request's tokens are kept."""

    registry: Registry
    credentials: Credentials
    tokens: Tokens = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Authorization:
    """A header, and until when it may be sent, by the authenticator's clock. The caller's own may be for as
    long as they send it.
    """

    header: str = field(repr=False)
    until: float = math.inf


class Authenticator:
    """Knows the way in to every registry. One for the process.

    What a registry said to a caller, and what its token server did, counts for `ttl` seconds at most; with 0
    it counts within one request.
    """

    def __init__(
        self,
        transport: Transport,
        targets: Targets,
        *,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
        events: Events | None = None,
    ) -> None:
        self._transport = transport
        self._targets = targets
        self._events = events or Events()
        self.ttl = ttl
        self.now = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._challenges: TTLCache[Hashable, Challenge] = TTLCache(
            _CHALLENGES, CHALLENGE_SECONDS, timer=clock
        )
        self._tokens = Tokens(clock, ttl)
        self._ping = Ping(transport, targets, ttl=ttl, clock=clock)

    def caller(self, registry: Registry, credentials: Credentials) -> Caller:
        """Whoever makes one request with `credentials`."""
        tokens = self._tokens if self.ttl > 0 else Tokens(self.now, None)
        return Caller(registry, credentials, tokens)

    def answer_to_ping(self, caller: Caller, scope: Scope) -> Authorization | None:
        """The Authorization by the challenge at the registry's door, /v2/; None where it lets everybody in.

        For a registry that lets strangers read what is public, and hides the rest from them with a 404: it
        never challenges, and a caller who has credentials would be a stranger, too.
        """
        try:
            challenge = self._ping.challenge(caller.registry)
        except (ProtocolError, Unreachable):
            return None  # what was answered stands; the next caller asks again
        if challenge is None:
            return None
        return self._remembered_answer(caller, scope, challenge)

    def _remembered_answer(self, caller: Caller, scope: Scope, challenge: Challenge) -> Authorization | None:
        """The Authorization that answers a challenge, which is remembered unless nobody could answer it: a
        registry whose realm is wrong for a moment would stay broken for an hour.
        """
        try:
            found = self._answer(caller, scope, challenge)
        except PyOCIError as exc:
            if isinstance(exc, RegistryError):
                self._remember(caller, scope, challenge)
            raise
        self._remember(caller, scope, challenge)
        return found

    def _remember(self, caller: Caller, scope: Scope, challenge: Challenge) -> None:
        with self._lock:
            self._challenges[_challenge_key(caller, scope)] = challenge

    def accepted_until(self, caller: Caller, scope: Scope) -> float | None:
        """Until when it counts that the registry knows who asks; None where it doesn't. It has given these
        credentials a token for just this, has let them in at its door, or lets everybody in. Only then does a
        404 say that something isn't there.

        Raises what the road raises, and Unauthorized and the like where the token endpoint refuses.
        """
        registry, credentials = caller.registry, caller.credentials
        anyone_until = self._ping.anyone_until(registry)
        if anyone_until is not None or isinstance(credentials, Anonymous):
            return anyone_until
        with self._lock:
            challenge = self._challenges.get(_challenge_key(caller, scope))
        if isinstance(credentials, Basic):
            if challenge is None:
                return None  # nobody asked for them: the 404 was for a stranger
            if challenge.scheme == "bearer":
                token = self._token(caller, scope, challenge)
                return token.until if grants(token.value, scope.repository) else None
        elif not grants(credentials.token, scope.repository):
            return None
        return self._ping.caller_until(registry, credentials)

    def header(self, caller: Caller, scope: Scope) -> Authorization | None:
        """The Authorization to send at first, by what is remembered; None where nothing is.

        Raises Unauthorized and the like where the token endpoint refuses.
        """
        if isinstance(caller.credentials, Bearer):
            return Authorization(caller.credentials.header())
        key = _challenge_key(caller, scope)
        with self._lock:
            challenge = self._challenges.get(key)
        if challenge is None:
            return None
        try:
            return self._answer(caller, scope, challenge)
        except (ProtocolError, Unreachable, Denied) as exc:
            # The registry may want tokens from elsewhere by now: the next call asks it.
            with self._lock:
                self._challenges.pop(key, None)
            if isinstance(exc, Unreachable | RegistryDenied):
                raise
            return None

    def answer(
        self,
        caller: Caller,
        scope: Scope,
        headers: Mapping[str, str],
        *,
        sent: str | None,
        since: float,
    ) -> Authorization | None:
        """The Authorization that answers a 401 with these headers; None where there is nothing better
        than what was `sent`. A token that was fetched after `since` isn't fetched again.

        Raises Unauthorized where the token endpoint refuses.
        """
        challenge = choose(parse_challenges(headers.get("www-authenticate")))
        if challenge is None or isinstance(caller.credentials, Bearer):
            return None
        found = self._remembered_answer(caller, scope, challenge)
        if found is not None and found.header == sent and challenge.scheme == "bearer":
            # The token that was remembered is of no use any more: revoked, or its rights have changed.
            if not caller.tokens.drop(self._token_key(caller, scope, challenge), sent, since):
                return None
            found = self._answer(caller, scope, challenge)
        return found if found is not None and found.header != sent else None

    def _answer(self, caller: Caller, scope: Scope, challenge: Challenge) -> Authorization | None:
        if challenge.scheme == "basic":
            header = caller.credentials.header()
            return None if header is None else Authorization(header)
        token = self._token(caller, scope, challenge)
        return Authorization(token.header, token.until)

    def _token(self, caller: Caller, scope: Scope, challenge: Challenge) -> Token:
        key = self._token_key(caller, scope, challenge)
        token = caller.tokens.get(key)
        self._events.count("cache", "token", "miss" if token is None else "hit")
        if token is not None:
            return token
        return caller.tokens.fetched(
            key,
            lambda: self._fetch(caller, scope, challenge),
            caller.registry,
            self._transport.document_seconds,
        )

    def _token_key(self, caller: Caller, scope: Scope, challenge: Challenge) -> Hashable:
        who = fingerprint(caller.credentials, self._key)
        origin, wanted = caller.registry.origin, scopes(challenge, scope)
        return (origin, challenge.realm, challenge.service, who, wanted)

    def _fetch(self, caller: Caller, scope: Scope, challenge: Challenge) -> Token:
        wanted = scopes(challenge, scope)
        asked = self.now()
        answer = self._exchange(caller, challenge, wanted)
        without = tuple(entry.replace(",delete", "") for entry in wanted)
        if answer.status == 400 and without != wanted:
            # Quay knows no such action.
            answer = self._exchange(caller, challenge, without)
        if answer.status != 200:
            raise _refusal(caller.registry, caller.credentials, answer)
        return caller.tokens.read(caller.registry, answer.body, asked)

    def _exchange(self, caller: Caller, challenge: Challenge, wanted: tuple[str, ...]) -> Answer:
        registry, credentials = caller.registry, caller.credentials
        target = self._targets.target(registry, registry.url(""), challenge.realm, "realm")
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", entry) for entry in wanted]
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


def _challenge_key(caller: Caller, scope: Scope) -> Hashable:
    # Harbor tells somebody with a bad Bearer to come with Basic, which is no use to who has no password.
    return (caller.registry.origin, scope, isinstance(caller.credentials, Anonymous))


def scopes(challenge: Challenge, scope: Scope) -> tuple[str, ...]:
    """The scopes to ask for: the challenge's, with the actions that the whole scope will need.

    Push never comes without pull: some token servers give one only with the other. Nothing is added to a
    scope of another kind (`registry:catalog:*`, Forgejo's `*`).
    """
    wanted = challenge.scopes
    if not wanted and scope.repository:
        wanted = (f"repository:{scope.repository}:{','.join(scope.actions)}",)
    return tuple(sorted(_completed(entry, scope) for entry in wanted))


def _completed(entry: str, scope: Scope) -> str:
    kind, _, rest = entry.partition(":")
    name, _, actions = rest.rpartition(":")
    if kind != "repository" or name != scope.repository or "*" in actions:
        return entry
    given = set(filter(None, actions.split(",")))
    # To delete is asked for where the registry says so: Quay refuses the word.
    needed = {action for action in scope.actions if action != "delete"}
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
