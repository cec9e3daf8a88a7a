"""Stores and caches with the settings that most tests want."""

from __future__ import annotations

from typing import Any

from pyoci.cache.backend import Backend
from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.names import ProjectName
from pyoci.events import Events
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import Repository
from pyoci.oci.session import Gateway, OCISession
from pyoci.store.cache import Cache
from pyoci.store.lookup import Rules
from pyoci.store.models import Namespace, ProjectPage
from pyoci.store.project import StoredProject
from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness
from pyoci.store.writing.lag import RecentWrites


def make_cache(backend: Backend | None = None, freshness: Freshness | None = None, **settings: Any) -> Cache:
    """A cache of its own, or over a backend that it shares with others."""
    return Cache(backend or MemoryBackend(), freshness or Freshness(), **settings)


def make_store(
    gateway: Gateway, *, cache: Cache | None = None, events: Events | None = None, **settings: Any
) -> PackageStore:
    """A store with a cache of its own, which asks no other package index."""
    defaults = {"max_versions": 1000, "upstream": None, "rules": Rules()}
    return PackageStore(
        gateway, cache=cache or make_cache(), events=events or Events(), **{**defaults, **settings}
    )


def page_of(
    store: PackageStore, namespace: Namespace, name: ProjectName, caller: Credentials, *, fresh: bool = False
) -> ProjectPage:
    """The project's page, from the registry alone."""
    page = store.find(namespace, name, caller, ask_upstream=False, fresh=fresh)
    assert isinstance(page, ProjectPage)
    return page


def make_project(
    session: OCISession, repository: Repository, cache: Cache | None = None, events: Events | None = None
) -> StoredProject:
    """The project hello-world in a repository, as the caller of a session may read it."""
    cache = cache or make_cache()
    return StoredProject(
        session=session,
        repository=repository,
        name=ProjectName.parse("hello-world"),
        caller_key="caller",
        events=events or Events(),
        cache=cache.of(repository),
        writes=RecentWrites(cache),
    )
