"""Which registries may be asked: the operator's list, `PYOCI_REGISTRIES`, and what a caller may name."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Self
from urllib.parse import unquote

from pyoci.errors import Denied, InvalidRequest, NotFound
from pyoci.net.addresses import PUBLIC_PORT, other_port
from pyoci.oci.references import Registry, shown

LOCAL = "local"
EMBEDDED = Registry("embedded", LOCAL, listed=True)
# What docker and containerd call Docker Hub, whose registry is at another host.
_HUB = ("docker.io", "index.docker.io")
_HUB_HOST = "registry-1.docker.io"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PATTERN = re.compile(r"[a-z0-9*?._:-]*[*?][a-z0-9*?._:-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """The registries that may be asked. Empty, or with `*` in the list: any https one at port
    443 as well.

    Whether an unlisted one has a public address is judged when it is connected to.
    """

    aliases: dict[str, Registry] = field(default_factory=dict)
    listed: tuple[Registry, ...] = ()
    patterns: tuple[str, ...] = ()
    anyone: bool = True
    embedded: bool = False

    @classmethod
    def read(cls, text: str, *, reserved: Iterable[str] = (), embedded: bool = False) -> Self:
        """Read a comma-separated list of hosts, patterns, URLs and `alias=` one of these.

        Raises ValueError with every mistake in it, one a line.
        """
        aliases: dict[str, Registry] = {}
        listed: list[Registry] = []
        patterns: list[str] = []
        mistakes: list[str] = []
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        for entry in entries:
            alias, equals, target = (part.strip() for part in entry.rpartition("="))
            try:
                if equals:
                    check_name(alias, reserved, aliases, "an alias")
                if not equals and _PATTERN.fullmatch(target.lower()):
                    patterns.append(target.lower())
                    continue
                registry = _named(target, listed=True)
                listed.append(registry)
                if equals:
                    aliases[alias] = replace(registry, alias=alias)
            except InvalidRequest as exc:
                mistakes.append(f"{shown(entry)}: {exc.message}")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        named = tuple(pattern for pattern in patterns if pattern != "*")
        anyone = not entries or "*" in patterns
        return cls(aliases=aliases, listed=tuple(listed), patterns=named, anyone=anyone, embedded=embedded)

    def knows(self, text: str) -> bool:
        """Whether `text` is an alias, or `local`."""
        return text in self.aliases or text == LOCAL

    def parse(self, text: str) -> Registry:
        """The registry that a URL's first segment names. Raises NotFound, Denied, InvalidRequest."""
        text = unquote(text).lower()
        if text == LOCAL:
            if not self.embedded:
                raise NotFound("there is no embedded registry here; PYOCI_EMBEDDED switches it on")
            return EMBEDDED
        if text in self.aliases:
            return self.aliases[text]
        named = _named(text)
        same = [registry for registry in self.listed if registry.host == named.host]
        # A bare host is https, unless the operator listed that host as an http URL only.
        fitting = [r for r in same if r.scheme == named.scheme] or ([] if "://" in text else same)
        if fitting:
            return fitting[0]
        if named.scheme == "https" and any(fnmatchcase(named.host, pattern) for pattern in self.patterns):
            return Registry(named.scheme, named.host, listed=True)
        if named.scheme == "https" and self.anyone:
            if named.port != PUBLIC_PORT:
                raise Denied(other_port(str(named)))
            return named
        raise Denied(f"{named} may not be asked here; PYOCI_REGISTRIES lists the registries that may")


def _named(text: str, *, listed: bool = False) -> Registry:
    named = Registry.parse(text, listed=listed)
    return replace(named, host=_HUB_HOST) if named.host in _HUB else named


def could_be_a_host(text: str) -> bool:
    """Whether a URL's first segment may be a registry's host: most of what scanners and typing errors ask for
    can't.
    """
    return "/" not in text and ("." in text or ":" in text or text.lower() == "localhost")


def check_name(name: str, reserved: Iterable[str], known: Container[str], kind: str) -> None:
    """Whether `name` may stand first in a URL. Raises InvalidRequest where it can't, or does already."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{shown(name)} is not {kind}; expected lower case letters, digits, - and _")
    if name in reserved or name == "localhost":
        raise InvalidRequest(f"{name!r} is a name that PyOCI uses itself; choose another")
    if name in known:
        raise InvalidRequest(f"{name!r} is given twice")
