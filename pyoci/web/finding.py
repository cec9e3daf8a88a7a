"""Finds what is at an address of the simple API: a root, a project's page, or the page of one version."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from pyoci.distributions.filenames import Version
from pyoci.errors import Denied, InvalidRequest, NotFound, PyOCIError, Unauthorized
from pyoci.store.models import Absence, ForeignPage, Namespace, ProjectPage, Root
from pyoci.upstream.client import UpstreamPage
from pyoci.web.context import ResolvedProject, ResolvedRequest, site
from pyoci.web.rendering import REGISTRY, UPSTREAM


@dataclass(frozen=True, slots=True)
class Found:
    """The page of `project`, or of one `version` of it. `resolved` is the request for the project's page."""

    resolved: ResolvedRequest
    project: ResolvedProject
    page: ProjectPage | ForeignPage
    version: Version | None = None

    @property
    def content(self) -> ProjectPage | UpstreamPage:
        """The page, whether it is the registry's or upstream's."""
        return self.page.page if isinstance(self.page, ForeignPage) else self.page

    @property
    def origin(self) -> str:
        """Where the project's files come from, as X-PyOCI-Origin has it."""
        return UPSTREAM if isinstance(self.page, ForeignPage) else REGISTRY

    @property
    def up(self) -> str:
        """The relative path from the page to the project's own."""
        return "" if self.version is None else "../"


def find_page(resolved: ResolvedRequest) -> Found | Root:
    """The page or the root at an address. Raises NotFound, and the errors of the registry.

    `a/b/` is the page of project `b` in `a`. If the registry lacks that project and `a/b` has projects, it is
    the root of `a/b`. If there is neither and `b` is an alias, it is the root of `a`.
    """
    release = _find_version(resolved)
    if release is not None:
        return release
    if resolved.address.as_project is None:
        return _root(resolved.namespace(), resolved)
    project, above = resolved.page_project(), resolved.address.aliased_root
    if above is not None and _absence(project, resolved) is not None:
        resolved.leave_path(above)
        return _root(Namespace.parse(resolved.registry, above), resolved)
    page = _look_up(project, resolved)
    if isinstance(page, Root):
        if project.absence is not None and above is None:
            raise _no_project(project)  # the relative links of a root would be broken at an alias
        return page
    if isinstance(page, ForeignPage) and resolved.version() is not None:
        # A version of a project in the registry takes precedence, so the store has to be asked each time.
        page = replace(page, validity=None)
    return Found(resolved, project, page)


def find_upstream_page(resolved: ResolvedRequest) -> UpstreamPage | None:
    """Upstream's page, if that is what `find_page` shows at this address. Raises the same errors."""
    found = find_page(resolved)
    if isinstance(found, Root) or found.version is not None or not isinstance(found.page, ForeignPage):
        return None
    return found.page.page


def is_absent(resolved: ResolvedRequest) -> bool:
    """Whether the registry has answered that it has nothing at a project's address, so that `find_page` may
    ask upstream for the project. Raises the registry's refusal if that leaves it unclear.
    """
    if resolved.address.as_version is not None or not resolved.address.may_go_upstream:
        return False  # another project's version, or a root, may have the same address
    project, shadowed = resolved.page_project(), resolved.shadowed()
    if _absence(project, resolved) is None:
        return False
    return shadowed is None or _absence(shadowed, resolved) is not None


def find_legacy(resolved: ResolvedRequest) -> Found:
    """The version or project that the legacy JSON at an address describes. Raises the same errors as
    find_page.
    """
    release = _find_version(resolved, json=True)
    if release is not None:
        return release
    project = resolved.page_project(json=True)
    page = _look_up(project, resolved)
    if isinstance(page, Root):
        raise _no_project(project)
    return Found(resolved, project, page)


def _find_version(resolved: ResolvedRequest, *, json: bool = False) -> Found | None:
    """The version whose page is at this address; None if the address belongs to something else.

    Below a namespace, `<project>/<version>/` is also the address of a project, and of a root, in a nested
    namespace. Those take precedence if the registry has one. Upstream is last, and is asked for a version
    only if the address has no other meaning, since the segment before the version may be the name of a
    namespace.
    """
    spelled = resolved.version()
    if spelled is None:
        return None
    above, version = spelled
    ambiguous = resolved.address.as_project is not None
    refusal = _refusal(resolved, json) if ambiguous else None
    if ambiguous and refusal is None:
        return None
    try:
        project = above.page_project(json=json)
        page = (
            _ask_store(replace(project, below=None), above, ask_upstream=False)
            if ambiguous
            else _look_up(project, above)
        )
    except (NotFound, InvalidRequest):
        if not ambiguous or isinstance(refusal, InvalidRequest):
            raise
        return None
    except (Unauthorized, Denied):
        if refusal is None or isinstance(refusal, NotFound | InvalidRequest):
            raise
        return None
    found = _narrowed(page, version)
    if found is None:
        if refusal is not None and not isinstance(refusal, NotFound | InvalidRequest):
            raise refusal
        raise NotFound(f"{project.name} has no version {version} here")
    # A project that takes precedence at this address may be published later, so the store is asked each time.
    return Found(above, project, replace(found, validity=None) if ambiguous else found, version)


def _refusal(resolved: ResolvedRequest, json: bool) -> PyOCIError | None:
    """The error with which the registry refuses the project and the root at this address; None if it shows
    either.
    """
    try:
        _ask_store(resolved.page_project(json=json), resolved, ask_upstream=False)
    except (NotFound, InvalidRequest, Unauthorized, Denied) as refusal:
        return refusal
    return None


def _narrowed(page: ProjectPage | Root | ForeignPage, version: Version) -> ProjectPage | ForeignPage | None:
    """The page with only the files of that version; None if it has none."""
    assert not isinstance(page, Root)  # only projects were looked up
    if isinstance(page, ProjectPage):
        found = page.of_version(version)
        return found if found.files or found.withheld else None
    foreign = page.page.of_version(version)
    return replace(page, page=foreign) if foreign.files or foreign.is_withheld else None


def _look_up(project: ResolvedProject, resolved: ResolvedRequest) -> ProjectPage | Root | ForeignPage:
    """The page or root at this address. Upstream isn't asked for a project that the parent index has."""
    if project.absence is not None:
        resolved.leave_path(f"{project.namespace.path}/{project.name}")
    shadowed = resolved.shadowed()
    if shadowed is None:
        return _ask_store(project, resolved, ask_upstream=_may_go_upstream(project, resolved))
    try:
        return _ask_store(project, resolved, ask_upstream=False)
    except PyOCIError:
        absence = None
        with suppress(PyOCIError):
            absence = _absence(shadowed, resolved)
        if absence is None:
            raise
    return _ask_store(replace(project, absence=absence), resolved, ask_upstream=True)


def _may_go_upstream(project: ResolvedProject, resolved: ResolvedRequest) -> bool:
    """Whether upstream may be asked for the project at this address. If the last segment may be a version or
    a file of another project, it may only if the registry lists a namespace in which it can be a project.
    """
    address = resolved.address
    if not (site().upstream and address.may_be_in_project and project.absence is None):
        return address.may_go_upstream
    return address.may_go_upstream and site().store.catalog.is_in_use(project.namespace, resolved.caller)


def _ask_store(
    project: ResolvedProject, resolved: ResolvedRequest, *, ask_upstream: bool
) -> ProjectPage | Root | ForeignPage:
    return site().store.find(
        project.namespace,
        project.name,
        resolved.caller,
        below=project.below,
        after=project.absence,
        ask_upstream=ask_upstream,
        fresh=resolved.fresh,
    )


def _absence(project: ResolvedProject, resolved: ResolvedRequest) -> Absence | None:
    return site().store.absence(
        project.namespace, project.name, resolved.caller, below=project.below, fresh=resolved.fresh
    )


def _root(namespace: Namespace, resolved: ResolvedRequest) -> Root:
    return site().store.catalog.root(namespace, resolved.caller)


def _no_project(project: ResolvedProject) -> NotFound:
    return NotFound(f"there is no project {project.name} here")
