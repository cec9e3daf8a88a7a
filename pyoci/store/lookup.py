"""Lookup: finds what is at the address of a project: its page, a root, or the page of another package index.

The files of a project in the registry are never mixed with those of a project of the same name elsewhere.
Another package index is asked only if the registry clearly says that it has no such project. So nobody else
can take over a private name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from pyoci.cache.backend import Position
from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied, NotFound, PyOCIError, RequestEnded
from pyoci.oci.errors import RegistryDenied, RegistryUnauthorized
from pyoci.oci.references import Repository
from pyoci.simple_api.model import Page
from pyoci.store.models import Absence, ForeignPage, Namespace, PackageFile, ProjectPage, Root
from pyoci.store.pages import Pages
from pyoci.store.project import Absent, StoredProject
from pyoci.store.state import fingerprint
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.copies import OFFLINE
from pyoci.upstream.rules import Judgement

# Lists the projects of the namespace that has the same address as a project. It is empty if only namespaces
# below it have projects, and None if there is no such namespace.
ProjectsBelow = Callable[[], tuple[ProjectName, ...] | None]


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
    """When another package index is asked. `private` names are never sent to it. With `on_denied` it is also
    asked if the registry denies access without saying whether the project exists. `tells_others`: services
    besides upstream are told the names of absent projects. In the namespace of its `copies`, and below it,
    upstream isn't asked, callers change nothing, and `judge` says which files they don't get. If it is
    `offline`, errors say so.
    """

    private: Names | None = None
    on_denied: bool = False
    tells_others: bool = False
    copies: Namespace | None = None
    judge: Callable[[Page], Judgement] | None = None
    offline: bool = False

    def holds_copies(self, repository: Repository) -> bool:
        """Whether a repository is in the namespace of the copies, or below it."""
        copies = self.copies
        if copies is None or repository.registry.host != copies.registry.host:
            return False
        return repository.name.startswith(copies.prefix)

    def served(self, repository: Repository, page: ProjectPage) -> ProjectPage:
        """The page without the copies that the rules for upstream's files withhold."""
        judgement = self._judgement(repository, page)
        if judgement is None or not judgement.withholds:
            return page
        names = {each.position: f"{each.file.filename} {each.rule}" for each in judgement.withheld}
        found = page.fingerprint and fingerprint([], page.fingerprint, *names.values())
        files = tuple(file for position, file in enumerate(page.files) if position not in names)
        withheld = tuple(page.files[position] for position in names)
        # A file becomes old enough at some time, so the store has to be asked each time.
        return replace(page, files=files, withheld=page.withheld + withheld, fingerprint=found, validity=None)

    def require_served(self, project: StoredProject, file: PackageFile) -> None:
        """Raises Denied for a copy that the rules for upstream's files withhold."""
        judgement = self._judgement(project.repository, ProjectPage(project.name, (file,)))
        if judgement is not None and judgement.withholds:
            [found] = judgement.withheld
            raise Denied(judgement.sentence(file.filename, found.rule, found.reason))

    def _judgement(self, repository: Repository, page: ProjectPage) -> Judgement | None:
        if self.judge is None or not self.holds_copies(repository):
            return None
        return self.judge(page.as_page(lambda file: file.upstream_url or ""))

    def is_private(self, name: ProjectName) -> bool:
        return self.private is not None and self.private.covers(name.normalized)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Finds pages, here or upstream. One for the process."""

    pages: Pages
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
        """The project's page, from the registry alone if it has the project. Otherwise the root that has the
        same address, or else upstream's page, unless `ask_upstream` is false. With `fresh` the registry is
        asked whatever is remembered.

        Raises the registry's refusal.
        """
        try:
            return self._find(project, projects_below, ask_upstream, fresh)
        except NotFound as exc:
            if not self.rules.offline:
                raise
            raise NotFound(f"{exc.message}; {OFFLINE}") from None

    def _find(
        self, project: StoredProject, projects_below: ProjectsBelow, ask_upstream: bool, fresh: bool
    ) -> ProjectPage | Root | ForeignPage:
        position, access = project.cache.position(), project.cache.access
        ask_upstream = (
            ask_upstream
            and self.upstream is not None
            and not self.rules.is_private(project.name)
            and not self.rules.holds_copies(project.repository)
        )
        if ask_upstream and not fresh and access.is_absent(project.caller_key):
            return self._foreign(project, NotFound(f"there is no project {project.name} here"), fresh=False)
        try:
            return self.rules.served(project.repository, self.pages.page(project, fresh=fresh))
        except PyOCIError as refusal:
            projects = _listed(projects_below, refusal, required=ask_upstream)
            if projects:
                return Root(projects)
            if projects is not None or not (
                ask_upstream and self._counts_as_absent(project, refusal, position)
            ):
                raise
            return self._foreign(project, refusal, fresh=fresh)

    def absence(
        self, project: StoredProject, projects_below: ProjectsBelow, *, fresh: bool = False
    ) -> Absence | None:
        """An Absence if the registry has neither the project nor a root with the same address; None if it has
        one of them. Raises any refusal after which `find` doesn't ask upstream.
        """
        access = project.cache.access
        if fresh or not access.is_absent(project.caller_key):
            position = project.cache.position()
            if not fresh and project.is_proven and access.has_existed():
                return None
            try:
                self.pages.require(project, fresh=fresh)
            except PyOCIError as refusal:
                required = self.upstream is not None or self.rules.tells_others
                if _listed(projects_below, refusal, required=required) is not None:
                    return None
                if not self._counts_as_absent(project, refusal, position):
                    raise
            else:
                return None
        return Absence(access.absence_validity(project.caller_key, math.inf))

    def _counts_as_absent(
        self, project: StoredProject, refusal: PyOCIError, position: Position | None
    ) -> bool:
        """Whether the registry's refusal counts as the answer that it has no such project."""
        access, session = project.cache.access, project.session
        if access.has_existed():
            return False
        if isinstance(refusal, Absent) and refusal.is_conclusive and session.is_accepted(project.repository):
            access.add_absence(project.caller_key, position, session.trusted_seconds(project.repository))
            return True
        return self.rules.on_denied and _may_mean_absent(refusal)

    def _foreign(self, project: StoredProject, refusal: PyOCIError, *, fresh: bool) -> ForeignPage:
        """Upstream's page. If upstream has none either, raises the registry's `refusal`: after a 401 clients
        ask for credentials, and a 404 in its place would reveal that there is no such project.
        """
        assert self.upstream is not None  # find() asks only then
        try:
            page = self.upstream.page(project.name.normalized, fresh=fresh)
        except NotFound:
            raise refusal from None
        return ForeignPage(page, project.cache.access.absence_validity(project.caller_key, page.until))


def _listed(
    projects_below: ProjectsBelow, refusal: PyOCIError, *, required: bool
) -> tuple[ProjectName, ...] | None:
    """The projects of the root with the same address, after the registry's refusal of the project. If the
    list fails, there may be one: its error is raised if the list is `required`, because the name of a
    namespace isn't sent to anyone.
    """
    if not isinstance(refusal, NotFound):
        return None
    try:
        return projects_below()
    except RequestEnded:
        raise
    except PyOCIError:
        if required:
            raise
        return None


def _may_mean_absent(refusal: PyOCIError) -> bool:
    """Whether a refusal may mean that the project is absent: Docker Hub answers 401 for what it doesn't have.
    The refusal of a wrong password doesn't mean that, nor does the 404 of a web server in front of the
    registry.
    """
    if isinstance(refusal, Absent):
        return refusal.is_from_registry
    if isinstance(refusal, RegistryUnauthorized) and refusal.wrong_credentials:
        return False
    return isinstance(refusal, RegistryUnauthorized | RegistryDenied) and refusal.status in {400, 401, 403}
