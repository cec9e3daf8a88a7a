"""Exceptions of requests, urllib3, http.client and sockets, translated to those of pyoci.errors."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator

import requests
import urllib3

from pyoci.errors import ProtocolError, Unavailable, Unreachable
from pyoci.net.addresses import NotResolved

# All exceptions of the libraries that a call may raise. A test compares this with the libraries.
FOREIGN: tuple[type[Exception], ...] = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
_TIMEOUTS: tuple[type[Exception], ...] = (
    requests.Timeout,
    urllib3.exceptions.TimeoutError,
    TimeoutError,
)
_TLS: tuple[type[Exception], ...] = (
    requests.exceptions.SSLError,
    urllib3.exceptions.SSLError,
    ssl.SSLError,
)
_CLOSED: tuple[type[Exception], ...] = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
# Failed checks of certificates. Every other TLS error is a failed connection: OpenSSL reports one if a peer
# closes without close_notify, and if a server doesn't speak TLS.
_UNTRUSTED: tuple[type[Exception], ...] = (
    ssl.SSLCertVerificationError,
    urllib3.util.ssl_match_hostname.CertificateError,
)
_PROXY: tuple[type[Exception], ...] = (
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidProxyURL,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.ProxySchemeUnknown,
    urllib3.exceptions.ProxySchemeUnsupported,
)
_NONSENSE: tuple[type[Exception], ...] = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.InvalidHeader,
    urllib3.exceptions.LocationValueError,
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.HeaderParsingError,
    urllib3.exceptions.ResponseNotChunked,
    urllib3.exceptions.BodyNotHttplibCompatible,
)
# A partial answer is a lost connection, not a ProtocolError.
_BROKEN = (http.client.RemoteDisconnected, http.client.IncompleteRead)


def translate(exc: Exception, host: str) -> Unreachable | ProtocolError:
    """The kind of error that an exception of `FOREIGN` means. Its own text is dropped, because it may contain
    a URL.
    """
    origins = tuple(_origins(exc))
    if any(isinstance(origin, NotResolved) for origin in origins):
        return Unreachable(f"{host} could not be reached: its name could not be resolved in time")
    # urllib3's exception for a failed connection is, for compatibility, one for a timeout.
    if isinstance(exc, _TIMEOUTS) and not isinstance(exc, urllib3.exceptions.NewConnectionError):
        return Unreachable(f"{host} did not answer in time")
    if isinstance(exc, _PROXY):
        return Unavailable(f"{host} could not be reached through the proxy")
    if any(isinstance(origin, _UNTRUSTED) for origin in origins):
        return Unreachable(f"{host} could not be trusted: its TLS certificate is not valid")
    if any(isinstance(origin, _CLOSED) for origin in origins):
        return Unavailable(f"{host} could not be reached, or broke off")
    if any(isinstance(origin, _TLS) for origin in origins):
        return Unavailable(f"{host} could not be reached, or broke off: TLS failed")
    if any(isinstance(origin, urllib3.exceptions.NameResolutionError) for origin in origins):
        return Unavailable(f"{host} could not be reached: its name has no address")
    if _is_nonsense(exc) or any(_is_garbled(origin) for origin in origins):
        return ProtocolError(f"{host} sent something that can't be read")
    return Unavailable(f"{host} could not be reached, or broke off")


def _is_nonsense(exc: Exception) -> bool:
    # Some exceptions of requests are both a ValueError and an OSError.
    return isinstance(exc, _NONSENSE) or (isinstance(exc, ValueError) and not isinstance(exc, OSError))


def _is_garbled(exc: BaseException) -> bool:
    """Whether the peer's answer is not HTTP."""
    return isinstance(exc, http.client.HTTPException) and not isinstance(exc, _BROKEN)


def _origins(exc: BaseException | None) -> Iterator[BaseException]:
    """`exc` and its causes: the libraries wrap each other's exceptions."""
    for _ in range(10):
        if exc is None:
            return
        yield exc
        reason = getattr(exc, "reason", None)
        exc = exc.__cause__ or exc.__context__ or (reason if isinstance(reason, Exception) else None)
