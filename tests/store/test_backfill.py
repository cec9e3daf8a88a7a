"""METADATA of wheels that were published without it: read from their ends, once, and remembered."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.filenames import parse_filename
from pyoci.errors import (
    ClientLeft,
    Denied,
    NotFound,
    ProtocolError,
    PyOCIError,
    RateLimited,
    Unauthorized,
    Unreachable,
)
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous
from pyoci.oci.references import Registry, Repository
from pyoci.oci.session import Gateway, OCISession
from pyoci.store import backfill
from pyoci.store.backfill import MetadataBackfill
from pyoci.store.models import PackageFile
from pyoci.store.project import StoredProject
from tests.builders import make_metadata, make_sdist, make_wheel, make_zip
from tests.clock import Clock
from tests.registry import TestRegistry, make_repository
from tests.serving import served
from tests.store.shelf import page
from tests.store.test_format import put_rust_package
from tests.stores import make_cache, make_project

REPOSITORY = make_repository()
OF = f"{REPOSITORY.registry.origin}\0{REPOSITORY.name}"  # how the backend's keys name it
HEX = "a" * 64
WHEEL, BYTES = make_wheel()
TEXT = make_metadata()
PATH = "hello_world-1.0.dist-info/METADATA"
NOISE = random.Random(1).randbytes(300_000)


def make_file(content: bytes = BYTES, filename: str = WHEEL) -> PackageFile:
    """A file as on the page of a project that the Rust PyOCI published."""
    return PackageFile(distribution=parse_filename(filename), sha256=hashlib.sha256(content).hexdigest())


class Forgetful(MemoryBackend):
    """A backend that stores nothing."""

    def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        """Store nothing."""


@dataclass
class Reader:
    """Reads METADATA from one registry."""

    registry: TestRegistry
    backend: MemoryBackend = field(default_factory=MemoryBackend)
    clock: Clock = field(default_factory=lambda: Clock(0))
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backfill = MetadataBackfill(self.backend, clock=self.clock)
        self.cache = make_cache(self.backend)
        self._begun = self.backend.position(OF)

    def project(
        self, repository: Repository = REPOSITORY, session: OCISession | None = None
    ) -> StoredProject:
        listening = Events(lambda event, **facts: self.events.append({"event": event, **facts}))
        return make_project(session or self.registry.session(), repository, self.cache, listening)

    def fill_in(self, file: PackageFile, repository: Repository = REPOSITORY) -> str | None:
        return self.backfill.fill_in(self.project(repository), file)

    def text(self, file: PackageFile, repository: Repository = REPOSITORY) -> bytes | None:
        return self.backfill.text(self.project(repository), file)

    def known(self, repository: Repository = REPOSITORY) -> dict[str, str]:
        return dict(self.backfill.known(self.project(repository)))

    @property
    def invalidations(self) -> int:
        """How often the project's page was invalidated."""
        now = self.backend.position(OF)
        assert now is not None
        assert self._begun is not None
        return now.count - self._begun.count

    @property
    def blob_reads(self) -> int:
        return sum("GET" in line and "/blobs/" in line for line in self.registry.calls)


@pytest.fixture
def reader(registry: TestRegistry) -> Reader:
    return Reader(registry)


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def test_what_the_rust_pyoci_published_is_read(registry: TestRegistry, reader: Reader) -> None:
    """From one request, once; the page is invalidated once."""
    put_rust_package(registry, WHEEL, BYTES)
    (file,) = page(registry.store()).files
    assert file.core_metadata is None
    registry.calls.clear()
    assert reader.known() == {}
    assert reader.fill_in(file) == sha256(TEXT)
    assert reader.fill_in(file) == sha256(TEXT)
    assert reader.known() == {file.sha256: sha256(TEXT)}
    assert reader.text(file) == TEXT
    assert reader.invalidations == 1
    assert registry.calls == [f"GET acme/hello_world/blobs/sha256:{file.sha256}"]
    assert [(fact["event"], fact["requests"]) for fact in reader.events] == [("METADATA read", 1)]


def test_a_request_that_was_ended_says_nothing(registry: TestRegistry, reader: Reader) -> None:
    """The next request reads the METADATA."""
    put_rust_package(registry, WHEEL, BYTES)
    (file,) = page(registry.store()).files

    def leave(_line: str) -> None:
        raise ClientLeft("the client has left")

    registry.before = leave
    assert reader.fill_in(file) is None
    registry.before = None
    assert reader.fill_in(file) == sha256(TEXT)


def zip64(text: bytes) -> bytes:
    """A wheel that is larger than the part that is read, and whose METADATA needs zip64."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.bin", NOISE)
        with archive.open(PATH, "w", force_zip64=True) as member:
            member.write(text)
    return target.getvalue()


def commented(content: bytes, size: int) -> bytes:
    target = io.BytesIO(content)
    with zipfile.ZipFile(target, "a") as archive:
        archive.comment = b"x" * size
    return target.getvalue()


LONG = make_metadata(body=random.Random(2).randbytes(1_500_000).hex())
MANY = {f"pkg/module_number_{number}.py": b"" for number in range(3000)}


@pytest.mark.parametrize(
    ("make", "text", "requests"),
    [
        pytest.param(lambda: make_zip({"a.bin": NOISE, PATH: TEXT}), TEXT, 1, id="at the end"),
        pytest.param(lambda: make_zip({PATH: TEXT, "a.bin": NOISE}), TEXT, 2, id="at the start"),
        pytest.param(lambda: make_zip({"a": NOISE, PATH: TEXT, "b": NOISE}), TEXT, 2, id="in the middle"),
        pytest.param(lambda: make_zip({"a.bin": NOISE, PATH: TEXT, **MANY}), TEXT, 3, id="long directory"),
        pytest.param(
            lambda: commented(make_zip({"a.bin": NOISE, PATH: TEXT}), 60_000), TEXT, 1, id="comment"
        ),
        pytest.param(
            lambda: commented(make_zip({"a.bin": NOISE, PATH: TEXT}), 65_535), TEXT, 1, id="longest comment"
        ),
        pytest.param(lambda: make_zip({PATH: LONG, "a.bin": NOISE}), LONG, 3, id="3 MB"),
        pytest.param(lambda: zip64(TEXT), TEXT, 1, id="zip64"),
        pytest.param(lambda: make_zip({PATH: TEXT}), TEXT, 1, id="small"),
    ],
)
def test_a_wheel_costs_few_requests(
    registry: TestRegistry, reader: Reader, make: Callable[[], bytes], text: bytes, requests: int
) -> None:
    """At any position and size of METADATA."""
    content = make()
    registry.put_blob(content)
    registry.calls.clear()
    assert reader.fill_in(make_file(content)) == sha256(text)
    assert reader.text(make_file(content)) == text
    assert len(registry.calls) == requests


def directory_at(content: bytes, offset: int) -> bytes:
    """A zip whose end record has a wrong offset of the directory."""
    end = bytearray(content)
    place = content.rindex(b"PK\x05\x06") + 16
    end[place : place + 4] = offset.to_bytes(4, "little")
    return bytes(end)


def member_at(content: bytes, offset: int) -> bytes:
    """A zip whose directory has a wrong offset of METADATA."""
    changed = bytearray(content)
    place = content.rindex(PATH.encode()) - 4
    changed[place : place + 4] = offset.to_bytes(4, "little")
    return bytes(changed)


PLAIN = make_zip({"a.bin": NOISE, PATH: TEXT})
HOSTILE = [
    pytest.param(lambda: b"", id="nothing"),
    pytest.param(lambda: NOISE, id="noise"),
    pytest.param(lambda: PLAIN[:-30], id="end cut off"),
    pytest.param(lambda: PLAIN[-1000:], id="beginning cut off"),
    pytest.param(lambda: make_zip({"a.bin": NOISE}), id="no METADATA"),
    pytest.param(lambda: make_zip({PATH: make_metadata(version="2.0")}), id="of another version"),
    pytest.param(lambda: make_zip({PATH: make_metadata("other")}), id="of another project"),
    pytest.param(lambda: make_zip({"other-1.0.dist-info/METADATA": TEXT}), id="in another's folder"),
    pytest.param(
        lambda: make_zip({PATH: make_metadata(body="caf\xe9").decode().encode("latin-1")}), id="not UTF-8"
    ),
    pytest.param(lambda: directory_at(PLAIN, 2**31), id="directory outside"),
    pytest.param(lambda: directory_at(PLAIN, 0), id="directory elsewhere"),
    pytest.param(lambda: member_at(PLAIN, 2**31), id="member outside"),
    pytest.param(lambda: member_at(PLAIN, 0), id="overlapping"),
    pytest.param(lambda: make_zip({PATH: TEXT + bytes(5_000_000)}), id="bomb"),
    pytest.param(
        lambda: make_zip({PATH: TEXT, **{f"{n:0200}": b"" for n in range(25_000)}}), id="endless directory"
    ),
]


@pytest.mark.parametrize("make", HOSTILE)
def test_an_odd_archive_has_no_metadata(
    registry: TestRegistry, reader: Reader, make: Callable[[], bytes]
) -> None:
    """Nothing is raised, nothing is announced, and at most 5 MB are read. For an hour it
    isn't tried again.
    """
    content = make()
    file = make_file(content)
    registry.put_blob(content)
    registry.calls.clear()
    assert reader.fill_in(file) is None
    asked = len(registry.calls)
    assert 0 < asked <= 8
    assert (reader.fill_in(file), reader.text(file)) == (None, None)
    assert len(registry.calls) == asked
    reader.clock.now = 3601
    assert reader.fill_in(file) is None
    assert len(registry.calls) == 2 * asked
    assert reader.known() == {}
    assert reader.invalidations == 0
    assert [fact["event"] for fact in reader.events] == ["METADATA not read"] * 2


def test_an_odd_archive_has_no_text(registry: TestRegistry, reader: Reader) -> None:
    """The first request for its METADATA gets an error; for the next one the registry isn't asked."""
    registry.put_blob(NOISE)
    registry.calls.clear()
    assert reader.text(make_file(NOISE)) is None
    assert reader.text(make_file(NOISE)) is None
    assert len(registry.calls) == 1


def test_an_sdist_is_never_asked_for(registry: TestRegistry, reader: Reader) -> None:
    """Its PKG-INFO isn't METADATA. It doesn't get a wheel's METADATA, either, if it has the digest of a
    wheel.
    """
    registry.put_blob(BYTES)
    reader.fill_in(make_file())
    registry.calls.clear()
    name, content = make_sdist()
    for file in (make_file(content, name), make_file(BYTES, name)):
        assert (reader.fill_in(file), reader.text(file)) == (None, None)
    assert registry.calls == []


@pytest.mark.parametrize(
    ("status", "code", "kind", "tries_again"),
    [
        (401, "UNAUTHORIZED", Unauthorized, True),
        (403, "DENIED", (Denied, Unauthorized), True),
        (404, "BLOB_UNKNOWN", NotFound, True),
        (429, "TOOMANYREQUESTS", RateLimited, False),
        (500, "UNKNOWN", ProtocolError, False),
        (504, "UNKNOWN", Unreachable, False),
    ],
)
def test_what_the_registry_refuses(
    registry: TestRegistry,
    reader: Reader,
    status: int,
    code: str,
    kind: type[PyOCIError] | tuple[type[PyOCIError], ...],
    tries_again: bool,
) -> None:
    """`text` raises the refusal, and `fill_in` raises nothing. Another caller may succeed."""
    registry.put_blob(BYTES)
    registry.refuse = {"GET|HEAD": (status, code)}
    file = make_file()
    with pytest.raises(kind):
        reader.text(file)
    assert reader.fill_in(file) is None
    registry.refuse = {}
    assert reader.fill_in(file) == (sha256(TEXT) if tries_again else None)
    reader.clock.now = 3601
    assert reader.fill_in(file) == sha256(TEXT)


def test_lost_metadata_is_read_again(registry: TestRegistry, reader: Reader) -> None:
    """If METADATA, the record, or both are lost."""
    registry.put_blob(BYTES)
    file = make_file()
    reader.fill_in(file)
    keys = [f"METADATA\0{OF}\0{file.sha256}", f"learned\0{OF}"]
    for lost in ([keys[0]], [keys[1]], keys):
        for key in lost:
            assert reader.backend.get(key) is not None
            reader.backend.discard(key)
        reads = reader.blob_reads
        assert reader.text(file) == TEXT
        assert reader.text(file) == TEXT
        assert reader.blob_reads == reads + 1
    assert reader.known() == {file.sha256: sha256(TEXT)}


def test_announced_metadata_is_read_again_after_failures(registry: TestRegistry, reader: Reader) -> None:
    """A client gets the METADATA that the page has announced."""
    registry.put_blob(BYTES)
    file = make_file()
    registry.refuse = {"GET|HEAD": (500, "UNKNOWN")}
    reader.fill_in(file)
    registry.refuse = {}
    MetadataBackfill(reader.backend).fill_in(reader.project(), file)
    reader.backend.discard(f"METADATA\0{OF}\0{file.sha256}")
    assert reader.text(file) == TEXT


@pytest.mark.parametrize("kept", [b"Name: evil\n", b"", TEXT[:-1]])
def test_metadata_that_was_changed_is_read_again(registry: TestRegistry, reader: Reader, kept: bytes) -> None:
    """If a cached value has another hash than the record, it isn't used."""
    registry.put_blob(BYTES)
    file = make_file()
    reader.fill_in(file)
    reader.backend.put(f"METADATA\0{OF}\0{file.sha256}", kept)
    assert reader.text(file) == TEXT


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"[]",
        b"null",
        json.dumps({"wheels": {HEX: HEX}}).encode(),
        json.dumps({"of": f"{OF}_too", "wheels": {HEX: HEX}}).encode(),
        json.dumps({"of": OF, "wheels": [HEX]}).encode(),
        json.dumps({"of": OF, "wheels": {HEX: HEX[1:]}}).encode(),
        json.dumps({"of": OF, "wheels": {HEX: 1}}).encode(),
        json.dumps({"of": OF, "wheels": {"x": HEX}}).encode(),
        json.dumps({"of": OF, "wheels": {f"{n:064}": HEX for n in range(20_000)}}).encode(),
    ],
)
def test_invalid_record_is_replaced(registry: TestRegistry, reader: Reader, record: bytes) -> None:
    """Also a record of another repository."""
    registry.put_blob(BYTES)
    reader.backend.put(f"learned\0{OF}", record)
    assert reader.known() == {}
    assert reader.text(make_file()) == TEXT
    assert reader.known() == {make_file().sha256: sha256(TEXT)}


def test_one_repository_tells_nothing_of_another(registry: TestRegistry, reader: Reader) -> None:
    """A caller who may push to one could put the digest of the other's wheel there."""
    registry.put_blob(BYTES)
    reader.fill_in(make_file())
    other = make_repository("other")
    assert reader.known(other) == {}
    with pytest.raises(NotFound):
        reader.text(make_file(), other)
    assert reader.fill_in(make_file(), other) is None


def test_a_record_has_bounds(registry: TestRegistry, reader: Reader) -> None:
    """The oldest entry is removed, and the newest is kept."""
    old = {f"{number:064}": HEX for number in range(backfill.WHEELS)}
    reader.backend.put(f"learned\0{OF}", json.dumps({"of": OF, "wheels": old}).encode())
    registry.put_blob(BYTES)
    reader.fill_in(make_file())
    known = reader.known()
    assert len(known) == backfill.WHEELS
    assert next(iter(known)) == f"{1:064}"
    assert list(known)[-1] == make_file().sha256


def test_metadata_that_is_not_stored_is_not_announced(registry: TestRegistry) -> None:
    """If the backend fails, METADATA is served but not announced, and isn't read again at each download."""
    reader = Reader(registry, Forgetful())
    registry.put_blob(BYTES)
    assert reader.fill_in(make_file()) is None
    assert reader.fill_in(make_file()) is None
    assert reader.blob_reads == 1
    assert reader.invalidations == 0


def test_concurrent_requests_read_metadata_once(registry: TestRegistry, reader: Reader) -> None:
    """32 threads start at once: one asks the registry, the others continue without METADATA."""
    registry.put_blob(BYTES)
    registry.calls.clear()
    ready = threading.Barrier(32)

    def learn(_: int) -> str | None:
        ready.wait(60)
        return reader.fill_in(make_file())

    with ThreadPoolExecutor(32) as threads:
        results = set(threads.map(learn, range(32)))
    assert results <= {None, sha256(TEXT)}
    assert sha256(TEXT) in results
    assert len(registry.calls) == 1
    assert reader.invalidations == 1


def test_concurrent_requests_share_the_text(registry: TestRegistry, reader: Reader) -> None:
    """32 threads need METADATA at once: one asks the registry, and all get the text."""
    registry.put_blob(BYTES)
    registry.calls.clear()
    ready = threading.Barrier(32)

    def text(_: int) -> bytes | None:
        ready.wait(60)
        return reader.text(make_file())

    with ThreadPoolExecutor(32) as threads:
        assert set(threads.map(text, range(32))) == {TEXT}
    assert len(registry.calls) == 1


def test_many_wheels_of_one_repository_at_once(registry: TestRegistry, reader: Reader) -> None:
    """None of them is lost from the record."""
    wheels = [make_wheel(tag=f"py3-none-linux_{number}") for number in range(32)]
    for _, content in wheels:
        registry.put_blob(content)
    with ThreadPoolExecutor(32) as threads:
        assert None not in list(
            threads.map(lambda wheel: reader.fill_in(make_file(wheel[1], wheel[0])), wheels)
        )
    assert len(reader.known()) == 32


@pytest.fixture
def distant(registry: TestRegistry) -> Iterator[Callable[[], OCISession]]:
    """Sessions at the registry over real sockets."""
    transport = Transport()
    with served(registry) as url:
        there = Registry.parse(url, listed=True)
        yield lambda: Gateway(transport, ttl=60).session(there, Anonymous())
    transport.close()


def test_over_the_wire(registry: TestRegistry, reader: Reader, distant: Callable[[], OCISession]) -> None:
    """A wheel of 20 MB takes one request and 66 KiB."""
    content = make_zip({"a.bin": random.Random(4).randbytes(20_000_000), PATH: TEXT})
    registry.put_blob(content)
    registry.calls.clear()
    session = distant()
    repository = Repository.parse(session.registry, REPOSITORY.name)
    assert reader.backfill.fill_in(reader.project(repository, session), make_file(content)) == sha256(TEXT)
    assert len(registry.calls) == 1
    assert reader.events[-1]["bytes"] == 66 * 1024
