"""Hostile archives at a real server: each is answered with a sentence, in time and in bounded memory."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.builders import make_sdist, make_wheel
from tests.live import archives
from tests.live.archives import TAKEN, Archive
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import is_well

pytestmark = pytest.mark.live()

LIMIT = 150_000_000  # bytes of a form
SECONDS = 60  # until a test gives up; nothing here should take a tenth of it
MEMORY = 80_000  # kB over idle
LEFT = 100_000  # bytes that a registry may hold more after a refusal


class ArchiveServer:
    """A server with one worker, whose memory is measured, and the directory of its registry."""

    def __init__(self, server: Server, registry: Path) -> None:
        self.server, self._registry = server, registry
        self._session = requests.Session()
        self._session.trust_env = False
        self._worker = _only_child(server.process.pid)
        self._idle = 0

    def upload(self, archive: Archive, content: bytes) -> tuple[requests.Response, str]:
        """Upload into a new namespace; returns the answer, and the namespace's URL."""
        root = f"{self.server.url}/local/a{uuid.uuid4().hex[:8]}/"
        form = {
            ":action": "file_upload",
            "protocol_version": "1",
            "name": "hello-world",
            "version": "1.0",
            "sha256_digest": hashlib.sha256(content).hexdigest(),
        }
        files = {"content": (archive.filename, content)}
        return self._session.post(root, data=form, files=files, timeout=SECONDS), root

    def get(self, url: str) -> requests.Response:
        return self._session.get(url, timeout=SECONDS)

    def begin(self) -> None:
        """Measure the worker's memory from now on."""
        # "5" sets VmHWM back to VmRSS (proc(5), clear_refs).
        Path(f"/proc/{self._worker}/clear_refs").write_text("5")
        self._idle = self._status("VmRSS")

    def grown(self) -> int:
        """The worker's peak of memory above its idle size, in kB."""
        return self._status("VmHWM") - self._idle

    def held(self) -> int:
        """The bytes in the registry's directory."""
        return sum(path.stat().st_size for path in self._registry.rglob("*") if path.is_file())

    def close(self) -> None:
        self._session.close()

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self._worker}/status").read_text()
        found = re.search(rf"^{name}:\s*(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1])


def _only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@pytest.fixture(scope="module")
def server(servers: Servers) -> Iterator[ArchiveServer]:
    folder = servers.folder / "archives"
    folder.mkdir()
    port = Port()
    settings = {"WEB_CONCURRENCY": "1", "PYOCI_MAX_BODY": str(LIMIT)}
    server = start_pyoci(servers, "archives-pyoci", port, PYOCI_EMBEDDED=str(folder / "registry"), **settings)
    made = ArchiveServer(server, folder / "registry")
    for name, content in (make_wheel(), make_sdist()):  # so that all is loaded
        made.upload(Archive(name, bytes), content)
    made.begin()
    yield made
    made.close()
    port.close()


@pytest.mark.parametrize("archive", archives.ZIPS.values(), ids=archives.ZIPS)
def test_zip(server: ArchiveServer, archive: Archive) -> None:
    """A wheel's zip with any content."""
    check(server, archive)


@pytest.mark.parametrize("archive", archives.METADATAS.values(), ids=archives.METADATAS)
def test_metadata(server: ArchiveServer, archive: Archive) -> None:
    """METADATA of any size and kind."""
    check(server, archive)


@pytest.mark.parametrize("archive", archives.TARS.values(), ids=archives.TARS)
def test_tar(server: ArchiveServer, archive: Archive) -> None:
    """An sdist's tar.gz or tar.bz2 with any content."""
    check(server, archive)


@pytest.mark.parametrize("archive", archives.CUT.values(), ids=archives.CUT)
def test_cut(server: ArchiveServer, archive: Archive) -> None:
    """An incomplete archive."""
    check(server, archive)


def check(server: ArchiveServer, archive: Archive) -> None:
    """The archive is accepted, or refused with a sentence and nothing stored. Memory is bounded, and the
    server survives.
    """
    content, held = archive.make(), server.held()
    answer, root = server.upload(archive, content)
    assert answer.status_code == archive.status, answer.text
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert archive.sentence in answer.text
    assert re.fullmatch(r"[ -~]{10,500}", answer.text)
    assert server.grown() < MEMORY
    assert server.get(f"{root}hello-world/").status_code == (200 if archive.status == TAKEN else 404)
    assert archive.status == TAKEN or server.held() - held < LEFT
    assert is_well(server.server)
