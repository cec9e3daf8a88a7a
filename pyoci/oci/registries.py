"""The first segment of an index's URL: Registries, the allowed registries (`PYOCI_REGISTRIES`), and
ShortUrls, names for a registry and a namespace.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Self
from urllib.parse import unquote

from pyoci.errors import Denied, InvalidRequest, NotFound, PyOCIError
from pyoci.net.addresses import PUBLIC_PORT, other_port
from pyoci.oci.quirks import HUB_HOST, HUB_NAMES
from pyoci.oci.references import Registry, Repository, shown

LOCAL = "local"
EMBEDDED = Registry("embedded", LOCAL, listed=True)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PATTERN = re.compile(r"[a-z0-9*?._:-]*[*?][a-z0-9*?._:-]*")
# PYOCI_DEFAULT_INDEX is served at the paths that PyPI uses: /simple/, /pypi/ and /legacy/.
DEFAULT = "simple"
# First segments of URLs that are, or may become, PyOCI's own: no alias or short URL may have such a name.
RESERVED = frozenset({"_", "health", "ready", "metrics", "v2", DEFAULT, "pypi", "legacy", LOCAL})
_TARGET = re.compile(r"((?:https?://)?[^/]+)/([^/].*?)/?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """The allowed registries. An empty list, or `*` in it, also allows any https registry at port 443.

    The address of an unlisted registry is checked on connecting.
    """

    aliases: dict[str, Registry] = field(default_factory=dict)
    listed: tuple[Registry, ...] = ()
    patterns: tuple[str, ...] = ()
    anyone: bool = True
    embedded: bool = False

    @classmethod
    def read(cls, text: str, *, reserved: Iterable[str] = (), embedded: bool = False) -> Self:
        """Read a comma-separated list of hosts, patterns and URLs; `alias=` may come before a host or URL.

        Raises ValueError with one line for each mistake.
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
        """The registry that the first segment of a URL names. Raises NotFound, Denied, InvalidRequest."""
        text = unquote(text).lower()
        if text == LOCAL:
            if not self.embedded:
                raise NotFound("there is no embedded registry here; PYOCI_EMBEDDED switches it on")
            return EMBEDDED
        if text in self.aliases:
            return self.aliases[text]
        named = _named(text)
        same = [registry for registry in self.listed if registry.host == named.host]
        # A bare host means https, unless the operator listed it only as an http URL.
        fitting = [r for r in same if r.scheme == named.scheme] or ([] if "://" in text else same)
        if fitting:
            return fitting[0]
        if named.scheme == "https" and any(fnmatchcase(named.host, pattern) for pattern in self.patterns):
            return Registry(named.scheme, named.host, listed=True)
        if named.scheme == "https" and self.anyone:
            if named.port != PUBLIC_PORT:
                raise Denied(other_port(str(named)))
            return named
        raise Denied(f"{named} is not allowed here; PYOCI_REGISTRIES lists the allowed registries")

    def trusted(self, text: str) -> Registry:
        """The registry that a user of this machine names: any is allowed, at any address. Raises NotFound,
        InvalidRequest.
        """
        try:
            found = self.parse(text)
        except Denied:
            found = _named(text.lower())
        return found if found is EMBEDDED else replace(found, listed=True)


def _named(text: str, *, listed: bool = False) -> Registry:
    named = Registry.parse(text, listed=listed)
    return replace(named, host=HUB_HOST) if named.host in HUB_NAMES else named


def could_be_a_host(text: str) -> bool:
    """Whether the first segment of a URL may be a registry's host. This rejects most requests of scanners."""
    return "/" not in text and ("." in text or ":" in text or text.lower() == "localhost")


def check_name(name: str, reserved: Iterable[str], known: Container[str], kind: str) -> None:
    """Check that `name` can be the first segment of a URL and isn't one already. Raises InvalidRequest."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{shown(name)} is not {kind}; expected lower case letters, digits, - and _")
    if name in reserved or name == "localhost":
        raise InvalidRequest(f"{name!r} is a name that PyOCI uses itself; choose another")
    if name in known:
        raise InvalidRequest(f"{name!r} is given twice")


def split_address(text: str, registries: Registries) -> tuple[str, str]:
    """The registry and the namespace in `<registry>/<namespace>`, in lower case. Raises InvalidRequest."""
    found = _TARGET.fullmatch(text) if text.isascii() else None
    if found is None:
        raise InvalidRequest("this isn't a namespace; expected <registry>/<namespace>, like ghcr.io/acme")
    registry, path = found[1].lower(), found[2].lower()
    if not ("://" in registry or could_be_a_host(registry) or registries.knows(registry)):
        raise InvalidRequest(f"{shown(registry)} is not a registry; expected a host, a URL or an alias")
    return registry, path


@dataclass(frozen=True, slots=True)
class ShortUrl:
    """The meaning of a name: a registry as the operator wrote it, and the path of a namespace there."""

    registry: str
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, registries: Registries, *, trusted: bool = False) -> Self:
        """Read `<registry>/<namespace>`. With `trusted` the registry need not be one that callers may name.
        Raises InvalidRequest, and what Registries.parse raises.
        """
        registry, path = split_address(text, registries)
        found = registries.trusted(registry) if trusted else registries.parse(registry)
        return cls(registry, tuple(Repository.parse(found, path).name.split("/")))

    def is_in(self, registry: Registry, path: tuple[str, ...], registries: Registries) -> bool:
        """Whether it means the namespace `path` of `registry`, or one below it."""
        is_there = registries.trusted(self.registry).host == registry.host
        return is_there and self.path[: len(path)] == path


@dataclass(frozen=True, slots=True)
class ShortUrls:
    """The short URLs by name. `alone`: no other URL is served."""

    urls: Mapping[str, ShortUrl] = field(default_factory=dict)
    alone: bool = False

    @classmethod
    def read(cls, text: str, registries: Registries, *, reserved: Iterable[str] = ()) -> Self:
        """Read a comma-separated list of `name=<registry>/<namespace>`.

        Raises ValueError with one line for each mistake.
        """
        urls: dict[str, ShortUrl] = {}
        mistakes: list[str] = []
        for entry in (entry.strip() for entry in text.split(",") if entry.strip()):
            name, _, target = (part.strip() for part in entry.partition("="))
            try:
                check_name(name, reserved, urls, "a short URL's name")
                if name in registries.aliases:
                    raise InvalidRequest(f"{name!r} is an alias in PYOCI_REGISTRIES; choose another")
                urls[name] = ShortUrl.parse(target, registries)
            except PyOCIError as exc:
                mistakes.append(f"{shown(name)}: {exc.message}")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return cls(urls)

    def find(self, name: str) -> ShortUrl | None:
        """The short URL with this name, in upper or lower case; None if there is none."""
        return self.urls.get(name.lower())

    def name_in(self, registry: str) -> str | None:
        """The name of the first short URL in `registry`."""
        return next((name for name, url in self.urls.items() if url.registry == registry), None)
