"""What a request brings: the site that serves it, the place that it points to, and who is calling."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from flask import current_app, request

from pyoci.dist.names import ProjectName
from pyoci.errors import NotFound
from pyoci.events import Events
from pyoci.oci.credentials import Credentials, fingerprint, parse_authorization
from pyoci.oci.references import Registry
from pyoci.oci.short_urls import ShortUrls
from pyoci.store.models import Namespace
from pyoci.web.addresses import Place
from pyoci.web.body import Patience, RequestBody
from pyoci.web.rendered import RenderedPages

if TYPE_CHECKING:
    from pyoci.store.service import PackageStore

EXTENSION = "pyoci"  # the key of the Site in app.extensions


class Registries(Protocol):
    """Which registries may be asked, and by what names."""

    def parse(self, text: str) -> Registry:
        """The registry called `text`. Raises Denied, NotFound, InvalidRequest."""
        ...

    def knows(self, text: str) -> bool:
        """Whether `text` is an alias, or `local`."""
        ...


def _anyone(registry: Registry, environ: dict[str, Any]) -> None:
    """The default door: open."""


def _nothing() -> str | None:
    """The default obstacle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Everything that the web room is given. `max_body` is in bytes; `path` is "" or like "/some/prefix".

    `admit` raises Denied where this connection may not use that registry; `obstacle` tells what keeps this
    server from its work. `redirect` sends plain downloads to
    where the registry redirects. `spool` is the directory that uploads wait in; None is the system's own.
    `key` is that of the callers in the log.
    """

    store: PackageStore
    registries: Registries
    short_urls: ShortUrls = field(default_factory=ShortUrls)
    max_body: int = 50_000_000
    bearer_username: str | None = None
    admit: Callable[[Registry, dict[str, Any]], None] = _anyone
    obstacle: Callable[[], str | None] = _nothing
    events: Events = field(default_factory=Events)
    path: str = ""
    redirect: bool = False
    spool: str | None = None
    patience: Patience = field(default_factory=Patience)
    pages: RenderedPages = field(default_factory=RenderedPages)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, understood: at which registry, at which place, by whom."""

    registry: Registry
    place: Place
    caller: Credentials

    def namespace(self) -> Namespace:
        """The namespace that this place is the root of. Raises NotFound, InvalidRequest."""
        path = self.place.as_root
        if path is None:
            raise NotFound("this is a project's address; files are uploaded to that of its package index")
        return Namespace.parse(self.registry, path)

    def project(self) -> tuple[Namespace, ProjectName]:
        """The project that this place is the page of. Raises NotFound, InvalidRequest."""
        found = self.place.as_project
        if found is None:
            raise NotFound(f"there is no project at this address; expected {self.place.expected}")
        return Namespace.parse(self.registry, found[0]), ProjectName.parse(found[1])


def site() -> Site:
    """The site of the running application."""
    return cast(Site, current_app.extensions[EXTENSION])


def body() -> RequestBody:
    """The body of this request."""
    return cast(RequestBody, request.environ["wsgi.input"])


def locate(path: str) -> Place:
    """The place that a path points to, before anybody is asked. Raises NoRegistry."""
    return Place.read(path, site().registries.knows, site().short_urls)


def visit(path: str) -> Visit:
    """Understand a request for `path`. Raises NotFound, Denied, InvalidRequest, Unauthorized.

    The registry and a keyed hash of the caller are left in the environ under `pyoci.registry` and
    `pyoci.caller`, and the path below the registry under `pyoci.path`, for whoever writes the log line.
    """
    place = locate(path)
    if place.as_root is None and place.as_project is None:
        raise NotFound(f"there is nothing at this address; expected {place.expected}")
    environ = request.environ
    environ["pyoci.path"] = "/".join((*place.segments, *(place.below or ())))
    registry = environ["pyoci.registry"] = site().registries.parse(place.registry)
    site().admit(registry, environ)
    header = request.headers.get("Authorization")
    caller = parse_authorization(header, site().bearer_username)
    environ["pyoci.caller"] = fingerprint(caller, site().key)[:16]
    return Visit(registry, place, caller)
