"""StoredCopies: files of upstream in a namespace of their own, with the operator's credentials."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import AlreadyExists, Denied, InvalidRequest, PyOCIError, Unauthorized, Unreachable
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous, Basic, Credentials
from pyoci.oci.errors import RegistryFailed
from pyoci.oci.references import Registry
from pyoci.oci.session import Gateway
from pyoci.simple_api import reading
from pyoci.store.copies import OperatorLogin, StoredCopies
from pyoci.store.models import Namespace
from pyoci.upstream.address import FileHosts, UpstreamAddress
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.file_source import Wanted
from pyoci.upstream.files import UpstreamFiles
from pyoci.upstream.folder import Folder
from tests.builders import make_metadata, make_sdist, make_wheel
from tests.clock import Clock
from tests.registry import TestRegistry, make_namespace
from tests.serving import served
from tests.stores import make_store
from tests.upstreams import PackageIndex, json_page, package_index

FLASK, CONTENT = make_wheel("flask", "3.1.0", requires_python=">=3.9")
WHEN = "2026-01-02T03:04:05.678901Z"
PROVENANCE = b'{"version": 1, "attestation_bundles": []}'
MakeCopies = Callable[..., StoredCopies]


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as found:
        found.add_wheel("flask", "3.1.0", requires_python=">=3.9")
        yield found


@pytest.fixture
def files(elsewhere: PackageIndex, tmp_path: Path) -> Iterator[UpstreamFiles]:
    transport = Transport(sleep=lambda _: None, document_seconds=5.0)
    address = UpstreamAddress.parse(elsewhere.simple)
    yield UpstreamFiles(address, transport, Folder(tmp_path / "files", 10_000_000), FileHosts())
    transport.close()


@pytest.fixture
def make_copies(registry: TestRegistry, clock: Clock) -> MakeCopies:
    def make(login: Credentials | None = None, events: Events | None = None) -> StoredCopies:
        operator = OperatorLogin(lambda: login or Anonymous(), clock)
        store, namespace = registry.store(), make_namespace("upstream")
        return StoredCopies(store, namespace, operator, events or Events(), pause=clock.sleep, clock=clock)

    return make


@pytest.fixture
def copies(make_copies: MakeCopies) -> StoredCopies:
    return make_copies()


def upstreams_page(elsewhere: PackageIndex, name: str = "flask") -> UpstreamPage:
    text = json_page(name, elsewhere.projects[name]).encode()
    return UpstreamPage.of(reading.read_json(text, name, f"{elsewhere.simple}{name}/"))


def wanted(elsewhere: PackageIndex, name: str = "flask", index: int = 0) -> Wanted:
    found = Wanted.of(list(upstreams_page(elsewhere, name).files)[index], name)
    assert found is not None
    return found


def metadata(elsewhere: PackageIndex) -> Wanted:
    [file] = upstreams_page(elsewhere).files
    found = Wanted.metadata_of(file, "flask")
    assert found is not None
    return found


def read(copies: StoredCopies, file: Wanted) -> bytes | None:
    body = copies.open(file)
    return None if body is None else b"".join(body.pieces)


def test_a_copy_says_what_upstream_says(
    copies: StoredCopies, make_copies: MakeCopies, files: UpstreamFiles, elsewhere: PackageIndex
) -> None:
    """Its page has the same keys as upstream's, apart from the URL of the provenance, which isn't stored."""
    [entry] = elsewhere.projects["flask"]
    elsewhere.add_provenance(entry, PROVENANCE)
    assert copies.keep(wanted(elsewhere), files) == "stored"
    for each in (copies, make_copies()):
        page = each.page("flask")
        assert page is not None
        [file], [expected] = page.files, upstreams_page(elsewhere).files
        assert file.provenance is not None
        kept = file._replace(version=None, project_urls={}, provenance=None)
        assert kept == expected._replace(provenance=None)
        assert page.versions == ("3.1.0",)
    assert read(copies, wanted(elsewhere)) == CONTENT
    assert read(copies, metadata(elsewhere)) == make_metadata("flask", "3.1.0", requires_python=">=3.9")


def test_the_provenance_is_stored(
    copies: StoredCopies, files: UpstreamFiles, elsewhere: PackageIndex, registry: TestRegistry
) -> None:
    """One that can't be had doesn't keep the file from being stored."""
    elsewhere.add_wheel("bare")
    for name in ("flask", "bare"):
        [entry] = elsewhere.projects[name]
        entry["provenance"] = f"{elsewhere.url}/files/{entry['filename']}.provenance"
        assert entry["upload-time"] == WHEN
    elsewhere.contents[f"{FLASK}.provenance"] = PROVENANCE
    assert copies.keep(wanted(elsewhere), files) == "stored"
    assert copies.keep(wanted(elsewhere, "bare"), files) == "stored"
    store, namespace, name = registry.store(), make_namespace("upstream"), wanted(elsewhere).project
    assert store.provenance(namespace, ProjectName.parse(name), FLASK, Anonymous()) == PROVENANCE
    [entry] = registry.document("1.0", "bare", "upstream")["manifests"]
    assert "com.pyoci.provenance" not in entry["annotations"]
    assert entry["annotations"]["com.pyoci.upstream_url"] == wanted(elsewhere, "bare").url


def test_a_yank_follows(copies: StoredCopies, files: UpstreamFiles, elsewhere: PackageIndex) -> None:
    """Both ways, with the reason. A file that is stored isn't fetched again."""
    for yanked, result in [
        (False, "stored"),
        ("broken", "yanked"),
        (True, "yanked"),
        (True, "present"),
        (False, "yanked"),
    ]:
        elsewhere.projects["flask"][0]["yanked"] = yanked
        assert copies.keep(wanted(elsewhere), files) == result
        page = copies.page("flask")
        assert page is not None
        assert page.files[0].yanked == (yanked or None)
    assert len(elsewhere.calls) == 1


def test_what_is_not_stored(copies: StoredCopies, files: UpstreamFiles, elsewhere: PackageIndex) -> None:
    """Neither a project, nor a file, nor another file of the same name."""
    assert copies.page("flask") is None
    assert read(copies, wanted(elsewhere)) is None
    copies.keep(wanted(elsewhere), files)
    elsewhere.add(*make_sdist("flask", "3.1.0"))
    assert read(copies, wanted(elsewhere, index=1)) is None
    elsewhere.projects["flask"][0]["hashes"] = {"sha256": "ab" * 32}
    assert read(copies, wanted(elsewhere)) is None


LONG = f"1.0+{'a' * 130}"
UNFIT = [
    pytest.param("pytz-2004d-final.tar.gz", b"", InvalidRequest, id="old version"),
    pytest.param(*make_wheel("flask", LONG), InvalidRequest, id="long tag"),
    pytest.param("flask-1.0-py3-none-any.whl", b"no zip", InvalidRequest, id="no zip"),
    pytest.param(
        "flask-1.0-py3-none-any.whl", make_wheel("other", "1.0")[1], InvalidRequest, id="other name"
    ),
    pytest.param("flask-1.0-py2.7.egg", b"", InvalidRequest, id="egg"),
]


@pytest.mark.parametrize(("filename", "content", "refusal"), UNFIT)
def test_what_the_format_cannot_hold(
    copies: StoredCopies,
    files: UpstreamFiles,
    elsewhere: PackageIndex,
    registry: TestRegistry,
    filename: str,
    content: bytes,
    refusal: type[PyOCIError],
) -> None:
    """Nothing of it is stored."""
    entry = elsewhere.projects["flask"][0]
    entry |= {"filename": filename, "url": f"../../files/{filename}", "size": len(content)}
    entry["hashes"] = {"sha256": hashlib.sha256(content).hexdigest()}
    elsewhere.contents[filename] = content
    with pytest.raises(refusal):
        copies.keep(wanted(elsewhere), files)
    assert copies.page("flask") is None
    assert [call for call in registry.calls if call.startswith("PUT") and "/manifests/" in call] == []


def test_another_file_of_the_name(
    copies: StoredCopies, files: UpstreamFiles, elsewhere: PackageIndex
) -> None:
    """The first one stays."""
    copies.keep(wanted(elsewhere), files)
    other = make_wheel("flask", "3.1.0", requires_python=">=3.9", files={"other.py": b""})[1]
    elsewhere.projects["flask"].clear()
    elsewhere.add(FLASK, other)
    with pytest.raises(AlreadyExists):
        copies.keep(wanted(elsewhere), files)
    page = copies.page("flask")
    assert page is not None
    assert page.files[0].hashes == {"sha256": hashlib.sha256(CONTENT).hexdigest()}


def test_quarantine(copies: StoredCopies, files: UpstreamFiles, elsewhere: PackageIndex) -> None:
    """The page says so, and offers nothing; files are neither read nor added. Others stay unknown."""
    copies.quarantine("unknown", "malware")
    copies.keep(wanted(elsewhere), files)
    for _ in range(2):
        copies.quarantine("flask", "malware")
        assert copies.queue.wait(30)
    page = copies.page("flask")
    assert page is not None
    assert page.status is not None
    assert (page.files, page.status.status, page.status.reason) == ((), "quarantined", "malware")
    assert read(copies, wanted(elsewhere)) is None
    elsewhere.add(*make_sdist("flask", "3.1.0"))
    with pytest.raises(Denied):
        copies.keep(wanted(elsewhere, index=1), files)
    assert copies.page("unknown") is None


def test_two_workers_store_a_file(
    make_copies: MakeCopies, files: UpstreamFiles, elsewhere: PackageIndex, registry: TestRegistry
) -> None:
    """At the same time: it is there once."""
    workers = [make_copies(), make_copies()]
    for version in ("1.0", "2.0", "3.0"):
        elsewhere.projects.clear()
        elsewhere.add_wheel("crunch", version)
        file = wanted(elsewhere, "crunch")
        with ThreadPoolExecutor(2) as threads:
            results = list(threads.map(lambda copies, file=file: copies.keep(file, files), workers))
        assert "stored" in results
        assert set(results) <= {"stored", "present"}
        assert len(registry.document(version, "crunch", "upstream")["manifests"]) == 1


def test_a_folder_that_was_deleted_meanwhile(
    copies: StoredCopies, files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """The file is fetched again."""
    assert b"".join(files.open(wanted(elsewhere))) == CONTENT
    shutil.rmtree(tmp_path / "files")
    assert copies.keep(wanted(elsewhere), files) == "stored"
    assert read(copies, wanted(elsewhere)) == CONTENT


class TestFailures:
    def test_a_store_that_hangs(self, elsewhere: PackageIndex, files: UpstreamFiles, clock: Clock) -> None:
        """Reading and writing end in time, and the next requests don't wait."""
        go_on = threading.Event()

        def hang(_environ: Any, start_response: Any) -> list[bytes]:
            go_on.wait(60)
            start_response("503 Busy", [])
            return []

        transport = Transport(sleep=lambda _: None, document_seconds=0.3)
        with served(hang) as url:
            namespace = Namespace.parse(Registry.parse(url, listed=True), "upstream")
            store = make_store(Gateway(transport, ttl=60))
            copies = StoredCopies(store, namespace, OperatorLogin(Anonymous), Events(), clock=clock)
            with pytest.raises(Unreachable):
                copies.open(wanted(elsewhere))
            with pytest.raises(Unreachable, match="asked again within half a minute"):
                copies.page("flask")
            with pytest.raises(Unreachable):
                copies.keep(wanted(elsewhere), files)
            go_on.set()
        transport.close()

    def test_a_store_that_fails_is_left_alone_for_a_while(
        self, copies: StoredCopies, registry: TestRegistry, elsewhere: PackageIndex, clock: Clock
    ) -> None:
        """Requests don't wait for it."""
        registry.refuse = {".*": (503, "UNAVAILABLE")}
        with pytest.raises(RegistryFailed):
            copies.open(wanted(elsewhere))
        asked = len(registry.calls)
        for _ in range(3):
            with pytest.raises(Unreachable, match="asked again within half a minute"):
                copies.open(wanted(elsewhere))
            with pytest.raises(Unreachable, match="asked again within half a minute"):
                copies.page("flask")
        assert len(registry.calls) == asked
        registry.refuse = {}
        clock.now += 31
        assert copies.page("flask") is None

    @pytest.mark.parametrize("refusal", [(401, "UNAUTHORIZED"), (403, "DENIED")])
    def test_a_refusal_counts_as_absent(
        self,
        make_copies: MakeCopies,
        registry: TestRegistry,
        elsewhere: PackageIndex,
        refusal: tuple[int, str],
    ) -> None:
        """Some registries answer so for what they don't have. The log has it."""
        heard: list[tuple[str, dict[str, Any]]] = []
        events = Events(lambda event, **facts: heard.append((event, facts)))
        copies = make_copies(Basic("me", "hunter2"), events)
        registry.refuse = {".*": refusal}
        assert copies.page("flask") is None
        assert copies.open(wanted(elsewhere)) is None
        assert {event for event, facts in heard if facts["room"] == "store"} == {"copies not read"}
        assert "hunter2" not in repr((heard, copies))

    def test_bytes_that_broke_are_not_read_again_at_once(
        self, copies: StoredCopies, files: UpstreamFiles, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """The next request gets the file from upstream."""
        copies.keep(wanted(elsewhere), files)
        registry.answers = {"GET .*/blobs/": (b"x" * len(CONTENT), {})}
        with pytest.raises(PyOCIError):
            read(copies, wanted(elsewhere))
        registry.answers = {}
        assert read(copies, wanted(elsewhere)) is None


class TestLogin:
    def test_it_is_read_again_after_a_minute(self, clock: Clock) -> None:
        """Or after a refusal, so a password can be changed without a restart."""
        read: list[Credentials] = [Basic("me", str(number)) for number in range(3)]
        login = OperatorLogin(lambda: read.pop(0), clock)
        assert (login(), login()) == (Basic("me", "0"), Basic("me", "0"))
        clock.now += 61
        assert login() == Basic("me", "1")
        login.forget()
        assert login() == Basic("me", "2")
        assert "me" not in repr(login)

    def test_one_that_cannot_be_read(
        self, registry: TestRegistry, elsewhere: PackageIndex, files: UpstreamFiles
    ) -> None:
        """Nothing is read from the store or written to it."""

        def broken() -> Credentials:
            raise Unauthorized("the file can't be read")

        copies = StoredCopies(registry.store(), make_namespace("upstream"), OperatorLogin(broken), Events())
        assert copies.page("flask") is None
        assert copies.open(wanted(elsewhere)) is None
        with pytest.raises(Unauthorized):
            copies.keep(wanted(elsewhere), files)
        assert registry.calls == []
