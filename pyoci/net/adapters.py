"""Adapters: which connections, and which proxy, a call may use."""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # missing in typeshed

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, BaseAdapter, HTTPAdapter
from urllib3.util import Retry, Timeout
from urllib3.util.ssl_ import create_urllib3_context

from pyoci.errors import Denied, Unreachable
from pyoci.net import inprocess, reading
from pyoci.net.addresses import Reach, Resolver, other_port, permitted
from pyoci.net.connections import WatchedHTTPPool, WatchedHTTPSPool, pinned_pools
from pyoci.net.messages import Call

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_NO_RETRIES = Retry(False)
_HOSTS = 64  # pools of each adapter
# URLs that have no credentials, and need no normalisation.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/[!-~]*")
_PLAIN = frozenset({Reach.VOUCHED, Reach.PRIVATE, Reach.LISTED})
_REACHES = {
    "embedded": frozenset({Reach.EMBEDDED}),
    "http": _PLAIN,
    "https": frozenset(Reach) - {Reach.EMBEDDED},
}


@dataclass(frozen=True, slots=True)
class Proxies:
    """The values of HTTP_PROXY, HTTPS_PROXY and NO_PROXY. A proxy's URL may contain a password."""

    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)
    exempt: str = ""

    def for_url(self, url: str) -> dict[str, str]:
        """The proxy for `url`, in the form that requests expects; empty if there is none."""
        scheme, host = urlsplit(url)[:2]
        proxy = self.by_scheme.get(scheme)
        if not proxy or proxy_bypass_environment(host, {"no": self.exempt}) or self._exempts_address(url):
            return {}
        return {scheme: proxy}

    def _exempts_address(self, url: str) -> bool:
        """Whether the URL's host is an address in one of the networks (`10.0.0.0/8`) in NO_PROXY."""
        try:
            address = ip_address(urlsplit(url).hostname or "")
        except ValueError:
            return False
        return any(address in network for network in _networks(self.exempt))


def _networks(exempt: str) -> Iterator[IPv4Network | IPv6Network]:
    for entry in exempt.split(","):
        try:
            yield ip_network(entry.strip(), strict=False)
        except ValueError:
            continue


class _Trust:
    """The certificates of a bundle (a file, or a directory), read when they are first needed. requests would
    read them for each connection, which takes 20 ms of processor time.
    """

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle
        self._guard = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """What all connections share. Raises OSError if the bundle can't be read."""
        with self._guard:
            if self._context is None:
                context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
                kind = "capath" if os.path.isdir(self._bundle) else "cafile"
                context.load_verify_locations(**{kind: self._bundle})
                self._context = context
            return self._context


class _Sent(requests.Response):
    """An answer of which only `raw` is read. The constructor of requests makes a cookie jar, among others."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw


def _pool_key(context: dict[str, Any]) -> Any:
    return context["scheme"], context["host"], context["port"]


class PooledAdapter(HTTPAdapter):
    """requests' adapter over our own pools, which allow one reach."""

    def __init__(self, reach: Reach, resolver: Resolver, connections: int, trust: _Trust) -> None:
        self._pools = pinned_pools(resolver, reach)
        self._trust = trust
        super().__init__(pool_connections=_HOSTS, pool_maxsize=connections)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        url = urlsplit(request.url)
        options = {"ssl_context": self._trust.context()} if url.scheme == "https" else {}
        return {"scheme": url.scheme, "host": url.hostname, "port": url.port}, options

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a request over a pool of urllib3. Only calls through a proxy need what else requests does,
        which takes a tenth of a call's processor time.
        """
        if proxies:
            return super().send(request, stream, timeout, verify, cert, proxies)
        host, options = self.build_connection_pool_key_attributes(request, verify, cert)
        pool = self.poolmanager.connection_from_host(**host, pool_kwargs=options)
        raw = pool.urlopen(
            request.method,
            request.path_url,
            request.body,
            request.headers,
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            timeout=Timeout(connect=timeout[0], read=timeout[1]),
            preload_content=False,
            decode_content=False,
        )
        return _Sent(raw)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """A Transport reads `raw`. requests would also look for cookies and for an encoding."""
        response = requests.Response()
        response.request, response.raw = req, resp
        return response

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context verifies. requests would name the bundle here, so that urllib3 reads it again."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, blocksize=128 * 1024, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools
        # All pools of an adapter have the same options, so their hosts tell them apart.
        self.poolmanager.key_fn_by_scheme = {"http": _pool_key, "https": _pool_key}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("https:"):
            kwargs["proxy_ssl_context"] = self._trust.context()
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": WatchedHTTPPool, "https": WatchedHTTPSPool}
        return manager


class Adapters:
    """One adapter for each reach, so that a call never uses a connection that was opened with a wider reach.
    `connections` is the number that is kept open for each host.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        embedded: WSGIApplication | None,
        proxies: Proxies,
        ca_bundle: str | None,
        connections: int,
        public_port: int,
    ) -> None:
        self._proxies = proxies
        self._public_port = public_port
        self._trust = trust = _Trust(ca_bundle or DEFAULT_CA_BUNDLE_PATH)
        self._by_reach: dict[Reach, BaseAdapter] = {
            reach: PooledAdapter(reach, resolver, connections, trust)
            for reach in Reach
            if reach is not Reach.EMBEDDED
        }
        if embedded is not None:
            self._by_reach[Reach.EMBEDDED] = inprocess.InProcessAdapter(embedded)

    def send(
        self, call: Call, headers: Mapping[str, str], data: Any, timeout: tuple[float, float]
    ) -> reading.Received:
        """Send `call` with these headers and this body; `timeout` is for connecting, and for each read.
        Raises Denied, Unreachable, and the exceptions of the libraries.
        """
        adapter = self._adapter(call)
        proxies = {} if call.reach is Reach.EMBEDDED else self._proxies.for_url(call.url)
        if proxies and (call.reach is Reach.PUBLIC or not _names_permitted_host(call)):
            # The proxy resolves the name, so the address can't be checked here.
            refused = Unreachable if call.reach is Reach.PUBLIC else Denied
            raise refused(f"{call.label} is not allowed through a proxy unless PYOCI_REGISTRIES lists it")
        request = _prepared(call, headers, data)
        sent = adapter.send(request, stream=True, timeout=timeout, proxies=proxies)
        return reading.Received.of(sent.raw)

    def read_certificates(self) -> None:
        """Read the bundle now. If that fails, the first call that needs it tries again."""
        with suppress(OSError):
            self._trust.context()

    def close(self) -> None:
        """Close the connections; later calls open new ones."""
        for adapter in self._by_reach.values():
            adapter.close()

    def _adapter(self, call: Call) -> BaseAdapter:
        """The adapter for `call`. Raises Denied: `embedded:` is only for the embedded registry, http only for
        listed ones.
        """
        scheme = urlsplit(call.url).scheme
        adapter = self._by_reach.get(call.reach)
        if adapter is None or call.reach not in _REACHES.get(scheme, ()):
            raise Denied(
                f"{call.label} may not be requested by {scheme}; expected https, or a registry in"
                " PYOCI_REGISTRIES"
            )
        if call.reach is Reach.PUBLIC and urlsplit(call.url).port not in {None, self._public_port}:
            raise Denied(other_port(call.label))
        return adapter


def _prepared(call: Call, headers: Mapping[str, str], data: Any) -> requests.PreparedRequest:
    request = requests.PreparedRequest()
    if _PLAIN_URL.fullmatch(call.url):
        # `prepare` takes four times as long: it parses the URL, and looks for credentials in it, for cookies
        # and for hooks.
        request.method, request.url = call.method, call.url
        request.prepare_headers(headers)
        request.prepare_body(data, None)
        return request
    request.prepare(call.method, call.url, headers=headers, data=data)
    if call.url.isascii() and call.url.isprintable() and " " not in call.url:
        # requests normalises the query, which may contain a signature.
        request.url = call.url
    return request


def _names_permitted_host(call: Call) -> bool:
    """Whether the URL has a host name, or an address within the call's reach. The proxy itself would connect
    to any address.
    """
    host = urlsplit(call.url).hostname or ""
    try:
        return permitted(ip_address(host.partition("%")[0]), call.reach)
    except ValueError:
        return True
