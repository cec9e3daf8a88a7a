"""open_index: which registry or server a text names, and the index there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyoci
from pyoci.config import ClientSettings
from pyoci.errors import InvalidRequest, NotFound, ProtocolError
from pyoci.library.credentials import USERNAME, find_credentials, source_environ
from pyoci.library.index import Index
from pyoci.library.registry import RegistryIndex
from pyoci.library.server import SIMPLE, ServerIndex
from pyoci.library.sources import FolderSource, IndexSource
from pyoci.net.adapters import Proxies
from pyoci.net.addresses import Reach
from pyoci.net.messages import Answer, Call
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.oci.references import Registry, shown
from pyoci.oci.registries import DEFAULT, EMBEDDED, Registries, split_address
from pyoci.store.models import Namespace

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LAYOUTS = "oci:"  # and a folder of OCI image layouts
EXPECTED = "expected a registry and a namespace, like ghcr.io/acme, or the URL of a PyOCI server"
_URL = re.compile(r"https?://", re.IGNORECASE)
_ERROR = "x-pyoci"  # the header in which PyOCI names the kind of an error


def open_index(
    address: str,
    credentials: Credentials | None = None,
    *,
    netrc: bool = False,
    environ: Mapping[str, str] | None = None,
    create: bool = False,
) -> Index:
    """Open the package index at `address`: a registry and a namespace (`ghcr.io/acme`,
    `http://127.0.0.1:5000/acme`), a name that PYOCI_INDEXES gives to them, the URL of a PyOCI server, or a
    folder with an OCI image layout for each project (`oci:backup`), which is made with `create`.

    Without `credentials`, those that the user has stored for the host are used: see `find_credentials`. The
    settings of the environment `environ` count, os.environ by default. A URL is asked whether it is a server;
    nothing else is requested. Raises InvalidRequest, NotFound and, for a URL, what asking raises.
    """
    environ = os.environ if environ is None else environ
    settings = ClientSettings.from_environ(environ)
    if address.startswith(LAYOUTS):
        return _layouts(address, settings, create=create)
    target = parse_address(address, settings)
    transport = make_transport(settings, embedded=_embedded(settings) if _is_embedded(target) else None)
    with ExitStack() as opened:
        opened.callback(transport.close)
        if isinstance(target, str):
            target = _at(target, transport, settings.registries)
        caller = credentials
        if caller is None:
            host, path = _place_of(target)
            caller = find_credentials(host, environ, path=path, netrc=netrc)
        opened.pop_all()  # the index closes it
    if isinstance(target, str):
        return ServerIndex(target, caller, transport)
    return RegistryIndex(target, caller, transport, catalog=settings.catalog)


def open_source(
    address: str, *, netrc: bool = False, environ: Mapping[str, str] | None = None
) -> IndexSource | FolderSource:
    """Open what files are imported from: the URL of any package index, or a folder of files. No request is
    sent. Its credentials are PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD, or those stored for its host.
    Raises InvalidRequest, and NotFound if there is no such folder.
    """
    if not _URL.match(address):
        return FolderSource(Path(address))
    return open_index_source(address, netrc=netrc, environ=environ)


def open_index_source(
    address: str,
    credentials: Credentials | None = None,
    *,
    netrc: bool = False,
    environ: Mapping[str, str] | None = None,
) -> IndexSource:
    """The same for a URL alone. `credentials` are used if the environment has none for the source."""
    environ = source_environ(os.environ if environ is None else environ)
    if "@" in address:
        raise InvalidRequest(
            "the address has an @; expected one without user and password; set PYOCI_SOURCE_USERNAME"
            " and PYOCI_SOURCE_PASSWORD instead"
        )
    settings, url = ClientSettings.from_environ(environ), _checked_url(address)
    if credentials is None or environ[USERNAME]:
        credentials = find_credentials(urlsplit(url).netloc, environ, netrc=netrc)
    is_trusted = settings.upstream_file_hosts.covers
    return IndexSource(url, credentials, make_transport(settings), is_trusted=is_trusted)


def parse_address(text: str, settings: ClientSettings) -> Namespace | str:
    """What a text names: a namespace, or a URL that may be that of a server or of a namespace."""
    text = text.strip()
    if "@" in text:
        raise InvalidRequest(
            "the address has an @; expected one without user and password; set PYOCI_USERNAME"
            " and PYOCI_PASSWORD instead"
        )
    if _URL.match(text):
        return _checked_url(text)
    if "/" not in text.rstrip("/"):
        return _named(text.rstrip("/"), settings)
    host = text.partition("/")[0]
    if _is_loopback(host) and host.lower() not in settings.registries.aliases:
        return _checked_url(f"http://{text}")
    return _namespace(text, settings.registries)


def _layouts(address: str, settings: ClientSettings, *, create: bool) -> Index:
    """The index in a folder of OCI image layouts: the embedded registry can be one for any folder."""
    directory = Path(address.removeprefix(LAYOUTS))
    if not create and not directory.is_dir():
        raise NotFound(f"there is no folder {directory}; expected one of OCI image layouts, like oci:backup")
    transport = make_transport(settings, embedded=_registry_in(directory))
    return RegistryIndex(Namespace(EMBEDDED, ""), Anonymous(), transport, f"{LAYOUTS}{directory}")


def make_transport(settings: ClientSettings, *, embedded: WSGIApplication | None = None) -> Transport:
    """The HTTP client. `embedded` is a registry in this process."""
    return Transport(
        embedded=embedded,
        proxies=Proxies(settings.proxies, settings.no_proxy),
        ca_bundle=settings.ca_bundle,
        host_connections=settings.host_connections,
        user_agent=f"pyoci/{pyoci.__version__}",
    )


def _place_of(target: Namespace | str) -> tuple[str, str]:
    """The host that credentials are looked for, and the path below it."""
    if isinstance(target, str):
        return urlsplit(target).netloc, urlsplit(target).path.strip("/")
    return target.registry.host, target.path


def _named(name: str, settings: ClientSettings) -> Namespace:
    """The namespace of a short URL; `simple` is PYOCI_DEFAULT_INDEX."""
    short = settings.short_urls.find(name)
    if short is None:
        known = sorted(settings.short_urls.urls.keys() - {DEFAULT})
        names = f"; PYOCI_INDEXES names {', '.join(known)}" if known else ""
        raise InvalidRequest(f"{shown(name)} is not a package index; {EXPECTED}{names}")
    return _namespace(f"{short.registry}/{'/'.join(short.path)}", settings.registries)


def _namespace(text: str, registries: Registries) -> Namespace:
    """The namespace that a text names. Any registry is allowed: the user has named it."""
    registry, path = split_address(text, registries)
    return Namespace.parse(registries.trusted(registry), path)


def _checked_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise InvalidRequest(f"{shown(text)} has no valid host or port; {EXPECTED}") from None
    if parts.query or parts.fragment or not parts.hostname or not text.isascii() or not text.isprintable():
        raise InvalidRequest(f"{shown(text)} is not the address of a package index; {EXPECTED}")
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}/"


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _is_embedded(target: Namespace | str) -> bool:
    return isinstance(target, Namespace) and target.registry is EMBEDDED


def _embedded(settings: ClientSettings) -> WSGIApplication:
    """The embedded registry over its directory. It asks for no password: whoever may write to the directory
    needs none.
    """
    directory = settings.embedded
    if directory is None or not directory.is_dir():
        raise NotFound(
            f"there is no embedded registry in {directory}; expected PYOCI_EMBEDDED to name its directory"
        )
    return _registry_in(directory)


def _registry_in(directory: Path) -> WSGIApplication:
    from pyoci.embedded import create_registry_app  # loads Flask, which nothing else here needs

    return create_registry_app(directory, htpasswd=None, local_only=False)


def _at(url: str, transport: Transport, registries: Registries) -> Namespace | str:
    """What is at a URL. A PyOCI server answers with a page of the simple API, or with an error that names
    its kind in a header; a registry answers at /v2/.
    """
    call = Call(
        method="GET", url=url, headers={"Accept": SIMPLE}, reach=Reach.LISTED, name=urlsplit(url).netloc
    )
    with transport.shared_deadline():
        answer = transport.document(call, 32 * 1024 * 1024)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        error = answer.headers.get(_ERROR, "NoRegistry")
        if (answer.status == 200 and kind == SIMPLE) or error != "NoRegistry":
            return url
        parts = urlsplit(url)
        registry = registries.trusted(f"{parts.scheme}://{parts.netloc}")
        ping = transport.document(replace(call, url=registry.url(""), headers={}))
    if _is_registry(ping):
        return _checked_namespace(registry, parts.path)
    if answer.status in {401, 403}:  # a proxy in front of a server asks for a password of its own
        return url
    raise ProtocolError(f"{url} is neither a package index nor a registry; {EXPECTED}")


def _is_registry(ping: Answer) -> bool:
    """Whether the answer at /v2/ is that of a registry (OCI distribution specification 1.1, end-1)."""
    if ping.status not in {200, 401, 403}:
        return False
    challenge = ping.headers.get("www-authenticate", "").lower()
    is_json = ping.body.lstrip().startswith(b"{")
    return "docker-distribution-api-version" in ping.headers or challenge.startswith("bearer") or is_json


def _checked_namespace(registry: Registry, path: str) -> Namespace:
    if not path.strip("/"):
        raise InvalidRequest(f"{registry} is a registry without a namespace; expected {registry}/acme")
    return Namespace.parse(registry, path.strip("/"))
