"""METADATA that is read from the end of a wheel in a registry, directly and through redirects."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from typing import Any

import pytest

from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.filenames import parse_filename
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous
from pyoci.oci.references import Digest, Registry, Repository
from pyoci.oci.session import Gateway
from pyoci.store.backfill import MetadataBackfill
from pyoci.store.models import PackageFile
from tests.builders import make_metadata, make_wheel, make_zip
from tests.live.redirecting import RedirectingRegistry
from tests.live.servers import Server
from tests.stores import make_project

pytestmark = pytest.mark.live("docker-registry")

NOISE = random.Random(1).randbytes(2_000_000)
PATH = "hello_world-1.0.dist-info/METADATA"
TEXT = make_metadata()


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


@pytest.fixture(params=["direct", "redirecting"])
def url(request: pytest.FixtureRequest, docker_registry: Server) -> Iterator[str]:
    """docker-registry, and one that redirects downloads of blobs."""
    if request.param == "direct":
        yield docker_registry.url
        return
    with RedirectingRegistry(docker_registry.url).running() as front:
        yield front


@pytest.mark.parametrize(
    ("content", "requests", "size"),
    [
        pytest.param(make_zip({"a.bin": NOISE, PATH: TEXT}), 1, 66 * 1024, id="at-the-end"),
        pytest.param(make_zip({PATH: TEXT, "a.bin": NOISE}), 2, 82 * 1024, id="at-the-start"),
        pytest.param(make_zip({PATH: TEXT}), 1, len(make_zip({PATH: TEXT})), id="small"),
    ],
)
def test_backfill(url: str, transport: Transport, content: bytes, requests: int, size: int) -> None:
    """It takes one request or two, and a few kB of the wheel."""
    registry = Registry.parse(url, listed=True)
    repository = Repository.parse(registry, "learned/hello_world")
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    gateway, events = Gateway(transport, ttl=60), list[dict[str, Any]]()
    gateway.session(registry, Anonymous(), publishing=True).push_blob(
        repository, io.BytesIO(content), len(content), digest
    )
    backfill = MetadataBackfill(MemoryBackend())
    file = PackageFile(distribution=parse_filename(make_wheel()[0]), sha256=digest.hex)
    project = make_project(
        gateway.session(registry, Anonymous()),
        repository,
        events=Events(lambda event, **facts: events.append(facts)),
    )

    assert backfill.fill_in(project, file) == hashlib.sha256(TEXT).hexdigest()
    assert backfill.text(project, file) == TEXT
    assert [(facts["requests"], facts["bytes"]) for facts in events] == [(requests, size)]
