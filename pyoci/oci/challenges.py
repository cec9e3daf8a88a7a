"""Challenge: a WWW-Authenticate header (RFC 9110, section 11.6.1), parsed as leniently as registries require;
and Scope: the access that a call needs, and the token scopes that grant it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_LIMIT = 8 * 1024  # characters of a header that are parsed
_TOKEN = re.compile(r"[\s,]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)")
_EQUALS = re.compile(r"\s*=\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"?')
_BARE = re.compile(r'[^\s,"]*')
_ACTIONS = frozenset({"pull", "push", "delete", "*"})


@dataclass(frozen=True, slots=True)
class Challenge:
    """A registry's request for credentials: `scheme` in lower case, and its parameters.

    `scopes` has the values of all `scope` parameters (Pulp repeats the parameter), split at spaces.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()

    @property
    def realm(self) -> str:
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str | None:
        """None if the registry doesn't name one, like Gitea."""
        return self.parameters.get("service") or None


@dataclass(frozen=True, slots=True)
class Scope:
    """The access that a call needs: a repository ("" for the registry itself) and actions there; and
    `source`, another repository, to pull from.
    """

    repository: str
    actions: tuple[str, ...] = ("pull",)
    source: str = ""

    def token_scopes(self, challenge: Challenge) -> tuple[str, ...]:
        """The scopes to request from the token server: those of the challenge, completed with all actions of
        this scope.

        Push is always requested together with pull, because some token servers grant one only with the other.
        Scopes of other kinds (`registry:catalog:*`, Forgejo's `*`) stay as they are.
        """
        named = challenge.scopes
        if not named and self.repository:
            named = (f"repository:{self.repository}:{','.join(self.actions)}",)
        wanted = {self._completed(scope) for scope in named}
        if self.source and wanted:
            wanted.add(f"repository:{self.source}:pull")
        return tuple(sorted(wanted))

    def _completed(self, scope: str) -> str:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind != "repository" or name != self.repository or "*" in actions:
            return scope
        given = set(filter(None, actions.split(",")))
        # `delete` is requested only where the challenge names it: Quay refuses the action.
        needed = {action for action in self.actions if action != "delete"}
        if "push" in given:
            needed.add("pull")
        return f"{kind}:{name}:{','.join(sorted(given | needed, key=_rank))}"


def _rank(action: str) -> tuple[int, str]:
    order = ("pull", "push", "delete")
    return (order.index(action) if action in order else len(order), action)


def parse_challenges(header: str | None) -> tuple[Challenge, ...]:
    """The challenges in the header, in its order, without those that can't be parsed."""
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
    """The challenge to answer: Bearer before Basic where one header has both; None if it has neither."""
    known = {challenge.scheme: challenge for challenge in reversed(tuple(challenges))}
    bearer = known.get("bearer")
    return bearer if bearer is not None and bearer.realm else known.get("basic")


def _words(header: str) -> Iterable[tuple[str, str | None]]:
    """Pairs of a token and its value. The value is None if nothing is assigned, as for a scheme."""
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
            assert bare is not None  # the pattern also matches the empty string
            position = bare.end()
            yield token[1], bare[0]


def _scope_is_open(pairs: list[tuple[str, str]]) -> bool:
    return bool(pairs) and pairs[-1][0] == "scope" and " " not in pairs[-1][1]


def _challenge(scheme: str, pairs: list[tuple[str, str]]) -> Challenge:
    scopes = tuple(scope for key, value in pairs if key == "scope" for scope in value.split())
    # The first of several equal parameters counts, as in other headers.
    return Challenge(scheme, dict(reversed(pairs)), tuple(dict.fromkeys(scopes)))
