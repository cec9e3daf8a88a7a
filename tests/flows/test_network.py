"""Names that change their address, and registries that name private addresses, with whole requests over real
sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pyoci.embedded import create_registry_app
from pyoci.net.addresses import Resolver
from pyoci.net.transport import Transport
from pyoci.oci.references import Registry
from pyoci.oci.registries import Registries
from pyoci.oci.session import Gateway
from pyoci.web import Site, register
from tests.builders import make_wheel
from tests.flows.conftest import ReadingClient
from tests.flows.test_main_job import WHEEL, basic, upload
from tests.net.servers import Server, always, answer
from tests.serving import served
from tests.stores import make_store

INSIDE, OUTSIDE = "127.0.0.1", "::8.8.8.8"  # public by its IPv4 address, and no packet is routed there
SECONDS = 0.5  # for a document; nobody answers outside
ROOT = "/lab/acme/"
PAGE = f"{ROOT}hello-world/"
FILE = f"{PAGE}{WHEEL}"
ME = basic("me", "hunter2")
OTHER = make_wheel(version="2.0")


@pytest.fixture
def bystander() -> Iterator[Server]:
    """A private service that must not get a connection."""
    with Server(always(answer(b'{"token": "abc"}'))) as server:
        yield server


@contextmanager
def client_of(
    resolver: Resolver, listed: str = "", public_port: int = 443, **site: Any
) -> Iterator[FlaskClient]:
    """A client of an application with this resolver and this list of registries."""
    transport = Transport(
        resolver=resolver, document_seconds=SECONDS, sleep=lambda _: None, public_port=public_port
    )
    app = Flask("tests")
    store = make_store(Gateway(transport, ttl=60), sleep=lambda _: None)
    register(
        app, Site(**{"store": store, "registries": Registries.read(listed), "max_body": 50_000_000, **site})
    )
    app.test_client_class = ReadingClient
    try:
        yield app.test_client()
    finally:
        transport.close()


class Anyone:
    """Lets callers name any registry, also at the port of the private service."""

    def parse(self, text: str) -> Registry:
        return Registry.parse(text)

    def knows(self, _text: str) -> bool:
        return False


class Changing:
    """A name server whose answers change with each query. The last one is repeated."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, _host: str, _port: int) -> list[str]:
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


CHANGES = {
    "first public, then inside": ([OUTSIDE], [INSIDE]),
    "inside every other time": ([OUTSIDE], [INSIDE], [OUTSIDE], [INSIDE]),
    "both, public first": ([OUTSIDE, INSIDE],),
    "both, inside first": ([INSIDE, OUTSIDE],),
    "inside, mapped": ([OUTSIDE], ["::ffff:127.0.0.1"]),
    "nowhere, then inside": ([], [INSIDE]),
    "unspecified": ([OUTSIDE], ["0.0.0.0"], ["::"]),
}


@pytest.mark.parametrize("answers", CHANGES.values(), ids=CHANGES)
def test_a_name_that_changes(bystander: Server, answers: tuple[list[str], ...]) -> None:
    """PyOCI connects to the address that it has checked."""
    names = Changing(*answers)
    root = f"/changing.example:{bystander.port}/acme/"
    with client_of(Resolver(names), public_port=bystander.port, registries=Anyone()) as client:
        for path in ("hello-world/", f"hello-world/{WHEEL}", "hello-world/json", "+simple/") * 2:
            assert client.get(root + path, headers=ME).status_code == 504
        assert upload(client, url=root, headers=ME).status_code == 504
        assert client.delete(f"{root}hello-world/1.0", headers=ME).status_code == 504
    assert names.asked >= 3
    assert bystander.connections == 0


class Outside(Resolver):
    """Treats listed registries as public, whatever their addresses."""

    def is_private(self, host: str, port: int, timeout: float = 5) -> bool:
        return False


@dataclass
class Leading:
    """A registry that names the private service: `way` is where, `url` is its URL."""

    registry: Any
    way: str = ""
    url: str = ""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.way == "realm":
            challenge = f'Bearer realm="{self.url}",service="x",scope="repository:acme/hello_world:pull"'
            return self._instead(start_response, "401 Unauthorized", "WWW-Authenticate", challenge)
        if self.way == "blob" and method in {"GET", "HEAD"} and "/blobs/sha256:" in path:
            return self._instead(start_response, "307 Temporary Redirect", "Location", self.url)
        if self.way == "document" and "/manifests/" in path:
            return self._instead(start_response, "307 Temporary Redirect", "Location", self.url)
        if self.way == "Location" and method == "POST":
            return self._instead(start_response, "202 Accepted", "Location", self.url)
        if self.way == "Link" and re.search(r"/(tags/list|_catalog)$", path):
            return self._instead(start_response, "200 OK", "Link", f'<{self.url}>; rel="next"')
        return self.registry(environ, start_response)

    def _instead(self, start_response: Any, status: str, name: str, value: str) -> list[bytes]:
        body = b'{"name": "acme/hello_world", "tags": ["0.1"], "repositories": ["acme/a"]}'
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), (name, value)]
        start_response(status, headers)
        return [body]


@pytest.fixture(scope="module")
def leading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Leading, str]]:
    """Such a registry with a wheel, and its URL."""
    folder = tmp_path_factory.mktemp("leading")
    made = Leading(create_registry_app(folder, htpasswd=None, local_only=False))
    with served(made) as url:
        with client_of(Resolver(), f"lab={url}") as client:
            assert upload(client, url=ROOT, headers=ME).status_code == 200
        yield made, url


PASSED_ON = "blob, where redirects are passed on"
WAYS = {
    "realm": [("GET", PAGE), ("GET", FILE), ("DELETE", f"{PAGE}1.0"), ("POST", ROOT)],
    "blob": [("GET", FILE), ("GET", f"{FILE}.metadata")],
    PASSED_ON: [("GET", FILE)],
    "document": [("GET", PAGE), ("GET", f"{PAGE}json"), ("HEAD", FILE), ("DELETE", f"{PAGE}1.0")],
    "Location": [("POST", ROOT)],
    "Link": [("GET", PAGE), ("GET", f"{ROOT}+simple/")],
}
TARGETS = [
    "http://{host}/v2/",
    "https://{host}/v2/",
    "//{host}/v2/",
    "http://localhost:{port}/v2/",
    "http://2130706433:{port}/v2/",
    "http://0x7f.1:{port}/v2/",
    "http://0177.0.0.1:{port}/v2/",
    "http://127.1:{port}/v2/",
    "http://[::ffff:127.0.0.1]:{port}/v2/",
    "http://[64:ff9b::7f00:1]:{port}/v2/",
    "http://0.0.0.0:{port}/v2/",
    "http://localhost.:{port}/v2/",
    "http://registry.example@{host}/v2/",
    "http://{host}\\@registry.example/v2/",
    "http://127.0.0.1%00.registry.example:{port}/",
    "http:{host}/v2/",
    "http:///{host}/v2/",
    "\thttp://{host}/v2/",
    "http://127.0.0.1\t:{port}/v2/",
]


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("way", WAYS)
def test_public_registry_may_not_name_a_private_service(
    bystander: Server, leading: tuple[Leading, str], way: str, target: str
) -> None:
    """In any spelling. Clients aren't redirected there either."""
    registry, url = leading
    registry.way = way.partition(",")[0]
    registry.url = target.format(host=bystander.host, port=bystander.port)
    with client_of(Outside(), f"lab={url}", redirect=way == PASSED_ON) as client:
        for method, path in WAYS[way]:
            if method == "POST":
                answer = upload(client, *OTHER, url=path, headers=ME)
            else:
                answer = client.open(path, method=method, headers=ME)
            assert answer.status_code in {401, 403, 404, 502, 504}, (method, path)
            assert "Location" not in answer.headers
    assert bystander.connections == 0
