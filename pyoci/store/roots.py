"""Roots: the projects of a namespace, from the registry's list of repositories, or from GitHub's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

from cachetools import TLRUCache

from pyoci.distributions.names import ProjectName
from pyoci.errors import (
    Denied,
    InvalidRequest,
    NotFound,
    NotSupported,
    PyOCIError,
    RequestEnded,
    Unauthorized,
)
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.oci.errors import RegistryNotFound, RegistryNotSupported, RegistryRefused
from pyoci.oci.references import Registry
from pyoci.oci.session import Gateway, OCISession
from pyoci.single_flight import SingleFlight
from pyoci.store.cache import Cache
from pyoci.store.models import Namespace

_KNOWN = 16 * 1024 * 1024  # bytes, roughly, of the names that one process remembers
_NAME = 150  # bytes of one name
_SECONDS = 40.0  # to wait for a list that another request is reading, which takes at most 30

# How registries answer that don't list their repositories, or not to this caller.
_HAS_NO_LIST = (NotFound, NotSupported, Unauthorized, Denied, RegistryRefused)

_Names = tuple[frozenset[str], float]  # the names in a list, and until when these are valid


class Roots:
    """Finds the projects of namespaces. One for the process.

    If a registry sorts its list and can begin it after any name, one short page of it shows whether a
    namespace has anything in it. zot can begin only after an existing name and returns an empty page for
    others; some registries ignore the name. For those the whole list is read, and remembered for its caller.
    """

    def __init__(
        self, gateway: Gateway, cache: Cache, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gateway = gateway
        self._cache = cache
        self._clock = clock
        self._flights = SingleFlight()
        self._guard = threading.Lock()
        self._known: TLRUCache[tuple[str, str], _Names] = TLRUCache(
            _KNOWN,
            ttu=lambda _key, known, _now: known[1],
            timer=clock,
            getsizeof=lambda known: 500 + _NAME * len(known[0]),
        )

    def projects(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...]:
        """The projects of a namespace, sorted. Raises NotFound if the registry lists no repositories."""
        session = self._gateway.session(namespace.registry, caller)
        try:
            names = session.repositories()
        except (RegistryNotFound, RegistryNotSupported) as exc:
            raise NotFound(
                f"{namespace.registry} doesn't list its repositories; ask for a project by name"
            ) from exc
        return tuple(sorted(projects_in(namespace, names)))

    def is_at_github(self, namespace: Namespace) -> bool:
        """Whether GitHub knows the projects of a namespace."""
        return self._gateway.github.knows(namespace.registry)

    def github_projects(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...]:
        """The projects of a namespace in GitHub's list, sorted. It is remembered for its caller. Raises
        Unauthorized for an anonymous caller, and NotFound if GitHub gives no list.
        """
        registry, owner = namespace.registry, namespace.path.partition("/")[0]
        read = partial(self._gateway.github.packages, registry, owner, caller)
        try:
            names = self._remembered(f"github {registry.origin} {owner}", caller, read)
        except RequestEnded:
            raise
        except PyOCIError as exc:
            if isinstance(exc, Unauthorized) and isinstance(caller, Anonymous):
                raise
            raise NotFound(
                f"{exc.message}; GitHub lists packages for classic tokens with read:packages"
            ) from exc
        return tuple(sorted(projects_in(namespace, (f"{owner}/{name}" for name in names))))

    def projects_if_in_use(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...] | None:
        """The projects of a namespace; None if nothing is in it, or if the registry doesn't list its
        repositories to this caller. The whole list is read only if the namespace is in use: pip also asks for
        every dependency that is on PyPI, and that must stay cheap. Raises the error of a list that fails.
        """
        try:
            return self.projects(namespace, caller) if self.is_in_use(namespace, caller) else None
        except _HAS_NO_LIST:
            return None

    def is_in_use(self, namespace: Namespace, caller: Credentials, *, fresh: bool = False) -> bool:
        """Whether the registry lists anything in a namespace. With `fresh` nothing that is remembered is
        used. Raises the registry's refusal.
        """
        session, prefix = self._gateway.session(namespace.registry, caller), namespace.prefix
        names = session.repositories_after(prefix)
        if any(name.startswith(prefix) for name in names):
            return True
        if _follow(names, prefix):
            return False
        return namespace.path in self._namespaces(session, namespace.registry, caller, fresh=fresh)

    def _namespaces(
        self, session: OCISession, registry: Registry, caller: Credentials, *, fresh: bool
    ) -> frozenset[str]:
        """Every namespace that is in use, from the whole list of repositories."""

        def read() -> Iterator[str]:
            return (path for name in session.repositories() for path in _paths_above(name))

        return self._remembered(registry.origin, caller, read, fresh=fresh)

    def _remembered(
        self, what: str, caller: Credentials, read: Callable[[], Iterable[str]], *, fresh: bool = False
    ) -> frozenset[str]:
        """What `read` returns, remembered for the caller. If several requests of one caller want it at the
        same time, one of them reads it. With `fresh` nothing that is remembered is used.
        """
        who = self._cache.caller_key(caller)
        key = (what, who)
        with self._guard:
            known = None if fresh else self._known.get(key)
        if known is not None:
            return known[0]

        def read_now() -> frozenset[str]:
            until = self._clock() + self._cache.freshness.ttl
            found = frozenset(read())
            with self._guard, suppress(ValueError):  # it is too large to be remembered
                self._known[key] = (found, until)
            return found

        return self._flights.run((fresh, *key), who, read_now, _SECONDS)


def _follow(names: tuple[str, ...], name: str) -> bool:
    """Whether a list of repositories can be the part after `name`: it isn't empty, has no name before
    `name`, and is sorted by characters or by segments.
    """
    if not names or min(names) < name:
        return False
    return list(names) in (sorted(names), sorted(names, key=lambda each: each.split("/")))


def _paths_above(repository: str) -> Iterator[str]:
    """The namespaces that a repository is in."""
    segments = repository.split("/")
    return ("/".join(segments[:count]) for count in range(1, len(segments)))


def projects_in(namespace: Namespace, repositories: Iterable[str]) -> Iterator[ProjectName]:
    """The projects of a namespace among some repositories. A repository deeper in the path belongs to
    another namespace.
    """
    prefix = namespace.prefix
    for repository in repositories:
        if not repository.startswith(prefix):
            continue
        try:
            yield ProjectName.from_underscored(repository.removeprefix(prefix))
        except InvalidRequest:
            continue
