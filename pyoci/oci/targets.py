"""Targets: checks the URLs that a registry names, in a realm, Location or Link."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit, urlunsplit

from cachetools import TTLCache

from pyoci.errors import InvalidRequest, ProtocolError, Unreachable
from pyoci.net.addresses import PUBLIC_PORT, Reach, Resolver
from pyoci.oci.references import Registry

_PRIVATE_SECONDS = 60.0  # how long to cache whether a listed registry has a private address
_REDIRECT_SECONDS = 60.0  # how long clients may be redirected to a host after its address was checked
_LOOKUP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be requested, and the reach of the request. Credentials and tokens are sent only if
    `same_origin` is true: to the registry itself.
    """

    url: str = field(repr=False)
    reach: Reach
    same_origin: bool


class Targets:
    """Checks URLs. One for the process."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._lock = threading.Lock()
        self._beyond: TTLCache[str, Reach] = TTLCache(256, _PRIVATE_SECONDS)
        self._redirects: TTLCache[tuple[str, int, Reach], bool] = TTLCache(256, _REDIRECT_SECONDS)

    def own_reach(self, registry: Registry) -> Reach:
        """The reach of calls to the registry itself."""
        if registry.scheme == "embedded":
            return Reach.EMBEDDED
        return Reach.LISTED if registry.listed else Reach.PUBLIC

    def target(self, registry: Registry, base: str, reference: str, what: str) -> Target:
        """The target of `reference`, a relative or absolute URL in an answer from `base`.

        `what` is the name of its header or parameter, for messages. Raises ProtocolError for a URL that may
        not be requested. The address is checked on connecting.
        """
        if not reference.strip():
            raise ProtocolError(f"{registry} answered without the required {what}")
        if registry.scheme == "embedded":
            if not reference.startswith("/"):
                raise _bad(registry, what)
            return Target(registry.origin + reference, Reach.EMBEDDED, True)
        try:
            parts = urlsplit(urljoin(base, reference))
            there = _origin(parts.scheme, parts.hostname, parts.port)
        except (ValueError, InvalidRequest) as exc:
            raise _bad(registry, what) from exc
        if "@" in parts.netloc or there.scheme not in {"http", "https"}:
            raise _bad(registry, what)
        if there.scheme == "http" and registry.scheme == "https" and there.hostname == registry.hostname:
            # Registries behind a proxy that terminates TLS often use http in Location.
            there = Registry("https", registry.host)
        url = urlunsplit((there.scheme, there.host, parts.path, parts.query, ""))
        if there.origin == registry.origin:
            return Target(url, self.own_reach(registry), True)
        if there.scheme == "http" and registry.scheme == "https":
            raise ProtocolError(f"{registry} names a {what} by plain http; expected https")
        reach = self._elsewhere(registry)
        if reach is Reach.PUBLIC and there.port != PUBLIC_PORT:
            raise ProtocolError(f"{registry} names a {what} at another port than {PUBLIC_PORT}")
        return Target(url, reach, False)

    def next_page(self, registry: Registry, page: str, link: str) -> str:
        """The URL of a list's next page, which the Link of the page before names. Raises ProtocolError."""
        target = self.target(registry, page, link, "Link")
        if not target.same_origin:
            raise ProtocolError(
                f"{registry} names another host for the next page of a list; expected its own"
            )
        return target.url

    def may_redirect(self, target: Target) -> bool:
        """Whether a client may be redirected to `target`. False if its name can't be resolved here.

        Raises Denied if an address is not allowed: a redirect must not lead a client into its own network.
        For an unlisted registry it returns False instead. PyOCI then requests the target itself, which fails
        with the same message as every other failure and so reveals nothing.
        """
        parts = urlsplit(target.url)
        there = _origin(parts.scheme, parts.hostname, parts.port)
        key = (there.hostname, there.port, target.reach)
        with self._lock:
            if key in self._redirects:
                return True
        try:
            self._resolver.permitted(there.hostname, there.port, target.reach, _LOOKUP_SECONDS)
        except (OSError, Unreachable):
            return False
        with self._lock:
            self._redirects[key] = True
        return True

    def _elsewhere(self, registry: Registry) -> Reach:
        """The reach of other hosts that the registry names. Only a listed registry in a private network may
        name private addresses.
        """
        if not registry.listed:
            return Reach.PUBLIC
        with self._lock:
            reach = self._beyond.get(registry.origin)
        if reach is None:
            reach = self._resolver.reach_beyond(registry.hostname, registry.port)
            with self._lock:
                self._beyond[registry.origin] = reach
        return reach


def _origin(scheme: str, host: str | None, port: int | None) -> Registry:
    host = f"[{host}]" if host and ":" in host else host or ""
    return Registry.parse(f"{scheme}://{host}" + ("" if port is None else f":{port}"))


def _bad(registry: Registry, what: str) -> ProtocolError:
    return ProtocolError(f"{registry} names a {what} that is not a usable URL")
