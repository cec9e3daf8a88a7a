"""Transports that are closed after their test, and a certificate for tests."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pyoci.net.addresses import Lookup, Resolver
from pyoci.net.transport import Transport
from tests.certificates import make_certificate

MakeTransport = Callable[..., Transport]


@pytest.fixture
def make_transport() -> Iterator[MakeTransport]:
    """Makes transports, whose connections are closed after the test. `lookup` replaces
    the system's resolver.
    """
    made: list[Transport] = []

    def make(*, lookup: Lookup | None = None, **overrides: Any) -> Transport:
        settings: dict[str, Any] = {
            "sleep": lambda _: None,
            "jitter": lambda: 0.5,
            "document_seconds": 5.0,
        } | overrides
        if lookup is not None:
            settings["resolver"] = Resolver(lookup)
        made.append(Transport(**settings))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@dataclass(frozen=True)
class Certificate:
    """A key and a self-signed certificate for the name `registry.example`."""

    file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    key, file = make_certificate(tmp_path_factory.mktemp("tls"), "registry.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file, key)
    return Certificate(file, server)
