"""Remote: a namespace in a registry, or a folder of OCI image layouts, with the credentials to use there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.oci.errors import RegistryNotFound, RegistryNotSupported
from pyoci.oci.references import Registry, Repository
from pyoci.oci.session import Gateway, OCISession
from pyoci.store.cache import Cache
from pyoci.store.state import Freshness
from pyoci.store.writing.lag import RecentWrites
from pyoci.store.writing.queue import TagLocks
from pyoci.store.writing.update import IndexUpdater


@dataclass(frozen=True, slots=True)
class Remote:
    """`path` is that of the namespace, `acme/python`. A folder of OCI image layouts has the path "": each of
    its layouts is a project.
    """

    gateway: Gateway
    registry: Registry
    path: str
    credentials: Credentials = field(default_factory=Anonymous)

    def session(self, *, writing: bool = False) -> OCISession:
        """A session of its own for each piece of work, because reading has a deadline."""
        return self.gateway.session(self.registry, self.credentials, publishing=writing)

    def repository(self, name: ProjectName) -> Repository:
        """The repository of a project. Raises InvalidRequest if its name grows too long."""
        return Repository.parse(self.registry, self._prefix + name.underscored)

    def projects(self) -> tuple[ProjectName, ...]:
        """The projects by the registry's list of repositories, sorted; container images count, too. Raises
        NotFound where the registry doesn't list its repositories.
        """
        try:
            names = self.session().repositories()
        except (RegistryNotFound, RegistryNotSupported) as exc:
            raise NotFound(f"{self.registry} doesn't list its repositories; name the projects") from exc
        return tuple(sorted(self._projects_in(names)))

    def tags(self, name: ProjectName) -> tuple[str, ...]:
        """The tags of a project; none if the registry has no such repository."""
        try:
            return self.session().tags(self.repository(name))
        except RegistryNotFound:
            return ()

    def is_beside(self, other: Remote) -> bool:
        """Whether both are in one registry, so that blobs can be mounted from one to the other."""
        return self.registry == other.registry and self.gateway is other.gateway

    @property
    def _prefix(self) -> str:
        return f"{self.path}/" if self.path else ""

    def _projects_in(self, repositories: tuple[str, ...]) -> Iterator[ProjectName]:
        for repository in repositories:
            if not repository.startswith(self._prefix):
                continue
            try:
                yield ProjectName.from_underscored(repository.removeprefix(self._prefix))
            except InvalidRequest:  # a deeper namespace, or no name of a project
                continue

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}" if self.path else str(self.registry)


def make_updater(sleep: Callable[[float], None] = time.sleep) -> IndexUpdater:
    """For changes of image indexes in a process of its own, which shares no cache with a server."""
    cache = Cache(MemoryBackend(), Freshness(0.0, 0.0))
    locks = TagLocks(cache.backend.lock)
    return IndexUpdater(
        cache.changed, RecentWrites(cache), locks=locks, now=lambda: datetime.now(UTC), sleep=sleep
    )
