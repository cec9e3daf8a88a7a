"""The simple API: roots and pages, and the legacy JSON beside them."""

from __future__ import annotations

from urllib.parse import quote, urljoin

from flask import Blueprint, Response, request

from pyoci.errors import NotFound
from pyoci.oci.registries import DEFAULT
from pyoci.store.models import ForeignPage, ProjectPage, Root
from pyoci.upstream.client import UpstreamPage
from pyoci.web import answers, finding, negotiation, people, rendering
from pyoci.web.context import ResolvedRequest, locate, resolve, site

simple = Blueprint("simple", __name__)


@simple.get("/<path:path>", strict_slashes=False, provide_automatic_options=False)
@simple.get("/<path:path>/", strict_slashes=False, provide_automatic_options=False)
def show(path: str) -> Response:
    """A root or a page, in the representation that the client prefers. A page with `explain` in the query is
    JSON that says what rules withhold from it, and why.
    """
    if not request.path.endswith("/"):
        locate(path)
        return answers.moved(f"{quote(_last(path), safe='')}/")
    explain = "explain" in request.args
    for_people = people.wanted() and not explain
    if for_people:
        people.refuse_anonymous()
        opened = people.opened_project()
        if opened is not None:
            return opened
    resolved = resolve(path, fresh=_fresh())
    accept = None if for_people else request.headers.get("Accept")
    shape = negotiation.choose(accept, request.args.get("format"))
    found = finding.find_page(resolved)
    if isinstance(found, Root):
        request.environ.pop("pyoci.project", None)
        if for_people:
            return people.root(found, resolved)
        return answers.page(rendering.render_root(found.projects, shape), shape.value)
    redirect = _redirect(found, request.path.rstrip("/"), "/")
    if redirect is not None or explain:
        return redirect or _explained(found)
    return people.project(found) if for_people else _page(found, shape)


@simple.get("/<path:path>/json", provide_automatic_options=False)
def show_legacy(path: str) -> Response:
    """The legacy JSON of a project or a version. If only a namespace precedes it, `json` is the name of a
    project.
    """
    where = locate(path)
    if where.as_project is None and where.as_version is None:
        return answers.moved("json/")
    return _legacy(resolve(path, fresh=_fresh()))


@simple.get("/pypi/<name>/json", provide_automatic_options=False)
def show_pypi(name: str) -> Response:
    """The legacy JSON at the path that PyPI uses. Dependabot derives this address from one that ends in
    /simple/.
    """
    return _legacy(resolve(f"{DEFAULT}/{name}", fresh=_fresh()), f"../../{DEFAULT}/{name}/")


@simple.get("/pypi/<name>/<version>/json", provide_automatic_options=False)
def show_pypi_version(name: str, version: str) -> Response:
    """The legacy JSON of a version at the path that PyPI uses."""
    path = f"{DEFAULT}/{name}/{version}"
    if locate(path).as_version is None:
        raise NotFound(f"{version[:100]!a} is not a version; expected one that PEP 440 allows, like 1.0")
    return _legacy(resolve(path, fresh=_fresh()), f"../../../{DEFAULT}/{name}/")


@simple.get("/pypi/<name>/json/", provide_automatic_options=False)
@simple.get("/pypi/<name>/<version>/json/", provide_automatic_options=False)
def show_pypi_with_slash(name: str, version: str = "") -> Response:
    """python-inspector appends a slash, which PyPI takes as well."""
    return answers.moved("../json")


def _legacy(resolved: ResolvedRequest, page: str = "") -> Response:
    """The legacy JSON. `page` is the relative path from its address to the project's page, where the links to
    files start.
    """
    found = finding.find_legacy(resolved)
    redirect = _redirect(found, request.path.removesuffix("/json"), "/json")
    if redirect is not None:
        return redirect
    project = found.project
    up = "./" if found.version is None else "../"
    if project.absence is not None and found.resolved.address.aliased_json is not None:
        page = f"../{up}../{project.name}/"  # the page and the files that it links to are in the parent index
    base = urljoin(request.base_url, page or up)
    if isinstance(found.page, ForeignPage):
        base = base if site().upstream_files is not None else ""
        content = rendering.render_legacy(found.page.page, base)
        withheld = rendering.withheld(found.page.page)
        answer = answers.page(content, "application/json", rendering.UPSTREAM, withheld)
        return answers.from_upstream(answer, found.page.page)
    summary = site().store.summary(project.namespace, found.page, resolved.caller)
    content = rendering.render_legacy(found.page, base, summary)
    return answers.page(content, "application/json")


def _redirect(found: finding.Found, path: str, ending: str) -> Response | None:
    """A redirect to the project's normalised name; None if `path` ends with that (and the version)."""
    name, normalized = found.project.name, found.project.name.normalized
    if found.version is None:
        return None if _last(path) == normalized else answers.moved(f"../{name}{ending}")
    spelled, version = path.rsplit("/", 2)[1:]
    return None if spelled == normalized else answers.moved(f"../../{name}/{quote(version, safe='')}{ending}")


def _page(found: finding.Found, shape: negotiation.Representation) -> Response:
    """A page, rendered now or earlier. All callers who get upstream's page share its rendering."""
    page, up, foreign = found.content, found.up, isinstance(found.page, ForeignPage)
    if foreign:
        request.environ["pyoci.origin"] = found.origin  # for the log line
    stored = isinstance(page, UpstreamPage) and page.stored
    compressed = answers.gzip_is_welcome()
    proxied = site().upstream_files is not None
    links_to_provenance = proxied if foreign else _has_provenance(page)
    home = urljoin(request.base_url, up or "./") if links_to_provenance else ""
    where = rendering.UPSTREAM if foreign else found.project.namespace

    def render() -> rendering.Rendered:
        sent = rendering.as_sent(page, shape, proxied=proxied)
        return rendering.Rendered.of(
            rendering.render_page(
                page, shape, up, proxied=proxied, home=home, written=site().written, where=where
            )
            if sent is None
            else sent,
            shape.value,
            compressed=compressed,
            origin=found.origin,
            withheld=rendering.withheld(page),
            stored=stored,
        )

    if not page.fingerprint:
        return answers.rendered(render())
    key = (where, page.name, found.version, shape, compressed, stored, home)
    rendered = site().pages.get_or_render(key, page.fingerprint, render)
    return answers.given_again(rendered, key, found)


def _has_provenance(page: ProjectPage | UpstreamPage) -> bool:
    """Whether a file on a page of the registry is a copy with provenance."""
    return isinstance(page, ProjectPage) and any(file.provenance for file in page.files)


def _explained(found: finding.Found) -> Response:
    """A page as JSON, with the reasons for which files are withheld from it."""
    page = found.content
    content = rendering.render_explained(page, found.up, proxied=site().upstream_files is not None)
    media_type, withheld = negotiation.Representation.JSON.value, rendering.withheld(page)
    answer = answers.page(content, media_type, found.origin, withheld)
    if not isinstance(page, UpstreamPage):
        return answer
    request.environ["pyoci.origin"] = found.origin  # for the log line
    return answers.from_upstream(answer, page)


def _fresh() -> bool:
    """Whether the registry must be asked again: no-cache, which uv's --refresh sends. max-age=0 doesn't
    count, because pip always sends it.
    """
    return bool(request.cache_control.no_cache)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
