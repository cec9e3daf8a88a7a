"""The simple API: roots and pages, and the legacy JSON beside them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import quote, urljoin

from flask import Blueprint, Response, request

from pyoci.distributions.filenames import Version
from pyoci.errors import Denied, InvalidRequest, NotFound, PyOCIError, Unauthorized
from pyoci.oci.registries import DEFAULT
from pyoci.store.models import Absence, ForeignPage, Namespace, ProjectPage, Root
from pyoci.web import answers
from pyoci.web.context import ResolvedProject, ResolvedRequest, locate, resolve, site
from pyoci.web.negotiation import Representation, choose
from pyoci.web.rendered import UPSTREAM, Rendered
from pyoci.web.rendering import render_legacy, render_page, render_root
from pyoci.web.warm import may_be_given_again

simple = Blueprint("simple", __name__)


@simple.get("/<path:path>", strict_slashes=False, provide_automatic_options=False)
@simple.get("/<path:path>/", strict_slashes=False, provide_automatic_options=False)
def show(path: str) -> Response:
    """A root or a page, in the representation that the client likes best."""
    if not request.path.endswith("/"):
        locate(path)
        return answers.moved(f"{quote(_last(path), safe='')}/")
    resolved = resolve(path)
    shape = choose(request.headers.get("Accept"), request.args.get("format"))
    release = _release(resolved)
    if release is not None:
        return _release_page(release, shape)
    if resolved.address.as_project is None:
        return _root(resolved.namespace(), resolved, shape)
    return _page_or_root(resolved, shape)


@simple.get("/<path:path>/json", provide_automatic_options=False)
def show_legacy(path: str) -> Response:
    """The legacy JSON of a project or a version. Where only a namespace stands before it, `json` is a project
    itself.
    """
    where = locate(path)
    if where.as_project is None and where.as_version is None:
        return answers.moved("json/")
    return _legacy(resolve(path))


@simple.get("/pypi/<name>/json", provide_automatic_options=False)
def show_pypi(name: str) -> Response:
    """The same where PyPI has it; Dependabot makes this address of one that ends in /simple/."""
    return _legacy(resolve(f"{DEFAULT}/{name}"), f"../../{DEFAULT}/{name}/")


@simple.get("/pypi/<name>/<version>/json", provide_automatic_options=False)
def show_pypi_version(name: str, version: str) -> Response:
    """The same for a version."""
    path = f"{DEFAULT}/{name}/{version}"
    if locate(path).as_version is None:
        raise NotFound(f"{version[:100]!a} is not a version; expected one as PEP 440 has it, like 1.0")
    return _legacy(resolve(path), f"../../../{DEFAULT}/{name}/")


def _legacy(resolved: ResolvedRequest, page: str = "") -> Response:
    """The legacy JSON; `page` leads from its address to the project's page, where the files' links start."""
    release = _release(resolved, json=True)
    if release is not None:
        return _release_legacy(release, page)
    project = resolved.json_project(fresh=_fresh())
    found = _found(project, resolved)
    if isinstance(found, Root):
        raise _nothing_of(project)
    if _last(request.path.removesuffix("/json")) != project.name.normalized:
        return answers.moved(f"../{project.name}/json")
    if project.absence is not None and resolved.address.aliased_json is not None:
        page = f"../../{project.name}/"  # the page, and all that its links lead to, is in the index above
    return _legacy_of(found, project, resolved, page or "./")


def _legacy_of(
    found: ProjectPage | ForeignPage, project: ResolvedProject, resolved: ResolvedRequest, page: str
) -> Response:
    if isinstance(found, ForeignPage):
        return answers.page(render_legacy(found.page), "application/json", origin=UPSTREAM)
    there = urljoin(request.base_url, page)
    summary = site().store.summary(project.namespace, found, resolved.caller)
    return answers.page(render_legacy(found, there, summary), "application/json")


@dataclass(frozen=True, slots=True)
class _Release:
    """A version of a project: the page with its files alone. `above` requests the project's page."""

    above: ResolvedRequest
    project: ResolvedProject
    version: Version
    found: ProjectPage | ForeignPage


def _release(resolved: ResolvedRequest, *, json: bool = False) -> _Release | None:
    """The version whose page is at this address; None where the address means something else.

    Below a namespace, `<project>/<version>/` is spelled like a project, and like a root, in a namespace
    further down. Those come first where the registry has one. Upstream comes last, and is asked for a version
    only at an address that means nothing else: what stands before it may be the name of a namespace.
    """
    spelled = resolved.version()
    if spelled is None:
        return None
    above, version = spelled
    unclear = resolved.address.as_project is not None
    refusal = _refusal(resolved, json) if unclear else None
    if unclear and refusal is None:
        return None
    try:
        project = above.json_project(fresh=_fresh()) if json else above.page_project(fresh=_fresh())
        page = (
            _find(replace(project, below=None), above, ask_upstream=False)
            if unclear
            else _found(project, above)
        )
    except (NotFound, InvalidRequest):
        if not unclear or isinstance(refusal, InvalidRequest):
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
    # Something else may be published that this address means first.
    return _Release(above, project, version, replace(found, validity=None) if unclear else found)


def _refusal(resolved: ResolvedRequest, json: bool) -> PyOCIError | None:
    """Why the registry shows no project and no root at this address; None where it does."""
    try:
        project = resolved.json_project(fresh=_fresh()) if json else resolved.page_project(fresh=_fresh())
        _find(project, resolved, ask_upstream=False)
    except (NotFound, InvalidRequest, Unauthorized, Denied) as refusal:
        return refusal
    return None


def _narrowed(page: ProjectPage | Root | ForeignPage, version: Version) -> ProjectPage | ForeignPage | None:
    """The page with the files of that version; None where it has none."""
    assert not isinstance(page, Root)  # none was looked for
    if isinstance(page, ProjectPage):
        found = page.of_version(version)
        return found if found.files else None
    foreign = page.page.of_version(version)
    return replace(page, page=foreign) if foreign.files else None


def _release_page(release: _Release, shape: Representation) -> Response:
    name, text = request.path.rstrip("/").rsplit("/", 2)[1:]
    if name != release.project.name.normalized:
        return answers.moved(f"../../{release.project.name}/{quote(text, safe='')}/")
    if isinstance(release.found, ProjectPage):
        return _page(release.project.namespace, release.found, shape, release.version)
    return _foreign(release.found, shape, release.version)


def _release_legacy(release: _Release, page: str) -> Response:
    name, text = request.path.removesuffix("/json").rsplit("/", 2)[1:]
    if name != release.project.name.normalized:
        return answers.moved(f"../../{release.project.name}/{quote(text, safe='')}/json")
    if release.project.absence is not None and release.above.address.aliased_json is not None:
        page = f"../../../{release.project.name}/"
    return _legacy_of(release.found, release.project, release.above, page or "../")


def _page_or_root(resolved: ResolvedRequest, shape: Representation) -> Response:
    """The page of project `b` in `a`; or, if that is absent and `a/b` has projects, the root of `a/b`; or, if
    there is neither and `b` is an alias, the root of `a`.
    """
    project, above = resolved.page_project(fresh=_fresh()), resolved.address.aliased_root
    if above is not None and _absence(project, resolved) is not None:
        resolved.leave_path(above)
        return _root(Namespace.parse(resolved.registry, above), resolved, shape)
    found = _found(project, resolved)
    if isinstance(found, Root):
        if project.absence is not None and above is None:
            raise _nothing_of(project)  # the namespace's links would lead nowhere from its alias
        return answers.page(render_root(found.projects, shape), shape.value)
    if _last(request.path.rstrip("/")) != project.name.normalized:
        return answers.moved(f"../{project.name}/")
    if isinstance(found, ProjectPage):
        return _page(project.namespace, found, shape)
    # A version of a project that is published here would come first.
    return _foreign(found if resolved.version() is None else replace(found, validity=None), shape)


def _absence(project: ResolvedProject, resolved: ResolvedRequest) -> Absence | None:
    return site().store.absence(
        project.namespace, project.name, resolved.caller, below=project.below, fresh=_fresh()
    )


def _found(project: ResolvedProject, resolved: ResolvedRequest) -> ProjectPage | Root | ForeignPage:
    """What stands there. Upstream isn't told a name that the index above has."""
    if project.absence is not None:
        resolved.leave_path(f"{project.namespace.path}/{project.name}")
    shadowed = resolved.shadowed()
    if shadowed is None:
        return _find(project, resolved, ask_upstream=resolved.address.may_go_upstream)
    try:
        return _find(project, resolved, ask_upstream=False)
    except PyOCIError:
        absence = None
        with suppress(PyOCIError):
            absence = _absence(shadowed, resolved)
        if absence is None:
            raise
    return _find(replace(project, absence=absence), resolved)


def _find(
    project: ResolvedProject, resolved: ResolvedRequest, *, ask_upstream: bool = True
) -> ProjectPage | Root | ForeignPage:
    return site().store.find(
        project.namespace,
        project.name,
        resolved.caller,
        below=project.below,
        after=project.absence,
        ask_upstream=ask_upstream,
        fresh=_fresh(),
    )


def _nothing_of(project: ResolvedProject) -> NotFound:
    return NotFound(f"there is no project {project.name} here")


def _page(
    namespace: Namespace, page: ProjectPage, shape: Representation, version: Version | None = None
) -> Response:
    """The page of a project, or of one version of it, rendered now or before."""
    compressed = answers.gzip_is_welcome()

    def render() -> Rendered:
        content = render_page(page, shape, "" if version is None else "../")
        return Rendered.of(content, shape.value, compressed=compressed)

    if not page.fingerprint:
        return answers.rendered(render())
    key = (namespace, page.name, version, shape, compressed)
    may_be_given_again(request.environ, page.validity, key, page.fingerprint)
    return answers.rendered(site().pages.get_or_render(key, page.fingerprint, render))


def _foreign(found: ForeignPage, shape: Representation, version: Version | None = None) -> Response:
    """The page that another package index gave. It is the same for all whom the registry has none for."""
    compressed = answers.gzip_is_welcome()
    page = found.page
    key = ("upstream", page.name, version, shape, compressed)

    def render() -> Rendered:
        content = render_page(page, shape)
        return Rendered.of(content, shape.value, compressed=compressed, origin=UPSTREAM)

    request.environ["pyoci.origin"] = UPSTREAM  # for whoever writes the log line
    may_be_given_again(request.environ, found.validity, key, page.fingerprint)
    return answers.rendered(site().pages.get_or_render(key, page.fingerprint, render))


def _root(namespace: Namespace, resolved: ResolvedRequest, shape: Representation) -> Response:
    projects = site().store.projects(namespace, resolved.caller)
    return answers.page(render_root(projects, shape), shape.value)


def _fresh() -> bool:
    """Whether the registry must be asked again: uv's --refresh says no-cache. pip says max-age=0, always."""
    return bool(request.cache_control.no_cache)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
