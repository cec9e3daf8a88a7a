"""WWW-Authenticate to Challenge (RFC 9110, section 11.6.1), lenient where registries need it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_LIMIT = 8 * 1024  # characters of a header that are looked at
_TOKEN = re.compile(r"[\s,]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)")
_EQUALS = re.compile(r"\s*=\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"?')
_BARE = re.compile(r'[^\s,"]*')
_ACTIONS = frozenset({"pull", "push", "delete", "*"})


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry asks for: `scheme` in lower case, and its parameters.

    `scopes` are the values of every `scope` parameter (Pulp repeats it), split at spaces.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()

    @property
    def realm(self) -> str:
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str | None:
        """None where the registry names none (Gitea)."""
        return self.parameters.get("service") or None


def parse_challenges(header: str | None) -> tuple[Challenge, ...]:
    """Every challenge in the header, in its order. What can't be read is passed over; empty gives none."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for name, value in _words((header or "")[:_LIMIT]):
        if value is not None and found:
            found[-1][1].append((name.lower(), value))
        elif value is None and found and name in _ACTIONS and _scope_is_open(found[-1][1]):
            # An unquoted scope with two actions: scope=repository:a/b:pull,push
            key, scope = found[-1][1][-1]
            found[-1][1][-1] = (key, f"{scope},{name}")
        elif value is None:
            found.append((name.lower(), []))
    return tuple(_challenge(scheme, pairs) for scheme, pairs in found)


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge to answer: Bearer before Basic where one header holds both; None for neither."""
    known = {challenge.scheme: challenge for challenge in reversed(tuple(challenges))}
    bearer = known.get("bearer")
    return bearer if bearer is not None and bearer.realm else known.get("basic")


def _words(header: str) -> Iterable[tuple[str, str | None]]:
    """Pairs of a token and its value; None where nothing is assigned to it, as with a scheme."""
    position = 0
    while token := _TOKEN.match(header, position):
        position = token.end()
        equals = _EQUALS.match(header, position)
        if equals is None:
            yield token[1], None
            continue
        quoted = _QUOTED.match(header, equals.end())
        if quoted is not None:
            position = quoted.end()
            yield token[1], re.sub(r"\\(.)", r"\1", quoted[1])
        else:
            bare = _BARE.match(header, equals.end())
            assert bare is not None  # it matches nothing, too
            position = bare.end()
            yield token[1], bare[0]


def _scope_is_open(pairs: list[tuple[str, str]]) -> bool:
    return bool(pairs) and pairs[-1][0] == "scope" and " " not in pairs[-1][1]


def _challenge(scheme: str, pairs: list[tuple[str, str]]) -> Challenge:
    scopes = tuple(scope for key, value in pairs if key == "scope" for scope in value.split())
    # The first of a repeated parameter counts, as in every other header.
    return Challenge(scheme, dict(reversed(pairs)), tuple(dict.fromkeys(scopes)))
