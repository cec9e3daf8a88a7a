"""Ping: the answers of registries to `GET /v2/`, with and without credentials (distribution specification,
end-1).

A registry that accepts anonymous callers there answers 404 only for what doesn't exist. Other registries may
also answer 404 to hide something from callers that they haven't accepted.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from pyoci.net.messages import Answer, Call
from pyoci.net.transport import Transport
from pyoci.oci.challenges import Challenge, choose, parse_challenges
from pyoci.oci.credentials import Credentials, fingerprint, secrets_of
from pyoci.oci.errors import RegistryError, registry_error
from pyoci.oci.references import Registry
from pyoci.oci.targets import Targets

CHALLENGE_SECONDS = 3600.0  # after which a registry is asked for its challenge again
_LIMIT = 64 * 1024  # bytes of an answer
_REGISTRIES = 4096
_CALLERS = 65536
_DECISIVE = frozenset({200, 401})  # any other status is about the registry's current state


@dataclass(frozen=True, slots=True)
class _Anonymous:
    """The answer to an anonymous ping; `asked` is the time of the request."""

    challenge: Challenge | None  # None: missing, or invalid; zot sends one with a 200
    is_accepted: bool
    asked: float
    failure: RegistryError | None = None  # the error, if the registry is down or overloaded


@dataclass(frozen=True, slots=True)
class _Authorized:
    """The answer to a ping with credentials; `asked` is the time of the request."""

    is_accepted: bool
    asked: float


class Ping:
    """The answers of all registries. One for the process. Methods raise what the transport raises."""

    def __init__(
        self, transport: Transport, targets: Targets, *, ttl: float, clock: Callable[[], float]
    ) -> None:
        """`ttl`: how many seconds the acceptance of anonymous callers, or of a caller, is valid."""
        self._transport = transport
        self._targets = targets
        self._ttl = ttl
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._anonymous: TTLCache[str, _Anonymous] = TTLCache(_REGISTRIES, CHALLENGE_SECONDS, timer=clock)
        self._authorized: TTLCache[tuple[str, str], _Authorized] = TTLCache(_CALLERS, ttl, timer=clock)

    def challenge(self, registry: Registry, *, for_list: bool = False) -> Challenge | None:
        """The challenge to anonymous callers; None if the registry sends none.

        zot sends one with its 200, and answers 401 where anonymous callers may not read. So only `for_list`,
        the list of repositories, is such a challenge worth a request to a token server.
        """
        known = self._ask_anonymously(registry, CHALLENGE_SECONDS)
        if known.challenge is None or for_list or not known.is_accepted:
            return known.challenge
        return known.challenge if known.challenge.scheme == "basic" else None

    def anyone_until(self, registry: Registry) -> float | None:
        """The time until which the acceptance of anonymous callers is valid; None if they aren't accepted.
        Raises RegistryError if the registry is down or overloaded.
        """
        known = self._ask_anonymously(registry, self._ttl)
        if known.failure is not None:
            raise known.failure
        return known.asked + self._ttl if known.is_accepted else None

    def caller_until(self, registry: Registry, caller: Credentials) -> float | None:
        """The time until which the acceptance of these credentials (without a token) is valid; None if they
        aren't accepted. Raises RegistryError if the registry is down or overloaded.
        """
        key = (registry.origin, fingerprint(caller, self._key))
        with self._lock:
            known = self._authorized.get(key)
        if known is None or self._clock() >= known.asked + self._ttl:
            asked, header = self._clock(), caller.header()
            answer = self._ask(registry, header)
            failure = _failure(registry, answer, header)
            if failure is not None:
                raise failure
            known = _Authorized(answer.status == 200, asked)
            if answer.status in _DECISIVE:
                with self._lock:
                    self._authorized[key] = known
        return known.asked + self._ttl if known.is_accepted else None

    def _ask_anonymously(self, registry: Registry, seconds: float) -> _Anonymous:
        """The cached answer if it is younger than `seconds`, else a new one."""
        with self._lock:
            known = self._anonymous.get(registry.origin)
        if known is None or self._clock() - known.asked >= seconds:
            asked = self._clock()
            answer = self._ask(registry, None)
            found = parse_challenges(answer.headers.get("www-authenticate"))
            challenge = choose(found) if answer.status in _DECISIVE else None
            known = _Anonymous(challenge, answer.status == 200, asked, _failure(registry, answer, None))
            if answer.status in _DECISIVE:
                with self._lock:
                    self._anonymous[registry.origin] = known
        return known

    def _ask(self, registry: Registry, header: str | None) -> Answer:
        call = Call(
            method="GET",
            url=registry.url(""),
            headers={"Authorization": header} if header else {},
            reach=self._targets.own_reach(registry),
            name=str(registry),
            operation="door",  # the value that dashboards know
        )
        return self._transport.document(call, _LIMIT)


def _failure(registry: Registry, answer: Answer, header: str | None) -> RegistryError | None:
    """The error if the registry is down or overloaded. Such an answer says nothing about the caller."""
    if answer.status not in {408, 429} and answer.status < 500:
        return None
    return registry_error(
        "accept the caller",
        str(registry),
        answer.status,
        answer.headers,
        answer.body,
        secrets=secrets_of(header),
    )


def grants(token: str, repository: str) -> bool:
    """Whether a token may grant read access to `repository`. False only for a token that lists its rights
    (`access` in a JWT, by the distribution's token specification) without this one. Token servers issue such
    tokens to callers with fewer rights than requested.
    """
    actions = _actions(token, repository)
    return actions is None or not actions.isdisjoint({"pull", "*"})


def may_push(header: str | None, repository: str) -> bool:
    """Whether an Authorization header has a token that lists the right to push to `repository`."""
    scheme, _, token = (header or "").partition(" ")
    actions = _actions(token, repository) if scheme == "Bearer" else None
    return actions is not None and not actions.isdisjoint({"push", "*"})


def _actions(token: str, repository: str) -> frozenset[str] | None:
    """The actions that a token lists for `repository`; None if it lists no rights."""
    claims = _claims(token)
    access = claims.get("access") if isinstance(claims, dict) else None
    if not isinstance(access, list):
        return None
    found = (
        entry.get("actions")
        for entry in access
        if isinstance(entry, dict) and entry.get("name") == repository
    )
    return frozenset(
        action
        for actions in found
        if isinstance(actions, list)
        for action in actions
        if isinstance(action, str)
    )


def _claims(token: str) -> object:
    """The claims of a JWT (RFC 7519), unverified, since it came from its issuer. None for other tokens."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
