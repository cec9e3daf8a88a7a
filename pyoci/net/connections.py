"""Subclasses of urllib3's connections and pools. They connect to the address that was checked, a watch can
shut them down when the call's time is over, and they stop sending when an answer arrives early.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import connection as socket_factory

from pyoci.net.addresses import NotResolved, Reach, Resolver
from pyoci.net.watch import current_watch

CONNECT_SECONDS = 5.0
STALL_SECONDS = 60.0  # without progress, for a blob


class _Watched:
    """What http and https connections add to urllib3's; see the module."""

    sock: Any
    _half_sent = False

    def connect(self) -> None:
        self._half_sent = False
        super().connect()  # type: ignore[misc]  # the other base is urllib3's
        self._follow()

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = self._connected_socket()
        watch = current_watch()
        if watch is not None:
            watch.follow_new(sock)
        return sock

    def _connected_socket(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        return connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._follow()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def send(self, data: Any) -> None:
        if self.sock is None or not isinstance(data, bytes):
            super().send(data)  # type: ignore[misc]
            return
        # urllib3 keeps the previous timeout, which on a new connection is that of connecting.
        self.sock.settimeout(STALL_SECONDS)
        try:
            if isinstance(self.sock, ssl.SSLSocket):
                self._send_encrypted(data)
            elif isinstance(self.sock, socket.socket):
                self._send_plain(data)
            else:  # TLS within the TLS of a proxy
                super().send(data)  # type: ignore[misc]
        except OSError:
            self._half_sent = True
            raise

    def _send_plain(self, data: bytes) -> None:
        ready = select.poll()
        ready.register(self.sock, select.POLLIN | select.POLLOUT)
        left = memoryview(data)
        while left:
            events = ready.poll(STALL_SECONDS * 1000)
            if not events:
                raise TimeoutError("the peer takes no bytes")
            if events[0][1] & ~select.POLLOUT:
                raise _early()
            left = left[self.sock.send(left) :]

    def _send_encrypted(self, data: bytes) -> None:
        try:
            first = _first_byte(self.sock)
            if first is None:
                return super().send(data)  # type: ignore[misc, no-any-return]
        except ssl.SSLError as exc:
            # The peer closed without close_notify. urllib3 would report a bad certificate.
            raise BrokenPipeError("the peer has closed the connection") from exc
        self.sock = _PutBack(self.sock, first)
        raise _early()

    @property
    def is_connected(self) -> bool:
        # After a partial request, the connection can't be used for another one.
        return not self._half_sent and bool(super().is_connected)  # type: ignore[misc]

    def _follow(self) -> None:
        watch = current_watch()
        if watch is not None and self.sock is not None:
            watch.follow(self.sock)


def _early() -> BrokenPipeError:
    """On a broken pipe urllib3 stops sending and reads the answer."""
    return BrokenPipeError("the answer came before the request was sent")


def _first_byte(sock: ssl.SSLSocket) -> bytes | None:
    """The first byte of an answer that has arrived; b"" if the peer has closed the connection; None if
    neither.

    A readable socket may only have session tickets, and TLS can't peek, so the byte is consumed.
    """
    ready = select.poll()
    ready.register(sock, select.POLLIN)
    if not ready.poll(0):
        return None
    sock.settimeout(0)
    try:
        return sock.recv(1)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    finally:
        sock.settimeout(STALL_SECONDS)


class _PutBack:
    """A socket whose first byte was already read, for http.client to read the answer from."""

    def __init__(self, sock: ssl.SSLSocket, first: bytes) -> None:
        self._sock, self._first = sock, first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Rejoined(self._first, self._sock.makefile("rb", buffering=0)))


class _Rejoined(io.RawIOBase):
    """A first byte, then the rest."""

    def __init__(self, first: bytes, rest: io.RawIOBase) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if not self._first:
            return self._rest.readinto(buffer)
        count = len(self._first)
        buffer[:count], self._first = self._first, b""
        return count

    def close(self) -> None:
        self._rest.close()
        super().close()


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class WatchedHTTPPool(HTTPConnectionPool):
    """Connections through a proxy, which resolves names itself."""

    ConnectionCls = _WatchedHTTP


class WatchedHTTPSPool(HTTPSConnectionPool):
    """Connections through a proxy, which resolves names itself."""

    ConnectionCls = _WatchedHTTPS


class _Pinned(_Watched):
    """Resolves the name once, checks its addresses, and connects to one that was checked.

    The connection keeps the host's name for SNI, the Host header, the certificate and the pool.
    """

    resolver: Resolver
    reach: Reach
    host: str
    port: int
    timeout: Any
    socket_options: Any

    def _connected_socket(self) -> socket.socket:
        timeout = self.timeout if isinstance(self.timeout, int | float) else CONNECT_SECONDS
        deadline = time.monotonic() + timeout
        try:
            addresses = self.resolver.permitted(self.host, self.port, self.reach, timeout)
        except NotResolved as exc:  # its message has the host, which callers may not know
            raise ConnectTimeoutError(self, f"no address of {self.host} in time") from exc
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc  # type: ignore[arg-type]
        except OSError as exc:
            raise NewConnectionError(self, f"no address of {self.host}: {exc}") from exc  # type: ignore[arg-type]
        failure: OSError = OSError("the name has no address")
        for tried, address in enumerate(addresses):
            # Each remaining address gets an equal share of the time, so that an unreachable one doesn't take
            # all of it.
            share = (deadline - time.monotonic()) / (len(addresses) - tried)
            watch = current_watch()
            if watch is not None:
                watch.on_connect(address)
            try:
                return socket_factory.create_connection(
                    (address, self.port), max(share, 0.01), socket_options=self.socket_options
                )
            except OSError as exc:
                failure = exc
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} in time") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure  # type: ignore[arg-type]


def pinned_pools(resolver: Resolver, reach: Reach) -> dict[str, type[HTTPConnectionPool]]:
    """Pool classes by scheme whose connections are limited to `reach`."""
    bounds = {"resolver": resolver, "reach": reach}
    http = type("PinnedHTTP", (_Pinned, HTTPConnection), bounds)
    https = type("PinnedHTTPS", (_Pinned, HTTPSConnection), bounds)
    return {
        "http": type("PinnedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
        "https": type("PinnedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
    }
