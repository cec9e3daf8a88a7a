"""The simple API: roots and pages, and the legacy JSON beside them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote, urljoin

from flask import Blueprint, Response, request

from pyoci.errors import NotFound, PyOCIError
from pyoci.oci.short_urls import DEFAULT
from pyoci.store.models import Absence, ForeignPage, Namespace, ProjectPage, Root
from pyoci.web import answers
from pyoci.web.context import Meant, Visit, locate, site, visit
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
    meant = guest.meant_by_json(fresh=_fresh())
    if _last(request.path.removesuffix("/json")) != meant.name.normalized:
        return answers.moved(f"../{meant.name}/json")
    found = _found(meant, guest)
    if isinstance(found, ForeignPage):
        return answers.page(render_foreign_legacy(found.page), "application/json", origin=UPSTREAM)
    if isinstance(found, Root):
        raise _nothing_of(meant)
    if meant.absence is not None and guest.place.aliased_json is not None:
        beside = f"../../{meant.name}/"  # the page, and all that its links lead to, is in the index above
    there = urljoin(request.base_url, beside)
    return answers.page(render_legacy(found, lambda link: urljoin(there, link)), "application/json")


def _page_or_root(guest: Visit, shape: Representation) -> Response:
    """The page of project `b` in `a`; or, if that is absent and `a/b` has projects, the root of `a/b`; or, if
    there is neither and `b` is an alias, the root of `a`.
    """
    meant, above = guest.meant(fresh=_fresh()), guest.place.aliased_root
    if above is not None and _absence(meant, guest) is not None:
        return _root(Namespace.parse(guest.registry, above), guest, shape)
    found = _found(meant, guest)
    if isinstance(found, Root):
        if meant.absence is not None and above is None:
            raise _nothing_of(meant)  # the namespace's links would lead nowhere from its alias
        return answers.page(render_root(found.projects, shape), shape.value)
    if _last(request.path.rstrip("/")) != meant.name.normalized:
        return answers.moved(f"../{meant.name}/")
    if isinstance(found, ProjectPage):
        return _page(meant.namespace, found, shape)
    return _foreign(found, shape)


def _absence(meant: Meant, guest: Visit) -> Absence | None:
    return site().store.absence(meant.namespace, meant.name, guest.caller, below=meant.below, fresh=_fresh())


def _found(meant: Meant, guest: Visit) -> ProjectPage | Root | ForeignPage:
    """What stands there. Upstream isn't told a name that the index above has."""
    shadowed = guest.shadowed()
    if shadowed is None:
        return _find(meant, guest, outside=guest.place.may_go_upstream)
    try:
        return _find(meant, guest, outside=False)
    except PyOCIError:
        absence = None
        with suppress(PyOCIError):
            absence = _absence(shadowed, guest)
        if absence is None:
            raise
    return _find(replace(meant, absence=absence), guest)


def _find(meant: Meant, guest: Visit, *, outside: bool = True) -> ProjectPage | Root | ForeignPage:
    return site().store.find(
        meant.namespace,
        meant.name,
        guest.caller,
        below=meant.below,
        after=meant.absence,
        outside=outside,
        fresh=_fresh(),
    )


def _nothing_of(meant: Meant) -> NotFound:
    return NotFound(f"there is no project {meant.name} here")


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


def _fresh() -> bool:
    """Whether the registry must be asked again: uv's --refresh says no-cache. pip says max-age=0, always."""
    return bool(request.cache_control.no_cache)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
