"""Full disks, a missing spool directory, a read-only registry: one sentence, nothing is lost, and everything
works again afterwards without a restart.
"""

from __future__ import annotations

import errno
import io
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from flask.testing import FlaskClient

from pyoci.embedded import create_registry_app
from pyoci.embedded.storage import Disk
from pyoci.errors import PyOCIError
from pyoci.web.context import EXTENSION
from tests.builders import make_sdist, make_wheel
from tests.flows.conftest import Lines
from tests.registry import TestRegistry
from tests.store.shelf import content, names, publish

SDIST = make_sdist()
WHEEL = make_wheel()
LARGE = make_wheel(files={"hello_world.bin": Random(0).randbytes(300_000)})
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def upload(client: FlaskClient, filename: str, data: bytes) -> Any:
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
    return client.post("/local/acme/", data={**form, "content": (io.BytesIO(data), filename)})


def on_the_page(client: FlaskClient) -> list[str]:
    page = client.get("/local/acme/hello-world/", headers=JSON).get_json()
    return [file["filename"] for file in page["files"]]


class TestSpool:
    """The directory in which uploads are buffered."""

    @pytest.fixture
    def spool(self, client: FlaskClient, tmp_path: Path) -> Path:
        spool = tmp_path / "spool"
        spool.mkdir()
        site = client.application.extensions[EXTENSION]
        client.application.extensions[EXTENSION] = replace(site, spool=str(spool))
        assert upload(client, *SDIST).status_code == 200
        return spool

    def test_that_is_full(self, client: FlaskClient, spool: Path, lines: Lines) -> None:
        """507, and the log has the reason."""
        with files_of_at_most(100_000):
            refused = upload(client, *LARGE)
        assert (refused.status_code, refused.text) == (507, refused.status.partition(" ")[2])
        assert "no disk space" in refused.text
        assert any(line.get("errno") == "EFBIG" for line in lines.read_lines())
        assert on_the_page(client) == [SDIST[0]]
        assert upload(client, *LARGE).status_code == 200
        assert sorted(on_the_page(client)) == sorted([SDIST[0], LARGE[0]])
        assert list(spool.iterdir()) == []

    def test_that_is_gone(self, client: FlaskClient, spool: Path) -> None:
        """One sentence. When the directory exists again, uploads succeed."""
        shutil.rmtree(spool)
        refused = upload(client, *WHEEL)
        assert refused.status_code == 500
        assert len(refused.text.splitlines()) == 1
        assert on_the_page(client) == [SDIST[0]]
        spool.mkdir()
        assert upload(client, *WHEEL).status_code == 200


class Full:
    """A disk that fills up after a number of steps."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, operation: str, path: Path) -> None:
        if operation in {"remove", "truncate"}:
            return
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "no room", str(path))


def test_the_embedded_registrys_disk_fills_up_at_each_step(tmp_path: Path) -> None:
    """The upload is refused with one sentence, and nothing else has changed."""
    full = Full(1_000_000)
    registry = TestRegistry(tmp_path / "registry")
    registry._app = create_registry_app(
        registry.directory, htpasswd=None, local_only=False, disk=Disk(step=full)
    )
    store, refused = registry.store(), 0
    publish(store, *SDIST)
    while True:
        full.room = 3 * refused
        try:
            publish(store, *WHEEL)
            break
        except PyOCIError as exc:
            message = exc.message
        refused, full.room = refused + 1, 1_000_000
        assert "full" in message
        assert names(registry.store()) == [SDIST[0]]
    assert refused > 5
    assert sorted(names(registry.store())) == sorted([SDIST[0], WHEEL[0]])
    assert content(registry.store(), WHEEL[0]) == WHEEL[1]


@pytest.mark.parametrize(("status", "code"), [(405, "UNSUPPORTED"), (403, "DENIED"), (503, "UNAVAILABLE")])
def test_a_registry_that_only_reads(tmp_path: Path, status: int, code: str) -> None:
    """docker-registry in maintenance answers 405, others 403 or 503. Pages are served, and uploads succeed
    afterwards.
    """
    registry = TestRegistry(tmp_path / "registry")
    store = registry.store()
    publish(store, *SDIST)
    registry.refuse = {"^(POST|PUT|DELETE)": (status, code)}
    with pytest.raises(PyOCIError, match=code.lower()):
        publish(store, *WHEEL)
    assert names(store) == [SDIST[0]]
    registry.refuse = {}
    publish(store, *WHEEL)
    assert sorted(names(store)) == sorted([SDIST[0], WHEEL[0]])
