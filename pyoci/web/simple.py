"""The simple API: roots and pages, and the legacy JSON beside them."""

from __future__ import annotations

from urllib.parse import quote, urljoin

from flask import Blueprint, Response, request

from pyoci.oci.short_urls import DEFAULT
from pyoci.store.models import ForeignPage, Namespace, ProjectPage, Root
from pyoci.web import answers
from pyoci.web.context import Visit, locate, site, visit
from pyoci.web.foreign import render_foreign, render_foreign_legacy
from pyoci.web.legacy import render_legacy
from pyoci.web.negotiation import Representation, choose
from pyoci.web.rendered import UPSTREAM, Rendered
from pyoci.web.rendering import render_page, render_root
from pyoci.web.warm import may_be_given_again

simple = Blueprint("simple", __name__)


@simple.get("/<path:place>", strict_slashes=False, provide_automatic_options=False)
@simple.get("/<path:place>/", strict_slashes=False, provide_automatic_options=False)
def show(place: str) -> Response:
    """A root or a page, in the representation that the client likes best."""
    if not request.path.endswith("/"):
        locate(place)
        return answers.moved(f"{quote(_last(place), safe='')}/")
    guest = visit(place)
    shape = choose(request.headers.get("Accept"), request.args.get("format"))
    if guest.place.as_project is None:
        return _root(guest.namespace(), guest, shape)
    return _page_or_root(guest, shape)


@simple.get("/<path:place>/json", provide_automatic_options=False)
def show_legacy(place: str) -> Response:
    """The legacy JSON of one project. Where only a namespace stands before it, `json` is a project itself."""
    if locate(place).as_project is None:
        return answers.moved("json/")
    return _legacy(visit(place), "./")


@simple.get("/pypi/<name>/json", provide_automatic_options=False)
def show_pypi(name: str) -> Response:
    """The same where PyPI has it; Dependabot makes this address of one that ends in /simple/."""
    return _legacy(visit(f"{DEFAULT}/{name}"), f"../../{DEFAULT}/{name}/")


def _legacy(guest: Visit, beside: str) -> Response:
    """The legacy JSON; `beside` leads from its address to the page, which the files' links start from."""
    namespace, name = guest.project()
    if _last(request.path.removesuffix("/json")) != name.normalized:
        return answers.moved(f"../{name}/json")
    found = site().store.find(namespace, name, guest.caller, fresh=_fresh())
    if isinstance(found, ForeignPage):
        return answers.page(render_foreign_legacy(found.page), "application/json", origin=UPSTREAM)
    assert isinstance(found, ProjectPage)  # a root was not asked for
    there = urljoin(request.base_url, beside)
    return answers.page(render_legacy(found, lambda link: urljoin(there, link)), "application/json")


def _page_or_root(guest: Visit, shape: Representation) -> Response:
    """The page of project `b` in `a`; or, if that is absent and `a/b` has projects, the root of `a/b`."""
    namespace, name = guest.project()
    found = site().store.find(namespace, name, guest.caller, below=_below(guest), fresh=_fresh())
    if isinstance(found, Root):
        return answers.page(render_root(found.projects, shape), shape.value)
    if _last(request.path.rstrip("/")) != name.normalized:
        return answers.moved(f"../{name}/")
    return _page(namespace, found, shape) if isinstance(found, ProjectPage) else _foreign(found, shape)


def _page(namespace: Namespace, page: ProjectPage, shape: Representation) -> Response:
    """The page, rendered now or before."""
    compressed = answers.gzip_is_welcome()

    def render() -> Rendered:
        return Rendered.of(render_page(page, shape), shape.value, compressed=compressed)

    if not page.state:
        return answers.rendered(render())
    key = (namespace, page.name, shape, compressed)
    may_be_given_again(request.environ, page.ticket, key, page.state)
    return answers.rendered(site().pages.made(key, page.state, render))


def _foreign(found: ForeignPage, shape: Representation) -> Response:
    """The page that another package index gave. It is the same for all whom the registry has none for."""
    compressed = answers.gzip_is_welcome()
    page = found.page
    key = ("upstream", page.name, shape, compressed)

    def render() -> Rendered:
        content = render_foreign(page, shape)
        return Rendered.of(content, shape.value, compressed=compressed, origin=UPSTREAM)

    request.environ["pyoci.origin"] = UPSTREAM  # for whoever writes the log line
    may_be_given_again(request.environ, found.ticket, key, page.state)
    return answers.rendered(site().pages.made(key, page.state, render))


def _root(namespace: Namespace, guest: Visit, shape: Representation) -> Response:
    projects = site().store.projects(namespace, guest.caller)
    return answers.page(render_root(projects, shape), shape.value)


def _below(guest: Visit) -> Namespace | None:
    """The namespace that is spelled like this page; None where it can't be one."""
    return None if guest.place.as_root is None else guest.namespace()


def _fresh() -> bool:
    """Whether the registry must be asked again: uv's --refresh says no-cache. pip says max-age=0, always."""
    return bool(request.cache_control.no_cache)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
