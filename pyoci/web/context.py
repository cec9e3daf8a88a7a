"""What a request brings: the site that serves it, the place that it points to, and who is calling."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from flask import current_app, request

from pyoci.distributions.filenames import Version
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound
from pyoci.events import Events
from pyoci.oci.credentials import Credentials, fingerprint, parse_authorization
from pyoci.oci.references import Registry
from pyoci.oci.short_urls import ShortUrls
from pyoci.store.destination import UploadAddress
from pyoci.store.models import Absence, Namespace
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
class Meant:
    """The project that an address means, and the namespace `below` that is spelled like its page. With an
    `absence` the address is an alias: the registry lacks the project that it is spelled like.
    """

    namespace: Namespace
    name: ProjectName
    below: Namespace | None
    absence: Absence | None = None


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
        """The project that this place is the page of. Raises NotFound, InvalidRequest, and what the registry
        says where it has to be asked which of two projects is meant.
        """
        meant = self.meant()
        if meant.absence is not None:
            self.leave_path(f"{meant.namespace.path}/{meant.name}")
        return meant.namespace, meant.name

    def meant(self, *, fresh: bool = False) -> Meant:
        """The same, and what else the store has to know of this place to find its page."""
        return self._meant(self.place.aliased_project, fresh)

    def meant_by_json(self, *, fresh: bool = False) -> Meant:
        """The same for the legacy JSON of this place."""
        return self._meant(self.place.aliased_project or self.place.aliased_json, fresh)

    @staticmethod
    def leave_path(path: str) -> None:
        """Leave the path that an alias means for whoever writes the log line, in place of that asked for."""
        request.environ["pyoci.path"] = path

    def shadowed(self) -> Meant | None:
        """The project above that a client may have in mind at `simple/+simple/<project>/`."""
        found = self.place.shadowed_project
        return None if found is None else replace(self._project_of(*found), below=self._below(*found))

    def version(self) -> tuple[Self, Version] | None:
        """The visit to the project's page, and a version, where this place can be that version's page."""
        found = self.place.as_version
        return None if found is None else (replace(self, place=found[0]), found[1])

    def _meant(self, aliased: tuple[str, str] | None, fresh: bool) -> Meant:
        if self.place.as_project is None:
            raise NotFound(f"there is no project at this address; expected {self.place.expected}")
        spelled = self._project_of(*self.place.as_project)
        if aliased is None:
            return spelled
        absence = site().store.absence(
            spelled.namespace, spelled.name, self.caller, below=spelled.below, fresh=fresh
        )
        return spelled if absence is None else replace(self._project_of(*aliased), absence=absence)

    def _project_of(self, path: str, name: str) -> Meant:
        below = None if self.place.below is not None else self._below(path, name)
        return Meant(Namespace.parse(self.registry, path), ProjectName.parse(name), below)

    def _below(self, path: str, name: str) -> Namespace | None:
        with suppress(InvalidRequest):  # some names of projects can't be a namespace
            return Namespace.parse(self.registry, f"{path}/{name}")
        return None

    def address(self) -> UploadAddress:
        """Where an upload to this place is to go. Raises NotFound, InvalidRequest."""
        namespace = self.namespace()
        if self.place.below is not None:
            return UploadAddress(namespace)
        above, pages = self.place.aliased_index, []
        for found in filter(None, (self.place.as_project, self.place.aliased_project)):
            with suppress(InvalidRequest):  # many names of namespaces are no names of projects
                pages.append((Namespace.parse(self.registry, found[0]), ProjectName.parse(found[1])))
        alias_of = None if above is None else Namespace.parse(self.registry, above)
        return UploadAddress(namespace, alias_of, tuple(pages))


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
    if place.as_root is None and place.as_project is None and place.as_version is None:
        raise NotFound(f"there is nothing at this address; expected {place.expected}")
    environ = request.environ
    environ["pyoci.path"] = "/".join((*place.segments, *(place.below or ())))
    registry = environ["pyoci.registry"] = site().registries.parse(place.registry)
    site().admit(registry, environ)
    header = request.headers.get("Authorization")
    caller = parse_authorization(header, site().bearer_username)
    environ["pyoci.caller"] = fingerprint(caller, site().key)[:16]
    return Visit(registry, place, caller)
