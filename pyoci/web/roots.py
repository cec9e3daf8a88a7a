"""The page of a namespace for people: its projects, with what is known of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice

from cachetools import TTLCache

from pyoci.distributions.names import ProjectName
from pyoci.oci.credentials import Credentials, fingerprint
from pyoci.pages import catalogue, frame
from pyoci.store.catalog import SUMMARIES
from pyoci.store.models import ListSource, Namespace, ProjectSummary, Root
from pyoci.web.context import ResolvedRequest, site

_REMEMBERED = 20_000  # summaries in one process
_TTL = 60.0  # seconds, as long as a proof of reading
_SECONDS = 3.0  # after which no more projects are asked about
_SOURCES = {
    ListSource.CATALOG: "listed by the registry",
    ListSource.GITHUB: "listed by GitHub",
    ListSource.REPOSITORY: "listed by the catalogue repository",
}


class _Unknown:
    """Stands for a summary that isn't remembered."""


_UNKNOWN = _Unknown()
_Key = tuple[str, Namespace, ProjectName]


class Summaries:
    """What each caller was told of the projects of a list. One for the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._known: TTLCache[_Key, ProjectSummary | None] = TTLCache(_REMEMBERED, _TTL, timer=clock)

    def of(
        self, root: Root, shown: Sequence[ProjectName], caller: Credentials
    ) -> dict[ProjectName, ProjectSummary | None]:
        """What is known of the projects of a root. The store is asked about those that are `shown` and aren't
        known, for some seconds. None: the repository holds container images alone.
        """
        assert root.namespace is not None
        namespace = root.namespace
        who, begun = fingerprint(caller, site().key), self._clock()
        known: dict[ProjectName, ProjectSummary | None] = {}
        with self._guard:
            for name in root.projects:
                remembered = self._known.get((who, namespace, name), _UNKNOWN)
                if not isinstance(remembered, _Unknown):
                    known[name] = remembered
        unknown = iter([name for name in shown if name not in known])
        while asked := list(islice(unknown, SUMMARIES)):
            found = dict(site().store.catalog.summaries(namespace, asked, caller))
            known |= found
            with self._guard:
                self._known.update({(who, namespace, name): summary for name, summary in found.items()})
            if self._clock() - begun > _SECONDS:
                break
        return known


def described(
    root: Root, resolved: ResolvedRequest, search: catalogue.Search, summaries: Summaries
) -> list[catalogue.Listed]:
    """The projects of a root. Sorted by date or searched, a list needs the summaries of all; else only those
    that its page shows are asked for.
    """
    if root.namespace is None:
        return [catalogue.Listed(name.normalized) for name in root.projects]
    shown: Sequence[ProjectName] = root.projects
    if not search.text and search.sort == "name":
        shown, _, _ = frame.page_of(shown, search.number, catalogue.ON_A_PAGE)
    known = summaries.of(root, shown, resolved.caller)
    images = {name for name, summary in known.items() if summary is None}
    return [_listed(name, known.get(name)) for name in root.projects if name not in images]


def source_of(root: Root) -> str:
    """Where the list comes from, as visitors read it."""
    return _SOURCES[root.source] + (", which may be incomplete" if root.may_be_incomplete else "")


def _listed(name: ProjectName, summary: ProjectSummary | None) -> catalogue.Listed:
    if summary is None:
        return catalogue.Listed(name.normalized)
    released = "" if summary.released is None else summary.released.date().isoformat()
    return catalogue.Listed(name.normalized, summary.summary, summary.version, released)
