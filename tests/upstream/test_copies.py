"""CopiesFirst and KeptFiles: copies before upstream, and pages of what is kept."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Response

from pyoci.errors import NotFound, ProtocolError, PyOCIError, Unavailable, Unreachable
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.simple_api.model import File, ProjectStatus
from pyoci.upstream.address import FileHosts, UpstreamAddress
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.copies import KeptFiles
from pyoci.upstream.file_source import Body, Wanted
from pyoci.upstream.files import UpstreamFiles
from pyoci.upstream.folder import Folder
from tests.upstream_pages import make_upstream_file, make_upstream_page
from tests.upstreams import PackageIndex, package_index

NAME = "flask-3.1.0-py3-none-any.whl"
CONTENT = bytes(range(256)) * 8000
OFFSETS = [0, 1, 65_536, len(CONTENT) // 2, len(CONTENT) - 1]
MakeFiles = Callable[..., UpstreamFiles]


@dataclass
class Copies:
    """A store with copies of files. It breaks off after `ends` bytes, and refuses with `failure`."""

    contents: dict[str, bytes] = field(default_factory=dict)  # by file name
    pages: dict[str, UpstreamPage] = field(default_factory=dict)
    ends: int | None = None
    failure: PyOCIError | None = None
    offered: list[str] = field(default_factory=list)
    closed: int = 0

    def page(self, name: str) -> UpstreamPage | None:
        if self.failure is not None:
            raise self.failure
        return self.pages.get(name)

    def open(self, wanted: Wanted) -> Body | None:
        if self.failure is not None:
            raise self.failure
        content = self.contents.get(wanted.filename)
        return None if content is None else Body(len(content), self._pieces(content), self._close)

    def provenance(self, wanted: Wanted) -> bytes | None:
        return self.contents.get(wanted.filename)

    def offer(self, wanted: Wanted, files: UpstreamFiles) -> None:
        with files.whole(wanted) as content:
            assert content.read() == CONTENT
        self.offered.append(wanted.filename)

    def quarantine(self, name: str, reason: str) -> None:
        self.offered.append(f"{name}: {reason}")

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content) if self.ends is None else self.ends, 50_000):
            yield content[start : min(start + 50_000, self.ends or len(content))]
        if self.ends is not None:
            raise Unavailable("the store broke off")

    def _close(self) -> None:
        self.closed += 1


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as found:
        found.add(NAME, CONTENT)
        yield found


@pytest.fixture
def copies() -> Copies:
    return Copies({NAME: CONTENT})


@pytest.fixture
def make_files(elsewhere: PackageIndex, copies: Copies, tmp_path: Path) -> Iterator[MakeFiles]:
    made: list[Transport] = []

    def make(*, offline: bool = False, size: int = 10_000_000, events: Events | None = None) -> UpstreamFiles:
        transport = Transport(sleep=lambda _: None, document_seconds=5.0)
        made.append(transport)
        address, folder = UpstreamAddress.parse(elsewhere.simple), Folder(tmp_path / "files", size)
        return UpstreamFiles(
            address, transport, folder, FileHosts(), events=events, copies=copies, offline=offline
        )

    yield make
    for transport in made:
        transport.close()


def wanted(elsewhere: PackageIndex, **changes: Any) -> Wanted:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    file = File(NAME, f"{elsewhere.url}/files/{NAME}", {"sha256": sha256}, len(CONTENT))
    found = Wanted.of(file._replace(**changes), "flask")
    assert found is not None
    return found


@pytest.mark.parametrize("size", [10_000_000, 100], ids=["folder", "no folder"])
class TestCopiesFirst:
    def test_a_copy_is_used(
        self, make_files: MakeFiles, elsewhere: PackageIndex, copies: Copies, size: int
    ) -> None:
        """Upstream isn't asked. What was served whole is offered, and so is a part of it."""
        files = make_files(size=size)
        assert b"".join(files.open(wanted(elsewhere))) == CONTENT
        assert len(b"".join(files.open(wanted(elsewhere), range(5)))) in {5, len(CONTENT)}
        assert elsewhere.calls == []
        assert copies.offered == [NAME, NAME]

    @pytest.mark.parametrize("url", ["", "http://10.0.0.5/files/x.whl"], ids=["unknown", "not permitted"])
    def test_a_copy_from_elsewhere(
        self, make_files: MakeFiles, elsewhere: PackageIndex, copies: Copies, size: int, url: str
    ) -> None:
        """It is served, although its URL may not be requested; without it that is refused."""
        files = make_files(size=size)
        assert b"".join(files.open(wanted(elsewhere, url=url))) == CONTENT
        copies.contents.clear()
        with pytest.raises(ProtocolError, match="may not be requested"):
            b"".join(files.open(wanted(elsewhere, url=url, hashes={"sha256": "ab" * 32})))

    @pytest.mark.parametrize("ends", OFFSETS)
    def test_a_store_that_breaks_off(
        self, make_files: MakeFiles, elsewhere: PackageIndex, copies: Copies, size: int, ends: int
    ) -> None:
        """The rest comes from upstream."""
        copies.ends = ends
        assert b"".join(make_files(size=size).open(wanted(elsewhere))) == CONTENT
        assert set(elsewhere.calls) == {f"GET /files/{NAME} 200"}
        assert copies.closed > 0

    def test_both_break_off(
        self, make_files: MakeFiles, elsewhere: PackageIndex, copies: Copies, size: int
    ) -> None:
        """The download does, too, and nothing is kept or offered."""
        copies.ends = 100_000
        elsewhere.answer = lambda _: Response("down", 503)
        with pytest.raises(PyOCIError):
            list(make_files(size=size).open(wanted(elsewhere)))
        assert copies.offered == []

    def test_other_bytes(
        self, make_files: MakeFiles, elsewhere: PackageIndex, copies: Copies, size: int
    ) -> None:
        """They don't have the page's sha256: the last piece isn't passed on."""
        copies.contents[NAME] = b"x" * len(CONTENT)
        download = iter(make_files(size=size).open(wanted(elsewhere)))
        seen = bytearray()
        with pytest.raises(PyOCIError):
            seen.extend(itertools.chain.from_iterable(download))
        assert len(seen) < len(CONTENT)

    def test_a_store_that_cannot_be_asked(
        self, make_files: MakeFiles, elsewhere: PackageIndex, copies: Copies, size: int
    ) -> None:
        """The file comes from upstream, with a warning."""
        heard: list[str] = []
        copies.failure = Unreachable("no answer")
        events = Events(lambda event, **_: heard.append(event))
        with pytest.raises(Unreachable):
            list(make_files(size=size, offline=True).open(wanted(elsewhere)))
        assert elsewhere.calls == []
        assert b"".join(make_files(size=size, events=events).open(wanted(elsewhere))) == CONTENT
        assert "copy not read" in heard

    def test_offline(self, make_files: MakeFiles, elsewhere: PackageIndex, copies: Copies, size: int) -> None:
        """Upstream isn't asked, and nothing is offered. The page need not have a usable URL."""
        files = make_files(size=size, offline=True)
        assert b"".join(files.open(wanted(elsewhere, url=""))) == CONTENT
        copies.contents.clear()
        missing = wanted(elsewhere, hashes={"sha256": "ab" * 32})
        with pytest.raises(NotFound, match="is not stored here, and PYOCI_UPSTREAM_OFFLINE"):
            list(files.open(missing))
        assert (elsewhere.calls, copies.offered) == ([], [])


class TestKeptFiles:
    FIRST = make_upstream_file("flask-1.0.tar.gz", hashes={"sha256": "aa" * 32})
    WHEEL = make_upstream_file(
        "flask-2.0-py3-none-any.whl", hashes={"sha256": "bb" * 32}, core_metadata={"sha256": "cc" * 32}
    )
    PAGE = make_upstream_page("flask", FIRST, WHEEL, versions=("1.0", "2.0"))

    def kept(self, tmp_path: Path, *names: str, copies: Copies | None = None) -> KeptFiles:
        for name in names:
            (tmp_path / (name * 32)).touch()
        return KeptFiles(copies, Folder(tmp_path, 1000))

    def test_nothing(self, tmp_path: Path) -> None:
        assert self.kept(tmp_path).page("flask", self.PAGE) is None
        assert self.kept(tmp_path).page("flask", None) is None
        assert KeptFiles().page("flask", self.PAGE) is None

    def test_files_in_the_folder(self, tmp_path: Path) -> None:
        """Versions without files are left out, and METADATA that isn't kept isn't announced."""
        page = self.kept(tmp_path, "bb").page("flask", self.PAGE)
        assert page is not None
        assert page.files == (self.WHEEL._replace(core_metadata=None),)
        assert page.versions == ("2.0",)
        again = self.kept(tmp_path, "cc").page("flask", self.PAGE)
        assert again is not None
        assert again.files == (self.WHEEL,)
        assert again.fingerprint != page.fingerprint

    def test_files_that_arrive_do_not_count(self, tmp_path: Path) -> None:
        (tmp_path / f"tmp-{'bb' * 32}").touch()
        assert self.kept(tmp_path).page("flask", self.PAGE) is None

    def test_copies(self, tmp_path: Path) -> None:
        """Upstream's page has their keys, as far as it is known. Others are added."""
        third = make_upstream_file("flask-3.0.tar.gz", hashes={"sha256": "dd" * 32})
        stored = make_upstream_page("flask", self.WHEEL._replace(yanked=True), third, versions=("2.0", "3.0"))
        copies = Copies(pages={"flask": stored})
        page = self.kept(tmp_path, copies=copies).page("flask", self.PAGE)
        assert page is not None
        assert page.files == (self.WHEEL, third)
        assert page.versions == ("2.0", "3.0")
        assert self.kept(tmp_path, copies=copies).page("flask", None) == stored

    def test_a_quarantined_project_offers_nothing(self, tmp_path: Path) -> None:
        """Whatever is kept of it."""
        stored = make_upstream_page("flask", self.WHEEL)
        known = make_upstream_page("flask", self.WHEEL, status=ProjectStatus("quarantined", "malware"))
        page = self.kept(tmp_path, "bb", copies=Copies(pages={"flask": stored})).page("flask", known)
        assert page is not None
        assert (page.files, page.status) == ((), known.status)
