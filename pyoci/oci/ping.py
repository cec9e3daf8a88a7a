"""Ping: what a registry says at /v2/, to strangers and to callers (distribution specification, end-1).

Behind a door that is open to everybody an absence is an absence. Behind another it may hide something from
those whom the registry doesn't know.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
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

_LIMIT = 64 * 1024  # bytes of an answer
_DOORS = 4096
CHALLENGE_SECONDS = 3600.0  # after which a registry is asked anew how it wants to be asked
_CALLERS = 65536
_SAID = frozenset({200, 401})  # other answers tell only how the registry is just now


@dataclass(frozen=True, slots=True)
class _Door:
    challenge: Challenge | None  # None: it asks for nothing, or for nothing that can be read
    is_open: bool
    asked: float
    failure: RegistryError | None = None  # what else it said: only how the registry is just now


@dataclass(frozen=True, slots=True)
class _LetIn:
    """Whether a caller was let in; `asked` is when the request for it was sent."""

    yes: bool
    asked: float


class Ping:
    """Those of all registries. One for the process."""

    def __init__(
        self,
        transport: Transport,
        targets: Targets,
        *,
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ttl`: the seconds for which it counts that strangers, or a caller, were let in."""
        self._transport = transport
        self._targets = targets
        self._ttl = ttl
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._answers: TTLCache[str, _Door] = TTLCache(_DOORS, CHALLENGE_SECONDS, timer=clock)
        self._let_in: TTLCache[tuple[str, str], _LetIn] = TTLCache(_CALLERS, ttl, timer=clock)

    def challenge(self, registry: Registry) -> Challenge | None:
        """What the door asks strangers for; None where it lets them in. Raises what the road raises."""
        return self._door(registry, CHALLENGE_SECONDS).challenge

    def anyone_until(self, registry: Registry) -> float | None:
        """Until when it counts that strangers are let in; None where they aren't. Raises RegistryError where
        the door falters, and what the road raises.
        """
        door = self._door(registry, self._ttl)
        if door.failure is not None:
            raise door.failure
        return door.asked + self._ttl if door.is_open else None

    def caller_until(self, registry: Registry, caller: Credentials) -> float | None:
        """Until when it counts that these credentials, as they are, are let in; None where they aren't.
        Raises RegistryError where the door falters, and what the road raises.
        """
        key = (registry.origin, fingerprint(caller, self._key))
        with self._lock:
            known = self._let_in.get(key)
        if known is None or self._clock() >= known.asked + self._ttl:
            asked, header = self._clock(), caller.header()
            answer = self._asked(registry, header)
            failure = _failure(registry, answer, header)
            if failure is not None:
                raise failure
            known = _LetIn(answer.status == 200, asked)
            if answer.status in _SAID:
                with self._lock:
                    self._let_in[key] = known
        return known.asked + self._ttl if known.yes else None

    def _door(self, registry: Registry, seconds: float) -> _Door:
        with self._lock:
            door = self._answers.get(registry.origin)
        if door is None or self._clock() - door.asked >= seconds:
            asked = self._clock()
            answer = self._asked(registry, None)
            found = parse_challenges(answer.headers.get("www-authenticate"))
            challenge = choose(found) if answer.status == 401 else None
            door = _Door(challenge, answer.status == 200, asked, _failure(registry, answer, None))
            if answer.status in _SAID:
                with self._lock:
                    self._answers[registry.origin] = door
        return door

    def _asked(self, registry: Registry, header: str | None) -> Answer:
        headers = {"Authorization": header} if header else {}
        reach = self._targets.own_reach(registry)
        call = Call(
            method="GET",
            url=registry.url(""),
            headers=headers,
            reach=reach,
            name=str(registry),
            operation="door",
        )
        return self._transport.document(call, _LIMIT)


def _failure(registry: Registry, answer: Answer, header: str | None) -> RegistryError | None:
    """The error that an answer is where the registry is down or out of patience, which tells of nobody."""
    if answer.status not in {408, 429} and answer.status < 500:
        return None
    return registry_error(
        "let somebody in",
        str(registry),
        answer.status,
        answer.headers,
        answer.body,
        secrets=secrets_of(header),
    )


def grants(token: str, repository: str) -> bool:
    """Whether a token may be good for reading `repository`. One that says what it is good for, as the tokens
    of the distribution's own specification do (`access` in a JWT), and doesn't name it, isn't: an endpoint
    gives such a one to who may do less than was asked for. Others tell nothing.
    """
    claims = _claims(token)
    access = claims.get("access") if isinstance(claims, dict) else None
    if not isinstance(access, list):
        return True
    return any(
        isinstance(entry, dict)
        and entry.get("name") == repository
        and isinstance(actions := entry.get("actions"), list)
        and ("pull" in actions or "*" in actions)
        for entry in access
    )


def _claims(token: str) -> object:
    """What a JWT says (RFC 7519), unverified: it was fetched from its maker. None for other tokens."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
