"""Authenticator: the Authorization header of each call, the answers to 401s, and the cache of both.
SessionAuth: those of one session.

Challenges are cached by registry and repository, tokens by caller (`tokens`), so that a second request needs
no further exchange. The cache is in this process's memory only.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from cachetools import TTLCache

from pyoci.errors import Denied, ProtocolError, PyOCIError, Unreachable
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.oci.challenges import Challenge, Scope, choose, parse_challenges
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, IdentityToken, fingerprint
from pyoci.oci.errors import RegistryDenied, RegistryError
from pyoci.oci.ping import CHALLENGE_SECONDS, Ping, grants
from pyoci.oci.references import Registry
from pyoci.oci.targets import Targets
from pyoci.oci.tokens import Token, TokenClient, Tokens

_CHALLENGES = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """The credentials of a request, their registry, and the tokens that the request may use."""

    registry: Registry
    credentials: Credentials
    tokens: Tokens = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Authorization:
    """A header and the time until which it may be sent, by the authenticator's clock. A header that the
    caller sent has no time limit.
    """

    header: str = field(repr=False)
    until: float = math.inf


class Authenticator:
    """Authenticates calls. One for the process. The answers of a registry or its token server to a caller are
    reused for at most `ttl` seconds; with 0, only within one request.
    """

    def __init__(
        self,
        transport: Transport,
        targets: Targets,
        events: Events,
        *,
        ttl: float,
        clock: Callable[[], float],
    ) -> None:
        self._events = events
        self.ttl = ttl
        self.now = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._challenges: TTLCache[Hashable, Challenge] = TTLCache(
            _CHALLENGES, CHALLENGE_SECONDS, timer=clock
        )
        self._tokens = Tokens(clock, ttl)
        self._client = TokenClient(transport, targets, clock, events)
        self._ping = Ping(transport, targets, ttl=ttl, clock=clock)

    def caller(self, registry: Registry, credentials: Credentials) -> Caller:
        """The caller of one request."""
        tokens = self._tokens if self.ttl > 0 else Tokens(self.now, None)
        return Caller(registry, credentials, tokens)

    def header(self, caller: Caller, scope: Scope) -> Authorization | None:
        """The Authorization for the first attempt, from the cache; None if there is none.

        Raises Unauthorized and other kinds of RegistryError where the token server refuses.
        """
        if isinstance(caller.credentials, Bearer):
            return Authorization(caller.credentials.header())
        challenge = self._remembered(caller, scope)
        if challenge is None:
            return None
        try:
            return self._answer(caller, scope, challenge)
        except (ProtocolError, Unreachable, Denied) as exc:
            # The registry may use a different token server now, so the next call asks for the challenge
            # again.
            with self._lock:
                self._challenges.pop(_challenge_key(caller, scope), None)
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
        """The Authorization that answers a 401 with these headers; None if there is none better than `sent`.
        A token that was requested after `since` isn't requested again.

        Raises Unauthorized and other kinds of RegistryError where the token server refuses.
        """
        challenge = choose(parse_challenges(headers.get("www-authenticate")))
        if challenge is None or isinstance(caller.credentials, Bearer):
            return None
        found = self._answer_and_remember(caller, scope, challenge)
        if found is not None and found.header == sent and challenge.scheme == "bearer":
            # The cached token is no longer valid: it was revoked, or its rights have changed.
            if not caller.tokens.drop(self._token_key(caller, scope, challenge), sent, since):
                return None
            found = self._answer(caller, scope, challenge)
        return found if found is not None and found.header != sent else None

    def answer_to_ping(self, caller: Caller, scope: Scope) -> Authorization | None:
        """The Authorization that answers the challenge of `GET /v2/`; None if the registry sends no challenge
        there.

        Some registries let anonymous callers read public repositories, and answer 404 for all others. They
        never send a challenge for these, so a caller with credentials would be treated as anonymous.
        """
        try:
            challenge = self._ping.challenge(caller.registry, for_list=not scope.repository)
        except (ProtocolError, Unreachable):
            return None  # the first answer is used; the next caller pings again
        if challenge is None:
            return None
        return self._answer_and_remember(caller, scope, challenge)

    def accepted_until(self, caller: Caller, scope: Scope) -> float | None:
        """The time until which the registry's acceptance of this caller is valid; None if it hasn't accepted
        the caller. It has if it gave these credentials a token for exactly this scope, accepted them at
        `/v2/`, or accepts everybody. Only then does a 404 mean that something doesn't exist.

        Raises what the transport raises, and RegistryError where the token server refuses.
        """
        registry, credentials = caller.registry, caller.credentials
        anyone_until = self._ping.anyone_until(registry)
        if anyone_until is not None or isinstance(credentials, Anonymous):
            return anyone_until
        if isinstance(credentials, Basic | IdentityToken):
            challenge = self._remembered(caller, scope)
            if challenge is None:
                return None  # the credentials were never sent, so the 404 was for an anonymous caller
            if challenge.scheme == "bearer":
                token = self._token(caller, scope, challenge)
                return token.until if grants(token.value, scope.repository) else None
        elif not grants(credentials.token, scope.repository):
            return None
        return self._ping.caller_until(registry, credentials)

    def knows(self, caller: Caller) -> bool:
        """Whether the registry lets everybody in at `/v2/`, or knows these credentials: it accepts them
        there, or its token server issues a token for them. Raises what the transport raises, and
        RegistryError where the token server refuses.
        """
        registry, credentials = caller.registry, caller.credentials
        if self._ping.anyone_until(registry) is not None:
            return True
        if isinstance(credentials, Anonymous):
            return False
        challenge = self._ping.challenge(registry)
        if isinstance(credentials, Bearer) or challenge is None or challenge.scheme == "basic":
            return self._ping.caller_until(registry, credentials) is not None
        self._token(caller, Scope("", ()), challenge)
        return True

    def _remembered(self, caller: Caller, scope: Scope) -> Challenge | None:
        with self._lock:
            return self._challenges.get(_challenge_key(caller, scope))

    def _answer_and_remember(
        self, caller: Caller, scope: Scope, challenge: Challenge
    ) -> Authorization | None:
        """The Authorization that answers a challenge. The challenge is cached only if it could be answered;
        otherwise a temporarily wrong realm would be used for an hour.
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

    def _answer(self, caller: Caller, scope: Scope, challenge: Challenge) -> Authorization | None:
        if challenge.scheme == "basic":
            header = caller.credentials.header()
            return None if header is None else Authorization(header)
        token = self._token(caller, scope, challenge)
        return Authorization(token.header, token.until)

    def _token(self, caller: Caller, scope: Scope, challenge: Challenge) -> Token:
        registry, credentials, tokens = caller.registry, caller.credentials, caller.tokens
        key = self._token_key(caller, scope, challenge)
        token = tokens.get(key)
        self._events.count("cache", "token", "miss" if token is None else "hit")
        if token is not None:
            return token
        scopes = scope.token_scopes(challenge)
        return tokens.fetched(
            key,
            lambda: self._client.fetch(registry, credentials, challenge, scopes, tokens.ttl),
            registry,
            self._client.seconds,
        )

    def _token_key(self, caller: Caller, scope: Scope, challenge: Challenge) -> Hashable:
        origin, who = caller.registry.origin, fingerprint(caller.credentials, self._key)
        return (origin, challenge.realm, challenge.service, who, scope.token_scopes(challenge))


class SessionAuth:
    """The Authorization of one caller's calls within a session, and until when the registry's answers to them
    are valid.
    """

    def __init__(self, authenticator: Authenticator, registry: Registry, credentials: Credentials) -> None:
        self._authenticator = authenticator
        self.now = authenticator.now
        self.caller = authenticator.caller(registry, credentials)
        # Until when the answers to each Authorization are valid, by scope.
        self._valid_until: dict[tuple[Scope, str | None], float] = {}

    def first_header(self, scope: Scope) -> str | None:
        """The cached Authorization; None if there is none."""
        return self._recorded(scope, self._authenticator.header(self.caller, scope))

    def header_after_ping(self, scope: Scope) -> str | None:
        """The Authorization that the registry's answer to `GET /v2/` asks for; None if it asks for none."""
        return self._recorded(scope, self._authenticator.answer_to_ping(self.caller, scope))

    def renewed(self, scope: Scope, headers: Mapping[str, str], sent: str | None, since: float) -> str | None:
        """The Authorization that answers a 401 with these headers; None if there is none better than `sent`.
        A token that was requested after `since` isn't requested again.
        """
        better = self._authenticator.answer(self.caller, scope, headers, sent=sent, since=since)
        return None if better is None else self._recorded(scope, better)

    def is_accepted(self, scope: Scope) -> bool:
        """Whether the registry has accepted this caller, so that its 404 means that something doesn't
        exist.
        """
        until = self._authenticator.accepted_until(self.caller, scope)
        if until is not None:
            self._valid_until[scope, "accepted"] = until
        return until is not None

    def trusted_seconds(self, scope: Scope) -> float:
        """How many more seconds the registry's answers for `scope` are valid: `ttl` from this session's first
        request for it, and no longer than any token that was used.
        """
        ends = [end for (used, _), end in list(self._valid_until.items()) if used == scope]
        return max(min(ends) - self.now(), 0.0) if ends else 0.0

    def _recorded(self, scope: Scope, found: Authorization | None) -> str | None:
        """The header of `found`. Records the time until which its answers are valid."""
        end = self.now() + self._authenticator.ttl
        header = None if found is None else found.header
        self._valid_until.setdefault((scope, header), end if found is None else min(found.until, end))
        return header


def _challenge_key(caller: Caller, scope: Scope) -> Hashable:
    # Harbor answers a bad Bearer token of an anonymous caller with a challenge for Basic, which only callers
    # with a password can answer.
    return (caller.registry.origin, scope, isinstance(caller.credentials, Anonymous))
