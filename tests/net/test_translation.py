"""Every exception of the libraries is translated to one of pyoci.errors."""

from __future__ import annotations

import http.client
import inspect
import re
import socket
import ssl
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import requests.exceptions
import urllib3.exceptions
from urllib3.util.ssl_match_hostname import CertificateError

from pyoci.errors import ProtocolError, PyOCIError, Unavailable, Unreachable
from pyoci.net.addresses import Reach
from pyoci.net.messages import Call
from pyoci.net.translation import translate
from pyoci.net.transport import Transport

URL = "embedded://local/v2/?_state=secret"


def exceptions_of(module: ModuleType) -> list[type[Exception]]:
    """The exceptions in the module, without warnings, which are never raised."""
    found = {
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, Exception) and not issubclass(value, Warning)
    }
    return sorted(found, key=lambda value: value.__qualname__)


FOREIGN = [
    *exceptions_of(requests.exceptions),
    *exceptions_of(urllib3.exceptions),
    *exceptions_of(http.client),
    OSError,
    TimeoutError,
    ConnectionResetError,
    BrokenPipeError,
    socket.gaierror,
    ssl.SSLError,
    ssl.SSLCertVerificationError,
    ValueError,
    UnicodeError,
]
# These can't be shown, and so not be wrapped, without what their constructors set.
MADE: dict[type[Exception], Exception] = {
    http.client.IncompleteRead: http.client.IncompleteRead(b"secret"),
    urllib3.exceptions.IncompleteRead: urllib3.exceptions.IncompleteRead(1, 2),
    urllib3.exceptions.InvalidChunkLength: urllib3.exceptions.InvalidChunkLength(
        urllib3.HTTPResponse(), b"secret"
    ),
}


def make(kind: type[Exception]) -> Exception:
    """An instance, made without calling its constructor."""
    exc = MADE.get(kind) or kind.__new__(kind)
    exc.args = ("https://user:secret@host/?signature=secret",)
    return exc


def raising(exc: Exception, *, late: bool) -> Any:
    """An application that raises at once, or while its body is read."""

    def body() -> Iterator[bytes]:
        yield b"beginning"
        raise exc

    def application(_environ: Any, start_response: Any) -> Any:
        if not late:
            raise exc
        start_response("200 OK", [])
        return body()

    return application


@pytest.mark.parametrize("late", [False, True], ids=["sending", "reading"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_every_foreign_exception_is_translated(kind: type[Exception], late: bool) -> None:
    """Whatever requests, urllib3, http.client or a socket raises, callers see a kind of ours."""
    transport = Transport(embedded=raising(make(kind), late=late))
    call = Call(method="GET", url=URL, reach=Reach.EMBEDDED)
    with pytest.raises(PyOCIError) as caught:
        b"".join(transport.stream(call).pieces(1000))
    assert isinstance(caught.value, Unreachable | ProtocolError)
    assert caught.value.__cause__ is not None
    assert "secret" not in caught.value.message
    with pytest.raises(PyOCIError):
        transport.document(call)
    with pytest.raises(PyOCIError):
        transport.upload(call)


def test_defects_are_not_translated() -> None:
    """An exception that is a defect of PyOCI is raised as it is."""
    transport = Transport(embedded=raising(EOFError(), late=False))
    with pytest.raises(EOFError):
        transport.document(Call(method="GET", url=URL, reach=Reach.EMBEDDED))


def wrapped(inner: Exception) -> Exception:
    outer = requests.ConnectionError()
    outer.__context__ = inner
    return outer


def over_tls(inner: Exception) -> Exception:
    """Wrapped as the libraries do it: urllib3 wraps the exception of ssl, and requests
    wraps that of urllib3.
    """
    middle = urllib3.exceptions.SSLError(inner)
    middle.__cause__ = inner
    outer = requests.exceptions.SSLError(middle)
    outer.__context__ = middle
    return outer


@pytest.mark.parametrize(
    ("exc", "kind", "words"),
    [
        (requests.ReadTimeout(), Unreachable, "in time"),
        (TimeoutError(), Unreachable, "in time"),
        (requests.exceptions.SSLError(), Unavailable, "TLS failed"),
        (ssl.SSLError(), Unavailable, "TLS failed"),
        (over_tls(ssl.SSLCertVerificationError(1, "self-signed")), Unreachable, "be trusted"),
        (over_tls(CertificateError("another name")), Unreachable, "be trusted"),
        (over_tls(ssl.SSLEOFError(8, "UNEXPECTED_EOF_WHILE_READING")), Unavailable, "broke off$"),
        (over_tls(ssl.SSLZeroReturnError(6, "closed")), Unavailable, "broke off$"),
        (over_tls(ssl.SSLSyscallError(5, "reset")), Unavailable, "broke off: TLS failed"),
        (over_tls(ssl.SSLError(1, "WRONG_VERSION_NUMBER")), Unavailable, "broke off: TLS failed"),
        (over_tls(ssl.SSLError(1, "TLSV13_ALERT_CERTIFICATE_REQUIRED")), Unavailable, "TLS failed"),
        (requests.exceptions.ProxyError(), Unavailable, "proxy"),
        (requests.exceptions.InvalidProxyURL(), Unavailable, "proxy"),
        (requests.exceptions.InvalidURL(), ProtocolError, "read"),
        (urllib3.exceptions.InvalidHeader("two lengths"), ProtocolError, "read"),
        (ValueError(), ProtocolError, "read"),
        (wrapped(http.client.BadStatusLine("SSH-2.0")), ProtocolError, "read"),
        (wrapped(http.client.LineTooLong("header")), ProtocolError, "read"),
        (wrapped(http.client.RemoteDisconnected("")), Unavailable, "broke off"),
        (wrapped(ConnectionResetError()), Unavailable, "broke off"),
        (
            wrapped(urllib3.exceptions.NameResolutionError("h", None, socket.gaierror())),  # type: ignore[arg-type]
            Unavailable,
            "no address",
        ),
        (requests.ConnectionError(), Unavailable, "broke off"),
        (urllib3.exceptions.NewConnectionError(None, "refused"), Unavailable, "could not be reached"),  # type: ignore[arg-type]
        (urllib3.exceptions.ConnectTimeoutError(), Unreachable, "in time"),
        (wrapped(ConnectionRefusedError()), Unavailable, "could not be reached"),
        (requests.ConnectTimeout(), Unreachable, "in time"),
    ],
    ids=lambda value: repr(value)[:80] if isinstance(value, Exception) else None,
)
def test_the_kind_tells_what_happened(exc: Exception, kind: type[PyOCIError], words: str) -> None:
    """No timely answer is Unreachable, no connection is Unavailable, and a senseless answer is a
    ProtocolError. The sentence names the host.
    """
    error = translate(exc, "ghcr.io")
    assert type(error) is kind
    assert re.search(words, error.message)
    assert error.message.startswith("ghcr.io ")
