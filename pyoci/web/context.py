"""The context of a request: the site that serves it, the address that it names, and the caller."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, cast
from urllib.parse import unquote

from flask import current_app, request

from pyoci.distributions.filenames import Version
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound, PyOCIError
from pyoci.events import Events
from pyoci.oci.credentials import Anonymous, Basic, Credentials, fingerprint, parse_authorization
from pyoci.oci.references import Registry
from pyoci.oci.registries import ShortUrls
from pyoci.store.models import Absence, Namespace
from pyoci.store.writing.destination import UploadAddress
from pyoci.web.addresses import OSV, IndexAddress
from pyoci.web.body import QUERIES_BODY, SMALL_BODY, Patience, RequestBody
from pyoci.web.rendering import RenderedPages, WrittenFiles

if TYPE_CHECKING:
    from pyoci.store.service import PackageStore
    from pyoci.upstream.files import UpstreamFiles
    from pyoci.web.osv import Relay

PROBES = frozenset({"/health", "/ready"})
# With one of these as password, the user name may be a token.
_NO_PASSWORDS = frozenset({"", "x-oauth-basic"})
EXTENSION = "pyoci"  # the key of the Site in app.extensions


class KnownRegistries(Protocol):
    """Which registries may be asked, and by what names."""

    def parse(self, text: str) -> Registry:
        """The registry called `text`. Raises Denied, NotFound, InvalidRequest."""
        ...

    def knows(self, text: str) -> bool:
        """Whether `text` is an alias, or `local`."""
        ...


def _admit_all(registry: Registry, environ: dict[str, Any]) -> None:
    """Admit every connection."""


def lend_nothing(registry: Registry, environ: dict[str, Any]) -> Credentials:
    """Every caller brings its own credentials."""
    return Anonymous()


def _always_ready() -> str | None:
    """Always ready."""


def no_rules() -> Hashable:
    """There are no rules, so they never change."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the web package gets from the application. `max_body` is in bytes; `path` is "" or "/a/prefix".

    `admit` raises Denied if this connection may not use that registry. `lend` returns the credentials of a
    request without any, and raises Unauthorized. `not_ready_reason` returns a sentence
    if this server can't work, else None. `redirect`: whether the registry's redirects of plain downloads are
    passed on to clients. `spool` is the directory for the temporary files of uploads; None is the system's.
    `upstream`: whether projects come from another package index, too.
    `upstream_files` serves the files of upstream's pages; without it clients fetch them where the pages say.
    `rules_version` differs after each change of the rules for upstream's pages. `osv` relays questions about
    vulnerabilities. `key` is the key of the hashes that identify callers in the log. `log_user`: whether the
    log has user names, too. `record_publisher`: whether a published file gets its publisher's user name.
    """

    store: PackageStore
    registries: KnownRegistries
    short_urls: ShortUrls = field(default_factory=ShortUrls)
    max_body: int
    bearer_username: str | None = None
    admit: Callable[[Registry, dict[str, Any]], None] = _admit_all
    lend: Callable[[Registry, dict[str, Any]], Credentials] = lend_nothing
    not_ready_reason: Callable[[], str | None] = _always_ready
    events: Events = field(default_factory=Events)
    path: str = ""
    redirect: bool = False
    upstream: bool = False
    upstream_files: UpstreamFiles | None = None
    rules_version: Callable[[], Hashable] = no_rules
    osv: Relay | None = None
    spool: str | None = None
    patience: Patience = field(default_factory=Patience)
    pages: RenderedPages = field(default_factory=RenderedPages)
    written: WrittenFiles = field(default_factory=WrittenFiles)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    log_user: bool = True
    record_publisher: bool = False

    def body_limit(self, method: str, path: str) -> int:
        """The most bytes that a request's body may have: 0 for a probe, `max_body` for an upload."""
        if path in PROBES:
            return 0
        if method == "POST" and f"/{OSV}/" in unquote(path):
            return QUERIES_BODY
        return self.max_body if method == "POST" else SMALL_BODY

    def facts_of(self, caller: Credentials) -> dict[str, str | None]:
        """What the log may say about a caller, as keys of the environ."""
        user = {"pyoci.user": user_of(caller)} if self.log_user else {}
        return {"pyoci.caller": fingerprint(caller, self.key)[:16], **user}

    def registry_of(self, path: str) -> str:
        """The host of the registry that a request for a path needs, "" if it needs none. The path is as the
        request has it: with escapes, and below `self.path`.
        """
        registry = self._registry_at(path)
        return "" if registry is None else registry.host

    def group_of(self, path: str) -> str:
        """The group in which a request for a path waits for a thread. Each listed registry has one; others
        share one, because a caller may name as many of them as they like.
        """
        registry = self._registry_at(path)
        return registry.host if registry is not None and registry.listed else ""

    def _registry_at(self, path: str) -> Registry | None:
        below = unquote(path).removeprefix(self.path).strip("/")
        with suppress(PyOCIError):
            address = IndexAddress.read(below, self.registries.knows, self.short_urls)
            return self.registries.parse(address.registry)
        return None


@dataclass(frozen=True, slots=True)
class ResolvedProject:
    """The project that an address names. `below` is the namespace whose root would have the same address.

    With an `absence` the address is an alias: the registry lacks the project whose page has that address.
    """

    namespace: Namespace
    name: ProjectName
    below: Namespace | None
    absence: Absence | None = None


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """A request with its registry, its address and its caller."""

    registry: Registry
    address: IndexAddress
    caller: Credentials
    fresh: bool  # whether to ask the registry even if the answer is cached

    def namespace(self) -> Namespace:
        """The namespace that this address is the root of. Raises NotFound, InvalidRequest."""
        path = self.address.as_root
        if path is None:
            raise NotFound("this is a project's address; to upload, expected its package index's")
        return Namespace.parse(self.registry, path)

    def project(self) -> tuple[Namespace, ProjectName]:
        """The project whose page is at this address. Raises NotFound, InvalidRequest, and the registry's
        errors if the registry has to decide which of two projects that is.
        """
        project = self.page_project()
        if project.absence is not None:
            self.leave_path(f"{project.namespace.path}/{project.name}")
        return project.namespace, project.name

    def page_project(self, *, json: bool = False) -> ResolvedProject:
        """The project whose page (or legacy JSON, for `json`) is at this address, as the store needs it."""
        return self._resolve(self.address.aliased_projects(for_json=json))

    @staticmethod
    def leave_path(path: str) -> None:
        """Have the log show the path that an alias stands for, instead of the requested path."""
        request.environ["pyoci.path"] = path

    def shadowed(self) -> ResolvedProject | None:
        """The project of the package index above that a client may mean by `simple/+simple/<project>/`."""
        found = self.address.shadowed_project
        return None if found is None else replace(self._project_of(*found), below=self._below(*found))

    def version(self) -> tuple[Self, Version] | None:
        """The request for the project's page and a version, if this address can be that version's page."""
        found = self.address.as_version
        return None if found is None else (replace(self, address=found[0]), found[1])

    def _resolve(self, aliased: tuple[tuple[str, str], ...]) -> ResolvedProject:
        if self.address.as_project is None:
            raise NotFound(f"there is no project at this address; expected {self.address.expected}")
        found = self._project_of(*self.address.as_project)
        for path, name in aliased:
            absence = site().store.absence(
                found.namespace, found.name, self.caller, below=found.below, fresh=self.fresh
            )
            if absence is None:
                break
            if found.absence is not None:
                absence = absence.after(found.absence)
            found = replace(self._project_of(path, name), absence=absence)
        request.environ["pyoci.project"] = str(found.name)
        return found

    def _project_of(self, path: str, name: str) -> ResolvedProject:
        below = None if self.address.below is not None else self._below(path, name)
        return ResolvedProject(Namespace.parse(self.registry, path), ProjectName.parse(name), below)

    def _below(self, path: str, name: str) -> Namespace | None:
        with suppress(InvalidRequest):  # some project names are not valid in a namespace
            return Namespace.parse(self.registry, f"{path}/{name}")
        return None

    def upload_address(self) -> UploadAddress:
        """Where the files of an upload to this address go. Raises NotFound, InvalidRequest."""
        namespace = self.namespace()
        if self.address.below is not None:
            return UploadAddress(namespace)
        above, pages = self.address.aliased_index, []
        for found in filter(None, (self.address.as_project, self.address.aliased_project)):
            with suppress(InvalidRequest):  # a namespace's name may not be valid for a project
                pages.append((Namespace.parse(self.registry, found[0]), ProjectName.parse(found[1])))
        alias_of = None if above is None else Namespace.parse(self.registry, above)
        return UploadAddress(namespace, alias_of, tuple(pages))


def site() -> Site:
    """The site of the running application."""
    return cast(Site, current_app.extensions[EXTENSION])


def body() -> RequestBody:
    """The body of this request."""
    return cast(RequestBody, request.environ["wsgi.input"])


def locate(path: str) -> IndexAddress:
    """The address in a path, without asking any registry. Raises NoRegistry."""
    return IndexAddress.read(path, site().registries.knows, site().short_urls)


def resolve(path: str, *, fresh: bool = False) -> ResolvedRequest:
    """Resolve a request for `path`. Raises NotFound, Denied, InvalidRequest, Unauthorized.

    For the log line, the environ gets the registry as `pyoci.registry`, a keyed hash of the caller as
    `pyoci.caller`, the user name as `pyoci.user`, and the path below the registry as `pyoci.path`.
    """
    address = locate(path)
    if address.as_root is None and address.as_project is None and address.as_version is None:
        raise NotFound(f"there is nothing at this address; expected {address.expected}")
    environ = request.environ
    environ["pyoci.path"] = "/".join((*address.segments, *(address.below or ())))
    registry = environ["pyoci.registry"] = site().registries.parse(address.registry)
    site().admit(registry, environ)
    header = request.headers.get("Authorization")
    caller = parse_authorization(header, site().bearer_username)
    if isinstance(caller, Anonymous):
        caller = site().lend(registry, environ)
    environ |= site().facts_of(caller)
    return ResolvedRequest(registry, address, caller, fresh)


def user_of(caller: Credentials) -> str | None:
    """The user name of Basic credentials, unless it may be a token."""
    if not isinstance(caller, Basic) or caller.password in _NO_PASSWORDS:
        return None
    return caller.username
