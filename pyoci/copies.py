"""Builds the store of copies of upstream's files from the settings. The operator's credentials for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyoci.config import Settings
from pyoci.config.values import credentials_in
from pyoci.errors import Unauthorized
from pyoci.oci.credentials import Anonymous, Basic, Credentials
from pyoci.oci.registries import EMBEDDED
from pyoci.oci.session import Gateway
from pyoci.store.cache import Cache
from pyoci.store.catalog_repository import CatalogName
from pyoci.store.copies import OperatorLogin, StoredCopies
from pyoci.store.lookup import Rules
from pyoci.store.models import Namespace
from pyoci.store.service import PackageStore

_FILE = "PYOCI_UPSTREAM_STORE_CREDENTIALS"

# Finds what `docker login` has stored for a host and a path below it; None if there is nothing.
FindLogin = Callable[[str, str], Credentials | None]


def store_namespace(settings: Settings) -> Namespace | None:
    """The namespace of the copies; None if none are kept."""
    place = settings.upstream_store
    if place is None:
        return None
    return Namespace.parse(settings.registries.trusted(place.registry), "/".join(place.path))


def stored_copies(
    settings: Settings,
    gateway: Gateway,
    cache: Cache,
    sleep: Callable[[float], None],
    find_login: FindLogin | None = None,
) -> StoredCopies | None:
    """The copies of upstream's files; None if none are kept. `find_login` is asked for the credentials if no
    file has them.
    """
    namespace = store_namespace(settings)
    if namespace is None:
        return None
    file = settings.upstream_store_credentials
    # It asks no other package index, and it alone may write to the namespace.
    store = PackageStore(
        gateway,
        cache=cache,
        events=gateway.events,
        max_versions=0,
        upstream=None,
        rules=Rules(),
        catalog_name=CatalogName(settings.catalog) if settings.catalog else None,
        sleep=sleep,
    )
    login = OperatorLogin(lambda: _credentials(namespace, file, find_login))
    return StoredCopies(store, namespace, login, gateway.events, pause=sleep)


def _credentials(namespace: Namespace, file: Path | None, find_login: FindLogin | None) -> Credentials:
    if file is not None:
        return _in_file(file)
    if find_login is None or namespace.registry is EMBEDDED:
        return Anonymous()
    return find_login(namespace.registry.host, namespace.path) or Anonymous()


def _in_file(file: Path) -> Basic:
    """The credentials in a file. Raises Unauthorized."""
    try:
        return Basic(*credentials_in(file, f"the file of {_FILE}"))
    except ValueError as exc:
        raise Unauthorized(str(exc)) from None
