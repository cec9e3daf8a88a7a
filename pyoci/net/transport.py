"""Transport: the road to registries. Every call of the process goes through one of these.

It keeps connections for as long as the process lives and nothing of a caller: no cookie, no netrc, no
redirect followed. Foreign exceptions end here, as Unreachable, ProtocolError or Denied.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it
from weakref import WeakValueDictionary

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from pyoci.errors import Denied, ProtocolError, Unreachable
from pyoci.net.addresses import Reach, Resolver
from pyoci.net.connections import (
    CONNECT_SECONDS,
    STALL_SECONDS,
    Watch,
    WatchedHTTPPool,
    WatchedHTTPSPool,
    pinned_pools,
    watched,
)
from pyoci.net.inprocess import InProcessAdapter
from pyoci.net.messages import Answer, Call, Stream

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

DOCUMENT_SECONDS = 10.0  # for a call that moves a document, its retries included
UPLOAD_ANSWER_SECONDS = 300.0  # from the last byte of a blob to the registry's answer
DOCUMENT_LIMIT = 4 * 1024 * 1024  # bytes; what the OCI distribution specification asks registries to take
_ATTEMPTS = 3
_HOSTS = 64  # pools kept for each reach
_BUSY = frozenset({500, 502, 503, 504})

# What requests and urllib3 raise, most telling first. A test proves that the table is total.
_TIMEOUTS: tuple[type[Exception], ...] = (
    requests.Timeout,
    urllib3.exceptions.TimeoutError,
    TimeoutError,
)
_NONSENSE: tuple[type[Exception], ...] = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.LocationValueError,
    urllib3.exceptions.DecodeError,
    ValueError,
)
_FOREIGN: tuple[type[Exception], ...] = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Proxies:
    """HTTP(S)_PROXY and NO_PROXY, as the operator set them. A proxy's URL may carry a password."""

    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)
    exempt: str = ""

    def for_url(self, url: str) -> dict[str, str]:
        """The proxy for `url`, in the form that requests takes; empty where there is none."""
        scheme, host = urlsplit(url)[:2]
        proxy = self.by_scheme.get(scheme)
        if not proxy or proxy_bypass_environment(host, {"no": self.exempt}):
            return {}
        return {scheme: proxy}


class _Adapter(HTTPAdapter):
    """requests' adapter over pools of our own, one for each reach."""

    def __init__(self, reach: Reach, resolver: Resolver, connections: int) -> None:
        self._pools = pinned_pools(resolver, reach)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, blocksize=128 * 1024, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": WatchedHTTPPool, "https": WatchedHTTPSPool}
        return manager


class Transport:
    """Sends calls. One for the process, used by all its threads."""

    def __init__(
        self,
        *,
        embedded: WSGIApplication | None = None,
        proxies: Proxies = Proxies(),
        ca_bundle: str | None = None,
        host_connections: int = 16,
        user_agent: str = "pyoci",
        resolver: Resolver | None = None,
        document_seconds: float = DOCUMENT_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.resolver = resolver or Resolver()
        self._proxies = proxies
        self._verify: bool | str = ca_bundle or True
        self._user_agent = user_agent
        self._document_seconds = document_seconds
        self._stall_seconds = stall_seconds
        self._sleep, self._jitter = sleep, jitter
        self._adapters: dict[Reach, BaseAdapter] = {
            reach: _Adapter(reach, self.resolver, 4 * host_connections)
            for reach in Reach
            if reach is not Reach.EMBEDDED
        }
        if embedded is not None:
            self._adapters[Reach.EMBEDDED] = InProcessAdapter(embedded)
        self._gates = _Gates(host_connections)

    def document(self, call: Call, limit: int = DOCUMENT_LIMIT) -> Answer:
        """Send `call` and read its answer whole, at most `limit` bytes of it.

        The whole takes at most `DOCUMENT_SECONDS`, further attempts after a lost connection or a busy
        registry included: every call that moves a document may be repeated.
        Raises Unreachable, ProtocolError, Denied.
        """
        deadline = time.monotonic() + self._document_seconds
        with self._gates.passage(urlsplit(call.url).netloc, self._document_seconds):
            for attempt in range(1, _ATTEMPTS + 1):
                left = deadline - time.monotonic()
                pause = 0.2 * 2 ** (attempt - 1) * (0.5 + self._jitter())
                last = attempt == _ATTEMPTS or left < 2 * pause
                try:
                    answer = self._read(call, limit, max(left, 0.1))
                except Unreachable:
                    if last or time.monotonic() + pause > deadline:
                        raise
                else:
                    if last or answer.status not in _BUSY or call.reach is Reach.EMBEDDED:
                        return answer
                self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def stream(self, call: Call) -> Stream:
        """Send `call` and leave the body of the answer to be read.

        The head has to come within a minute, and so has each further piece.
        Raises Unreachable, ProtocolError, Denied; so does reading.
        """
        with self._translated(call), watched(self._stall_seconds) as watch:
            response = self._send(call, (CONNECT_SECONDS, self._stall_seconds), watch)
        return Stream(
            response.status_code,
            _headers(response),
            lambda size: self._pieces(call, response, size),
            lambda size: self._head(call, response, size),
            response.close,
        )

    def upload(self, call: Call) -> Answer:
        """Send a call with a large body. It may take as long as bytes move; the answer 300 seconds.

        One attempt: what was sent half has to begin anew, which only the caller can do.
        """
        with self._translated(call):
            response = self._send(call, (CONNECT_SECONDS, UPLOAD_ANSWER_SECONDS))
            return _answer(call, response, DOCUMENT_LIMIT)

    def _read(self, call: Call, limit: int, seconds: float) -> Answer:
        with self._translated(call), watched(seconds) as watch:
            response = self._send(call, (min(CONNECT_SECONDS, seconds), seconds), watch)
            return _answer(call, response, limit)

    def _send(
        self, call: Call, timeout: tuple[float, float], watch: Watch | None = None
    ) -> requests.Response:
        adapter = self._adapter(call)
        proxies = {} if call.reach is Reach.EMBEDDED else self._proxies.for_url(call.url)
        if proxies and call.reach is Reach.PUBLIC:
            # The proxy resolves the name, so nobody can say where the call would end.
            raise Denied(f"{_host(call)} may not be asked through a proxy unless PYOCI_REGISTRIES lists it")
        body = call.body if len(call.body) else b""
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity", **call.headers}
        request = requests.Request(call.method, call.url, headers=headers, data=body).prepare()
        try:
            return adapter.send(request, stream=True, timeout=timeout, verify=self._verify, proxies=proxies)
        except _FOREIGN:
            if watch is not None and watch.fired:
                raise TimeoutError from None
            raise

    def _adapter(self, call: Call) -> BaseAdapter:
        """The road for `call`, or Denied: `embedded:` is for our own registry alone, http for listed ones."""
        scheme = urlsplit(call.url).scheme
        plain = {Reach.PRIVATE, Reach.LISTED}
        allowed = {"embedded": {Reach.EMBEDDED}, "http": plain, "https": set(Reach) - {Reach.EMBEDDED}}
        adapter = self._adapters.get(call.reach)
        if adapter is None or call.reach not in allowed.get(scheme, ()):
            raise Denied(f"{_host(call)} may not be asked by {scheme}; PYOCI_REGISTRIES lists what may")
        return adapter

    def _pieces(self, call: Call, response: requests.Response, size: int) -> Iterator[bytes]:
        try:
            with self._translated(call):
                while piece := response.raw.read(size, decode_content=False):
                    yield piece
        finally:
            response.close()

    def _head(self, call: Call, response: requests.Response, size: int) -> bytes:
        with self._translated(call), watched(self._document_seconds):
            return bytes(response.raw.read(size, decode_content=False))

    @contextmanager
    def _translated(self, call: Call) -> Iterator[None]:
        try:
            yield
        except _FOREIGN as exc:
            raise translate(exc, _host(call)) from exc


def translate(exc: Exception, host: str) -> Unreachable | ProtocolError:
    """The kind of error behind an exception of requests, urllib3 or the socket."""
    if isinstance(exc, _TIMEOUTS):
        return Unreachable(f"{host} did not answer in time")
    if isinstance(exc, requests.exceptions.SSLError | urllib3.exceptions.SSLError):
        return Unreachable(f"{host} could not be trusted: its TLS certificate or handshake is not right")
    if isinstance(exc, _NONSENSE):
        return ProtocolError(f"{host} sent something that can't be read")
    return Unreachable(f"{host} could not be reached, or broke off")


def _answer(call: Call, response: requests.Response, limit: int) -> Answer:
    """The whole response, or ProtocolError where it is longer than `limit` bytes."""
    body = b""
    if call.method != "HEAD":
        body = bytes(response.raw.read(limit + 1, decode_content=False))
    if len(body) > limit:
        response.close()
        raise ProtocolError(f"{_host(call)} sent more than {limit} bytes where a document was expected")
    # Read to its end the connection went back to the pool; otherwise this drops it.
    response.close()
    return Answer(response.status_code, _headers(response), body)


def _headers(response: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _host(call: Call) -> str:
    return (
        (urlsplit(call.url).netloc.rpartition("@")[2] or "the registry").encode("ascii", "replace").decode()
    )


class _Gates:
    """At most so many document calls to one host at a time; a gate lives as long as somebody is at it."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._gates: WeakValueDictionary[str, threading.BoundedSemaphore] = WeakValueDictionary()

    @contextmanager
    def passage(self, host: str, seconds: float) -> Iterator[None]:
        """Wait at the gate of `host`, at most `seconds`; raises Unreachable after that."""
        with self._lock:
            gate = self._gates.get(host)
            if gate is None:
                gate = self._gates[host] = threading.BoundedSemaphore(self._width)
        if not gate.acquire(timeout=seconds):
            raise Unreachable(f"too many calls to {host} at once; none ended in time")
        try:
            yield
        finally:
            gate.release()
