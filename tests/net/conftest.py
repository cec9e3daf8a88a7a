"""Transports that end with their test, and a certificate made for it."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from pyoci.net.addresses import Lookup, Resolver
from pyoci.net.transport import Transport

MakeTransport = Callable[..., Transport]


@pytest.fixture
def make_transport() -> Iterator[MakeTransport]:
    """Transports whose connections are closed at the end. `lookup` stands in for the system's."""
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
    """A key and a certificate that vouches for itself, for the name `registry.example`."""

    file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if which("openssl") is None:
        missing = "openssl makes the certificate; Debian's package is openssl"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    directory = tmp_path_factory.mktemp("tls")
    key, file = directory / "key.pem", directory / "certificate.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=registry.example -addext subjectAltName=DNS:registry.example"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", file], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file, key)
    return Certificate(file, server)
