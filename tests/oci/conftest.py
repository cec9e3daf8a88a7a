"""A gateway whose registries send the answers of the test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses

from pyoci.events import Events
from pyoci.net.addresses import Resolver
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous, Basic, Credentials
from pyoci.oci.models import IMAGE_INDEX
from pyoci.oci.references import Digest, Registry, Repository, Tag
from pyoci.oci.session import Gateway, OCISession
from tests.clock import Clock
from tests.net.conftest import certificate

__all__ = ["certificate"]  # a fixture of tests/net

REGISTRY = Registry.parse("registry.example")
REPOSITORY = Repository.parse(REGISTRY, "acme/hello_world")
BASE = "https://registry.example/v2/acme/hello_world"
TOKENS = "https://auth.example/token"
TAG = Tag.parse("1.0")
SOMEBODY = Basic("user", "secret")
INDEX_BODY = json.dumps({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []}).encode()


def sha256(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())


def lookup(host: str, _port: int) -> list[str]:
    """Names with `private` in them have private addresses, all others public ones."""
    return ["10.0.0.1"] if host.startswith(("private", "10.")) else ["8.8.8.8"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[dict[str, Any]]:
    """Every event that was logged."""
    return []


MakeGateway = Callable[..., Gateway]


@pytest.fixture
def make_gateway(clock: Clock, told: list[dict[str, Any]]) -> Iterator[MakeGateway]:
    transport = Transport(resolver=Resolver(lookup), sleep=clock.sleep, clock=clock, jitter=lambda: 0.5)
    events = Events(lambda event, **facts: told.append({"event": event, **facts}))

    def make(**options: Any) -> Gateway:
        return Gateway(transport, **{"ttl": 60, "events": events, "clock": clock, **options})

    yield make
    transport.close()


@pytest.fixture
def gateway(make_gateway: MakeGateway) -> Gateway:
    return make_gateway()


MakeSession = Callable[..., OCISession]


@pytest.fixture
def make_session(gateway: Gateway) -> MakeSession:
    def make(
        credentials: Credentials = SOMEBODY, *, publishing: bool = False, registry: Registry = REGISTRY
    ) -> OCISession:
        return gateway.session(registry, credentials, publishing=publishing)

    return make


@pytest.fixture
def session(make_session: MakeSession) -> OCISession:
    return make_session()


@pytest.fixture
def anonymous(make_session: MakeSession) -> OCISession:
    return make_session(Anonymous())


@pytest.fixture
def answers() -> Iterator[responses.RequestsMock]:
    """The answers of registries. Those for one URL are given in their order."""
    target = "pyoci.net.adapters.PooledAdapter.send"
    with responses.RequestsMock(assert_all_requests_are_fired=False, target=target) as mock:
        yield mock


def trips(answers: responses.RequestsMock) -> list[str]:
    """The requests, in order: method and path, or `token` for a token request."""
    found = []
    for call in answers.calls:
        url = str(call.request.url)
        path = url.partition("?")[0].removeprefix(BASE)
        found.append("token" if url.startswith(TOKENS) else f"{call.request.method} {path}")
    return found


def sent(answers: responses.RequestsMock) -> list[str | None]:
    """The Authorization of each request, in order."""
    return [call.request.headers.get("Authorization") for call in answers.calls]


def bearer(scope: str = "repository:acme/hello_world:pull", realm: str = TOKENS) -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry.example",scope="{scope}"'}
