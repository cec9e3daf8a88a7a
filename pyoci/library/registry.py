"""RegistryIndex: a package index straight in a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.names import ProjectName
from pyoci.events import Events
from pyoci.library.index import Index, Progress
from pyoci.library.models import Explanation, File, Project
from pyoci.library.uploads import LocalFile
from pyoci.maintenance.parallel import Turns
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Credentials
from pyoci.oci.session import Gateway
from pyoci.store import cache, lookup, service, state
from pyoci.store.catalog_repository import CatalogName
from pyoci.store.models import Namespace, ProjectPage

_TOKEN_SECONDS = 60.0  # for which a registry's token is used again


class RegistryIndex(Index):
    """A namespace of a registry. `store`, `gateway` and `caller` are for operations that aren't methods.

    `turns` is for those that publish many files: a write is read back after a pause, and others work in it.
    """

    kind = "registry"

    def __init__(
        self,
        namespace: Namespace,
        caller: Credentials,
        transport: Transport,
        address: str = "",
        turns: Turns | None = None,
        catalog: str = "",
    ) -> None:
        """`address` is what messages call the index: the namespace itself unless it is given. `catalog` is
        the name of the catalogue repository, "" if there is none.
        """
        self._address = address or str(namespace)
        self.namespace = namespace
        self.caller = caller
        self.transport = transport
        self.gateway = Gateway(transport, ttl=_TOKEN_SECONDS)
        self.turns = turns or Turns()
        self.has_catalog = bool(catalog)
        self.store = service.PackageStore(
            self.gateway,
            cache=cache.Cache(MemoryBackend(), state.Freshness(_TOKEN_SECONDS, _TOKEN_SECONDS)),
            events=Events(),
            max_versions=0,
            upstream=None,
            rules=lookup.Rules(),
            catalog_name=CatalogName(catalog) if catalog else None,
            sleep=self.turns.sleep,
        )

    @property
    def address(self) -> str:
        return self._address

    def projects(self) -> tuple[str, ...]:
        return tuple(name.normalized for name in self.store.projects(self.namespace, self.caller))

    def project(self, name: str) -> Project:
        return Project.stored(self._page(name, fresh=True))

    def explain(self, name: str) -> Explanation:
        return Explanation(self.project(name), "registry")

    def summary(self, project: Project) -> str:
        return self.store.summary(self.namespace, self._page(project.name, fresh=False), self.caller)

    def labels(self, file: File) -> dict[str, str] | None:
        name = ProjectName.parse(file.project)
        return self.store.labels(self.namespace, name, file.filename, self.caller)

    @contextmanager
    def open_file(self, file: File) -> Iterator[Iterator[bytes]]:
        name, sha256 = ProjectName.parse(file.project), file.sha256 or ""
        with closing(self.store.open(self.namespace, name, file.filename, self.caller, sha256=sha256)) as it:
            yield iter(it)

    def publish(self, path: Path, progress: Progress | None = None, *, attested: bool = False) -> File:
        with LocalFile(path, progress, attested=attested) as form:
            published = self.store.publish(self.namespace, form, self.caller)
        return File.stored(published.file.distribution.name.normalized, published.file)

    def yank(self, project: str, target: str, reason: str = "") -> None:
        self.store.yank(self.namespace, ProjectName.parse(project), target, reason, self.caller)

    def unyank(self, project: str, target: str) -> None:
        self.store.yank(self.namespace, ProjectName.parse(project), target, None, self.caller)

    def set_status(self, project: str, status: str, reason: str = "") -> None:
        self.store.set_status(self.namespace, ProjectName.parse(project), status, reason, self.caller)

    def delete(self, project: str, target: str) -> None:
        self.store.delete(self.namespace, ProjectName.parse(project), target, self.caller)

    def _page(self, name: str, *, fresh: bool) -> ProjectPage:
        page = self.store.find(
            self.namespace, ProjectName.parse(name), self.caller, ask_upstream=False, fresh=fresh
        )
        assert isinstance(page, ProjectPage)  # without `below` and upstream there is nothing else
        return page

    def close(self) -> None:
        self.transport.close()
