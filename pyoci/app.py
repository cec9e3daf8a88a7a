"""create_app: builds the application from the settings. All other modules receive plain values."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

import pyoci
from pyoci import request_scope
from pyoci.cache import address, files
from pyoci.cache.backend import Backend
from pyoci.cache.directory import ServerDirectory
from pyoci.config import Settings, WrongSettings
from pyoci.copies import FindLogin, store_namespace, stored_copies
from pyoci.embedded import (
    Describe,
    Htpasswd,
    body_limit,
    create_blueprint,
    create_registry_app,
    identity,
    refusal_for_remote_peer,
)
from pyoci.errors import Denied
from pyoci.events import Events
from pyoci.net.adapters import Proxies
from pyoci.net.bulkheads import Bulkheads
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import Registry
from pyoci.oci.registries import EMBEDDED
from pyoci.oci.session import Gateway
from pyoci.readiness import Directory, Readiness
from pyoci.request_scope import ServerThread
from pyoci.store import cache, lookup, service, state
from pyoci.store.catalog_repository import CatalogName
from pyoci.telemetry.listening import Telemetry, exporter, prometheus_metrics
from pyoci.telemetry.logs import Log
from pyoci.telemetry.requests import watch
from pyoci.upstream.copies import KeptFiles
from pyoci.upstream.files import UpstreamFiles
from pyoci.upstream.filtering import FilteredUpstream
from pyoci.upstream.folder import Folder
from pyoci.upstream.osv import OSV
from pyoci.upstream.osv_dump import OsvDump
from pyoci.upstream.rules_file import Circumstances, RulesFile
from pyoci.upstream.service import Upstream
from pyoci.web import blueprints, context
from pyoci.web.context import lend_nothing
from pyoci.web.osv import Relay

Lend = Callable[[Registry, dict[str, Any]], Credentials]
WORKER = "pyoci.worker"  # the key of the ForWorker in app.extensions
_MEMORY = Path("/dev/shm")  # noqa: S108  # a file system in memory, where there is one


@dataclass(frozen=True, slots=True)
class ForWorker:
    """What the worker needs from the application: where it reports events, the limit in bytes of a request's
    body by method and path, the limit in bytes of all bodies that it may buffer on disk, who ends requests
    (`Bulkheads.tick`), the registry of a request by its path, the group in which it waits for a thread, and
    what to do before the first request (`Transport.prepare`).
    """

    events: Events
    body_limit: Callable[[str, str], int]
    waiting_bodies: int
    tick: Callable[[Iterable[ServerThread], Collection[str]], None]
    registry_of: Callable[[str], str]
    group_of: Callable[[str], str]
    prepare: Callable[[], None]


def create_app(
    settings: Settings,
    log: Log | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    retry_sleep: Callable[[float], None] = request_scope.sleep,
    lend: Lend | None = None,
    find_login: FindLogin | None = None,
) -> Flask:
    """The WSGI application. `sleep` is called before what was written is read back, and between attempts to
    write; `retry_sleep` before a request is repeated. `lend` returns credentials for a request without any,
    `find_login` those of PYOCI_UPSTREAM_STORE. Raises WrongSettings if the embedded registry can't be opened.
    """
    log = _with_warnings(log or Log(settings.log.default, settings.log.rooms), settings)
    telemetry = _telemetry(settings, log)
    events = telemetry.events(log)
    backend = _backend(settings, events)
    htpasswd = _htpasswd(settings)
    transport = _transport(settings, htpasswd, events, retry_sleep)
    gateway = Gateway(transport, ttl=settings.cache_ttl, events=events)
    known = _cache(settings, backend)
    kept = KeptFiles(stored_copies(settings, gateway, known, sleep, find_login), _folder(settings))
    upstream = _upstream(settings, transport, backend, kept, events)
    rules = _filtered(settings, upstream, events)
    store = _store(settings, gateway, known, sleep, rules or upstream, _lookup_rules(settings, rules))
    site = context.Site(
        store=store,
        registries=settings.registries,
        short_urls=settings.short_urls,
        max_body=settings.max_body,
        bearer_username=settings.bearer_username,
        admit=_admission(htpasswd),
        lend=lend or lend_nothing,
        not_ready_reason=Readiness(_directories(settings, backend), events).not_ready_reason,
        events=events,
        path=settings.path,
        redirect=settings.redirect,
        upstream=settings.upstream is not None,
        upstream_files=_upstream_files(settings, transport, kept, backend, events),
        rules_version=rules.version if rules is not None else context.no_rules,
        osv=_osv(settings, gateway, backend, _lookup_rules(settings, rules)),
        log_user=settings.log_user,
        record_publisher=settings.record_publisher,
    )
    app = _flask(settings, htpasswd, events, site.facts_of)
    blueprints.register(app, site)
    app.extensions[WORKER] = _for_worker(settings, site, transport)
    app.wsgi_app = transport.bulkheads.scoped(app.wsgi_app)  # type: ignore[method-assign, assignment]
    watch(app, log, telemetry)
    return app


def _with_warnings(log: Log, settings: Settings) -> Log:
    for warning in settings.warnings:
        log.write(warning, room="config", level="warning")
    return log


def _flask(settings: Settings, htpasswd: Htpasswd | None, events: Events, describe: Describe) -> Flask:
    """Serves the embedded registry at /v2/, if there is one and other URLs than short ones are served."""
    app = Flask("pyoci", static_folder=None)
    if settings.embedded is not None and not settings.short_urls.alone:
        app.register_blueprint(
            create_blueprint(
                settings.embedded, htpasswd=htpasswd, local_only=True, events=events, describe=describe
            )
        )
    return app


def _store(
    settings: Settings,
    gateway: Gateway,
    known: cache.Cache,
    sleep: Callable[[float], None],
    upstream: Upstream | FilteredUpstream | None,
    rules: lookup.Rules,
) -> service.PackageStore:
    return service.PackageStore(
        gateway,
        max_versions=settings.max_versions,
        events=gateway.events,
        upstream=upstream,
        rules=rules,
        catalog_name=CatalogName(settings.catalog) if settings.catalog else None,
        cache=known,
        sleep=sleep,
    )


def _for_worker(settings: Settings, site: context.Site, transport: Transport) -> ForWorker:
    return ForWorker(
        site.events,
        _body_limit(settings, site),
        settings.waiting_bodies // settings.workers,
        transport.bulkheads.tick,
        site.registry_of,
        site.group_of,
        transport.prepare,
    )


def _telemetry(settings: Settings, log: Log) -> Telemetry:
    """Metrics and traces, as configured."""
    otlp, export = None, settings.export
    if export.wanted:
        otlp = exporter(export.endpoint, export.authorization, export.resource, pyoci.__version__, log)
    if not settings.metrics:
        return Telemetry(otlp, threads=settings.threads)
    try:
        directory = ServerDirectory(_MEMORY if os.access(_MEMORY, os.W_OK) else None)
        prometheus = prometheus_metrics(directory.path, log)
    except OSError as exc:
        raise WrongSettings.of_server(f"PYOCI_METRICS: no directory for them: {exc.strerror}") from exc
    return Telemetry(otlp, prometheus, threads=settings.threads, kept=directory)


def _transport(
    settings: Settings, htpasswd: Htpasswd | None, events: Events, sleep: Callable[[float], None]
) -> Transport:
    """The way to registries and upstream."""
    return Transport(
        embedded=_embedded(settings, htpasswd, events),
        proxies=Proxies(settings.proxies, settings.no_proxy),
        ca_bundle=settings.ca_bundle,
        host_connections=settings.host_connections,
        user_agent=f"pyoci/{pyoci.__version__}",
        events=events,
        bulkheads=Bulkheads(settings.threads),
        sleep=sleep,
    )


def _admission(htpasswd: Htpasswd | None) -> Callable[[Registry, dict[str, Any]], None]:
    """The access check of the embedded registry: without an htpasswd file, only local clients may use it."""

    def admit(registry: Registry, environ: dict[str, Any]) -> None:
        refusal = refusal_for_remote_peer(environ) if registry is EMBEDDED and htpasswd is None else None
        if refusal is not None:
            raise Denied(refusal)

    return admit


def _body_limit(settings: Settings, site: context.Site) -> Callable[[str, str], int]:
    has_registry = settings.embedded is not None and not settings.short_urls.alone

    def limit(method: str, path: str) -> int:
        if has_registry and path.startswith("/v2/"):
            return body_limit(method, path)
        return site.body_limit(method, path)

    return limit


def _htpasswd(settings: Settings) -> Htpasswd | None:
    if settings.embedded_htpasswd is None:
        return None
    try:
        return Htpasswd(settings.embedded_htpasswd)
    except ValueError as exc:
        raise WrongSettings.of_server(f"PYOCI_EMBEDDED_HTPASSWD: {exc}") from exc


def _upstream(
    settings: Settings, transport: Transport, backend: Backend, kept: KeptFiles, events: Events
) -> Upstream | None:
    if settings.upstream is None:
        return None
    return Upstream(
        settings.upstream,
        transport,
        backend,
        events=events,
        kept=kept,
        offline=settings.upstream_offline,
        waiting=_waiting(settings),
    )


def _waiting(settings: Settings) -> int:
    """How many threads may wait for upstream, or for OSV: half of them. The rest stay free for the registry's
    packages.
    """
    return max(settings.threads // 2, 1)


def _filtered(settings: Settings, upstream: Upstream | None, events: Events) -> FilteredUpstream | None:
    """Upstream as the rules allow it; None if there are no rules. Logs what is in force."""
    name = next(iter(settings.rule_variables), None)
    if upstream is None or settings.upstream is None:
        return None
    host = settings.upstream.origin[1]
    if name is None:
        events.info("upstream", "no rules are in force", upstream=host)
        return None
    circumstances = Circumstances(
        min_age=settings.upstream_min_age,
        has_malware=settings.osv_dump is not None,
        serves_files=bool(settings.upstream_files),
    )
    malware = None
    try:
        rules = RulesFile(settings.upstream_rules, circumstances, events)
        if settings.osv_dump is not None:
            name = "PYOCI_OSV_DUMP"
            malware = OsvDump(settings.osv_dump, events=events)
    except (ValueError, OSError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise WrongSettings.of_server(f"{name}: {reason}") from exc
    found = FilteredUpstream(upstream, rules, malware, events=events)
    found.log_rules(host)
    return found


def _folder(settings: Settings) -> Folder | None:
    """The folder of upstream's files, if this server serves them. Creates its directory."""
    directory = settings.upstream_files_dir
    if not settings.upstream_files or directory is None:
        return None
    folder = Folder(directory, settings.upstream_files_bytes)
    try:
        folder.make()
    except OSError as exc:
        raise WrongSettings.of_server(
            f"PYOCI_UPSTREAM_FILES_DIR: {exc.strerror}; expected a directory that can be written"
        ) from exc
    return folder


def _upstream_files(
    settings: Settings, transport: Transport, kept: KeptFiles, backend: Backend, events: Events
) -> UpstreamFiles | None:
    """The files of upstream's pages, if this server serves them."""
    if settings.upstream is None or kept.folder is None:
        return None
    return UpstreamFiles(
        settings.upstream,
        transport,
        kept.folder,
        settings.upstream_file_hosts,
        backend=backend,
        events=events,
        copies=kept.copies,
        offline=settings.upstream_offline,
    )


def _lookup_rules(settings: Settings, filtered: FilteredUpstream | None) -> lookup.Rules:
    return lookup.Rules(
        settings.private_projects,
        settings.upstream_on_denied,
        tells_others=bool(settings.osv_url),
        copies=store_namespace(settings),
        judge=None if filtered is None else filtered.judge,
        offline=settings.upstream_offline,
    )


def _osv(settings: Settings, gateway: Gateway, backend: Backend, rules: lookup.Rules) -> Relay | None:
    if not settings.osv_url:
        return None
    service = OSV(
        settings.osv_url, gateway.transport, backend, events=gateway.events, waiting=_waiting(settings)
    )
    return Relay(service, gateway.knows, rules)


def _backend(settings: Settings, events: Events) -> Backend:
    """The cache's backend. A full disk or an unreachable Redis doesn't prevent the start, since either may
    recover.
    """
    try:
        backend = address.open_backend(settings.cache, events, key=settings.cache_key)
        _try_out(backend, events)
    except OSError as exc:
        raise WrongSettings.of_server(
            f"PYOCI_CACHE_URL: no directory for it: {exc.strerror}; expected one that can be written"
        ) from exc
    return backend


def _cache(settings: Settings, backend: Backend) -> cache.Cache:
    home = identity(settings.embedded) if settings.embedded else ""
    return cache.Cache(backend, state.Freshness(settings.cache_ttl, settings.cache_ttl_old), home=home)


def _try_out(backend: Backend, events: Events) -> None:
    """Write to the cache once. Raises OSError if it can never be written to."""
    try:
        for directory in _cache_directories(backend):
            directory.try_out()
    except OSError as exc:
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        events.warning("cache", "the cache can't be written yet", reason=exc.strerror)


def _directories(settings: Settings, backend: Backend) -> tuple[Directory, ...]:
    """The directories that must be writable for this server to be ready."""
    embedded = [] if settings.embedded is None else [Directory("PYOCI_EMBEDDED", settings.embedded)]
    return (*_cache_directories(backend), *embedded)


def _cache_directories(backend: Backend) -> tuple[Directory, ...]:
    if isinstance(backend, files.FileBackend) and backend.directory is not None:
        return (Directory("PYOCI_CACHE_URL", backend.directory, recreated=True),)
    return ()


def _embedded(settings: Settings, htpasswd: Htpasswd | None, events: Events) -> Flask | None:
    """The embedded registry, for calls from within this process. It checks passwords, but not where a call
    comes from.
    """
    if settings.embedded is None:
        return None
    try:
        return create_registry_app(settings.embedded, htpasswd=htpasswd, local_only=False, events=events)
    except OSError as exc:
        raise WrongSettings.of_server(f"PYOCI_EMBEDDED: {settings.embedded}: {exc.strerror}") from exc
