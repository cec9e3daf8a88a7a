"""Connections and pools of our own: the address that was checked is the one that is connected to, a
watch can cut a call that outlives its time, and an answer that comes early ends the sending.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import connection as socket_factory

from pyoci.net.addresses import Reach, Resolver

CONNECT_SECONDS = 5.0
STALL_SECONDS = 60.0  # without progress, for the bytes of a blob


class Watch:
    """Cuts the connection of one call when its time is over."""

    def __init__(self) -> None:
        self.fired = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def cut(self) -> None:
        with self._lock:
            self.fired = True
            for sock in self._sockets:
                _shut(sock)

    def follow(self, sock: socket.socket | None) -> None:
        if sock is None:
            return
        with self._lock:
            self._sockets.append(sock)
            if self.fired:
                _shut(sock)


def _shut(sock: socket.socket) -> None:
    # Past the TLS layer: another thread is reading from it at this moment.
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


_current = threading.local()


@contextmanager
def watched(seconds: float) -> Iterator[Watch]:
    """Everything that this thread sends and reads in the block is cut after `seconds`.

    A socket's own timeout starts again with every byte, so a peer that sends one a second would never
    meet it.
    """
    watch, outer = Watch(), getattr(_current, "watch", None)
    timer = threading.Timer(seconds, watch.cut)
    timer.daemon = True
    timer.start()
    _current.watch = watch
    try:
        yield watch
    finally:
        _current.watch = outer
        timer.cancel()


class _Watched:
    """What both kinds of connection add to urllib3's: see the module."""

    sock: Any
    _half_sent = False

    def connect(self) -> None:
        self._half_sent = False
        super().connect()  # type: ignore[misc]  # the other base is urllib3's
        self._follow()

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._follow()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def send(self, data: Any) -> None:
        if self.sock is not None:
            # urllib3 leaves the timeout of whatever came before, on a new connection that of connecting.
            self.sock.settimeout(STALL_SECONDS)
            if self._answered_early():
                # urllib3 takes a broken pipe for what it is: it stops sending and reads the answer.
                self._half_sent = True
                raise BrokenPipeError("the answer came before the request was sent")
        super().send(data)  # type: ignore[misc]

    @property
    def is_connected(self) -> bool:
        # Half a request lies on this connection: the next one must not follow it.
        return not self._half_sent and bool(super().is_connected)  # type: ignore[misc]

    def _answered_early(self) -> bool:
        # Under TLS a readable socket may only hold session tickets; there the peer's closing has to do.
        if isinstance(self.sock, ssl.SSLSocket):
            return False
        return bool(select.select([self.sock], [], [], 0)[0])

    def _follow(self) -> None:
        watch: Watch | None = getattr(_current, "watch", None)
        if watch is not None:
            watch.follow(self.sock)


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class WatchedHTTPPool(HTTPConnectionPool):
    """For calls through a proxy, which resolves names itself."""

    ConnectionCls = _WatchedHTTP


class WatchedHTTPSPool(HTTPSConnectionPool):
    """For calls through a proxy, which resolves names itself."""

    ConnectionCls = _WatchedHTTPS


class _Pinned(_Watched):
    """Resolves once, refuses by address, and connects to the very address that was checked.

    The connection keeps the host's name: SNI, Host header, certificate and pool go by it.
    """

    resolver: Resolver
    reach: Reach
    host: str
    port: int
    timeout: Any
    socket_options: Any

    def _new_conn(self) -> socket.socket:
        timeout = self.timeout if isinstance(self.timeout, int | float) else CONNECT_SECONDS
        try:
            addresses = self.resolver.permitted(self.host, self.port, self.reach, timeout)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc  # type: ignore[arg-type]
        failure: OSError = OSError("the name has no address")
        for address in addresses:
            try:
                return self._dial(address, timeout)
            except OSError as exc:
                failure = exc
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} in time") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure  # type: ignore[arg-type]

    def _dial(self, address: str, timeout: float) -> socket.socket:
        return socket_factory.create_connection(
            (address, self.port), timeout, socket_options=self.socket_options
        )


def pinned_pools(resolver: Resolver, reach: Reach) -> dict[str, type[HTTPConnectionPool]]:
    """Pool classes by scheme whose connections obey `reach`."""
    bounds = {"resolver": resolver, "reach": reach}
    http = type("PinnedHTTP", (_Pinned, HTTPConnection), bounds)
    https = type("PinnedHTTPS", (_Pinned, HTTPSConnection), bounds)
    return {
        "http": type("PinnedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
        "https": type("PinnedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
    }
