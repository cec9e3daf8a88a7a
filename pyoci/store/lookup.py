"""Lookup: what stands at the address of a project: its page, a root, or the page of another package index.

A project that the registry has is never mixed with one that somebody else has published elsewhere, and what
the registry doesn't say clearly counts as a no: that is what keeps a private name from being taken over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pyoci.cache.backend import Position
from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound, PyOCIError
from pyoci.oci.errors import RegistryDenied, RegistryUnauthorized
from pyoci.store.absences import NegativeCache
from pyoci.store.absent import Absent
from pyoci.store.models import Absence, ForeignPage, ProjectPage, Root
from pyoci.store.pages import Pages
from pyoci.store.project import StoredProject
from pyoci.upstream.client import UpstreamPage

# The projects of the namespace that is spelled like a project.
ProjectsBelow = Callable[[], tuple[ProjectName, ...]]


class Upstream(Protocol):
    """Another package index."""

    def page(self, name: str, *, fresh: bool = False) -> UpstreamPage:
        """The page of a project by its normalised name. Raises NotFound, ProtocolError, Unreachable."""
        ...


class Names(Protocol):
    """Some names of projects."""

    def covers(self, name: str) -> bool:
        """Whether a normalised name is among them."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """When another package index is asked. `private` names are never told to it; `on_denied`: the others are
    also asked for where the registry doesn't tell who asks whether the project is absent or forbidden.
    """

    private: Names | None = None
    on_denied: bool = False

    def is_private(self, name: ProjectName) -> bool:
        """Whether this name stays here."""
        return self.private is not None and self.private.covers(name.normalized)


@dataclass(frozen=True, slots=True)
class Lookup:
    """One for the process."""

    pages: Pages
    absences: NegativeCache
    upstream: Upstream | None = None
    rules: Rules = field(default_factory=Rules)

    def find(
        self,
        project: StoredProject,
        projects_below: ProjectsBelow,
        *,
        ask_upstream: bool = True,
        fresh: bool = False,
    ) -> ProjectPage | Root | ForeignPage:
        """The project's page, from the registry alone if it has it. If not, the root that is spelled like it;
        then upstream's page, unless `ask_upstream` is false. `fresh` asks again whatever is remembered.
        Raises what the registry said.
        """
        position = project.cache.position(project.repository)
        ask_upstream = ask_upstream and self.upstream is not None and not self.rules.is_private(project.name)
        if fresh or not (ask_upstream and self.absences.is_known(project.who, project.repository)):
            try:
                return self.pages.page(project, fresh=fresh)
            except PyOCIError as refusal:
                projects = projects_below() if isinstance(refusal, NotFound) else ()
                if projects:
                    return Root(projects)
                if not (ask_upstream and self._counts_as_absent(project, refusal, position)):
                    raise
                return self._foreign(project, refusal, fresh=fresh)
        return self._foreign(project, NotFound(f"there is no project {project.name} here"), fresh=fresh)

    def absence(
        self, project: StoredProject, projects_below: ProjectsBelow, *, fresh: bool = False
    ) -> Absence | None:
        """The registry's word that it has neither the project nor the root that is spelled like it; None
        where it has one of them. Raises any answer after which upstream would not be asked either.
        """
        who, repository = project.who, project.repository
        if fresh or not self.absences.is_known(who, repository):
            position = project.cache.position(repository)
            if not fresh and project.is_proven and project.cache.has_existed(repository):
                return None
            try:
                self.pages.check(project, self.pages.listed(project, position, fresh=fresh).tags)
            except PyOCIError as refusal:
                if isinstance(refusal, NotFound) and projects_below():
                    return None
                if not self._counts_as_absent(project, refusal, position):
                    raise
            else:
                return None
        return Absence(self.absences.validity(who, repository, math.inf))

    def _counts_as_absent(
        self, project: StoredProject, refusal: PyOCIError, position: Position | None
    ) -> bool:
        """Whether the registry's refusal of the project's page says that it has no such project."""
        repository = project.repository
        if project.cache.has_existed(repository):
            return False
        if isinstance(refusal, Absent) and refusal.is_conclusive and project.session.is_accepted(repository):
            self.absences.add(project.who, repository, position, project.session.trusted_seconds(repository))
            return True
        return self.rules.on_denied and _may_deny(refusal)

    def _foreign(self, project: StoredProject, refusal: PyOCIError, *, fresh: bool) -> ForeignPage:
        """Upstream's page. Where it has none either, the registry's `refusal` stands: after a 401 clients
        come back with credentials, and a 404 in its place would tell that nothing is hidden.
        """
        assert self.upstream is not None  # nothing is elsewhere without it
        try:
            page = self.upstream.page(project.name.normalized, fresh=fresh)
        except NotFound:
            raise refusal from None
        return ForeignPage(page, self.absences.validity(project.who, project.repository, page.until))


def _may_deny(refusal: PyOCIError) -> bool:
    """Whether this is how some registries speak of what they don't have: Docker Hub says 401. A wrong
    password is no such word, nor is the 404 of a web server whose registry is gone.
    """
    if isinstance(refusal, Absent):
        return refusal.is_from_registry
    if isinstance(refusal, RegistryUnauthorized) and refusal.wrong_credentials:
        return False
    return isinstance(refusal, RegistryUnauthorized | RegistryDenied) and refusal.status in {400, 401, 403}
