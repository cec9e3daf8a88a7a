"""PyOCI whose callers may name a registry of this machine, as one that the operator has listed or not.

For gunicorn: `tests.live.unlisted:application()`. `listed` and `unlisted` are the names of the registry at
TESTS_PORT, whose certificate is in TESTS_CERTIFICATE.
"""

from __future__ import annotations

import os

from flask import Flask

from pyoci.cache.files import FileBackend
from pyoci.net.addresses import Reach, Resolver
from pyoci.net.transport import Transport
from pyoci.oci.references import Registry
from pyoci.oci.session import Gateway
from pyoci.web import Site, register
from tests.stores import make_cache, make_store

HOST = "registry.example"


class _ThisMachineIsPublic(Resolver):
    def permitted(self, host: str, port: int, reach: Reach, timeout: float) -> list[str]:
        return [str(address) for address in self.addresses(host, port, timeout)]


class _OneRegistry:
    """The registry at that port of HOST."""

    def __init__(self, port: int) -> None:
        self._url = f"https://{HOST}:{port}"

    def parse(self, text: str) -> Registry:
        return Registry.parse(self._url, listed=text == "listed")

    def knows(self, text: str) -> bool:
        return text in {"listed", "unlisted"}


def application() -> Flask:
    port = int(os.environ["TESTS_PORT"])
    resolver = _ThisMachineIsPublic(lambda _host, _port: ["127.0.0.1"])
    transport = Transport(resolver=resolver, public_port=port, ca_bundle=os.environ["TESTS_CERTIFICATE"])
    app = Flask("unlisted")
    store = make_store(Gateway(transport, ttl=60), cache=make_cache(FileBackend()))
    register(app, Site(store=store, registries=_OneRegistry(port), max_body=50_000_000))
    return app
