"""Remote: a namespace in a registry, or a folder of OCI image layouts, with the credentials to use there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.oci.errors import RegistryNotFound, RegistryNotSupported
from pyoci.oci.references import Repository
from pyoci.oci.registries import EMBEDDED
from pyoci.oci.session import Gateway, OCISession
from pyoci.store import roots, state
from pyoci.store.cache import Cache
from pyoci.store.models import Namespace
from pyoci.store.writing import lag, queue, update


@dataclass(frozen=True, slots=True)
class Remote:
    """`address` is what messages call it: the namespace itself unless it is given. `listed` lists the
    projects in place of the registry.
    """

    gateway: Gateway
    namespace: Namespace
    credentials: Credentials = field(default_factory=Anonymous)
    address: str = ""
    listed: Callable[[], tuple[ProjectName, ...]] | None = None

    def session(self, *, writing: bool = False) -> OCISession:
        """A session of its own for each piece of work, because reading has a deadline."""
        return self.gateway.session(self.namespace.registry, self.credentials, publishing=writing)

    def repository(self, name: ProjectName) -> Repository:
        """The repository of a project. Raises InvalidRequest if its name grows too long."""
        return self.namespace.repository(name)

    def projects(self) -> tuple[ProjectName, ...]:
        """The projects in the registry's list of repositories, sorted, including container images. Raises
        NotFound if there is no list.
        """
        try:
            if self.listed is not None:
                return self.listed()
            names = self.session().repositories()
        except (NotFound, RegistryNotSupported) as exc:
            raise NotFound(f"{self} doesn't list its repositories; name the projects") from exc
        return tuple(sorted(roots.projects_in(self.namespace, names)))

    def tags(self, name: ProjectName) -> tuple[str, ...]:
        """The tags of a project; none if the registry has no such repository."""
        try:
            return self.session().tags(self.repository(name))
        except RegistryNotFound:
            return ()

    def is_beside(self, other: Remote) -> bool:
        """Whether both are in one registry, so that blobs can be mounted from one to the other. Two folders
        are two registries.
        """
        here, there = self.namespace.registry, other.namespace.registry
        return here == there and (here is not EMBEDDED or self.gateway is other.gateway)

    def __str__(self) -> str:
        return self.address or str(self.namespace)


def make_updater(sleep: Callable[[float], None] = time.sleep) -> update.IndexUpdater:
    """An updater of image indexes for a process that shares no cache with a server."""
    cache = Cache(MemoryBackend(), state.Freshness(0.0, 0.0))
    locks = queue.TagLocks(cache.backend.lock)
    return update.IndexUpdater(
        cache.changed, lag.RecentWrites(cache), locks=locks, now=lambda: datetime.now(UTC), sleep=sleep
    )
