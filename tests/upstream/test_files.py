"""UpstreamFiles: fetched once, verified, kept; only from permitted hosts, and with the right credentials."""

from __future__ import annotations

import hashlib
import itertools
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci.errors import Denied, NotFound, ProtocolError, PyOCIError, Unavailable
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.upstream.address import FileHosts, UpstreamAddress
from pyoci.upstream.file_source import Wanted
from pyoci.upstream.files import DOWNLOADS, UpstreamFiles
from pyoci.upstream.folder import Folder
from tests.upstreams import PackageIndex, package_index
from tests.waiting import until

NAME = "flask-3.1.0-py3-none-any.whl"
CONTENT = bytes(range(256)) * 8000  # 2 MB: more than a piece
MakeFiles = Callable[..., UpstreamFiles]


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    with package_index() as found:
        found.add(NAME, CONTENT)
        yield found


@pytest.fixture
def make_files(elsewhere: PackageIndex, tmp_path: Path) -> Iterator[MakeFiles]:
    """Makes UpstreamFiles that share a folder, as two processes do."""
    made: list[Transport] = []

    def make(
        hosts: str = "", authorization: str | None = None, size: int = 10_000_000, **more: Any
    ) -> UpstreamFiles:
        transport = Transport(sleep=lambda _: None, document_seconds=5.0)
        made.append(transport)
        address = UpstreamAddress.parse(elsewhere.simple, authorization)
        folder = Folder(tmp_path / "files", size)
        return UpstreamFiles(
            address, transport, folder, FileHosts.parse(hosts), **{"sleep": time.sleep, **more}
        )

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def files(make_files: MakeFiles) -> UpstreamFiles:
    return make_files()


def wanted(elsewhere: PackageIndex, content: bytes = CONTENT, **overrides: Any) -> Wanted:
    values = {
        "filename": NAME,
        "url": f"{elsewhere.url}/files/{NAME}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    return Wanted(**{**values, **overrides})


def kept(tmp_path: Path) -> list[str]:
    folder = tmp_path / "files"
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def _is_kept(tmp_path: Path, file: Wanted) -> bool:
    return file.sha256 in kept(tmp_path)


@pytest.mark.parametrize("size", [len(CONTENT), None], ids=["size", "no size"])
def test_a_file_is_fetched_once(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path, size: int | None, make_files: MakeFiles
) -> None:
    """Then it is kept, also for other processes, and while upstream is down."""
    file = wanted(elsewhere, size=size)
    assert b"".join(files.open(file)) == CONTENT
    until(lambda: kept(tmp_path) == [file.sha256], "the file in the folder")
    elsewhere.answer = lambda _: Response("down", 503)
    assert b"".join(make_files().open(file)) == CONTENT
    assert b"".join(files.open(file, range(1000, 1_500_000))) == CONTENT[1000:1_500_000]
    assert elsewhere.calls == [f"GET /files/{NAME} 200"]


class TestTurns:
    """More callers want a file of their own than downloads go on at once, as uv does."""

    @pytest.fixture
    def others(self, elsewhere: PackageIndex) -> list[Wanted]:
        """Files, and upstream answers none of them for now."""
        names = [f"other-1.{number}-py3-none-any.whl" for number in range(DOWNLOADS + 1)]
        for name in names:
            elsewhere.add(name, name.encode())
        elsewhere.hang()
        return [
            wanted(elsewhere, name.encode(), filename=name, url=f"{elsewhere.url}/files/{name}")
            for name in names
        ]

    def content(self, files: UpstreamFiles, file: Wanted) -> bytes:
        return b"".join(files.open(file))

    def fill(
        self, files: UpstreamFiles, others: list[Wanted], elsewhere: PackageIndex
    ) -> list[Future[bytes]]:
        """As many downloads as can go on."""
        threads = ThreadPoolExecutor(DOWNLOADS)
        running = [threads.submit(self.content, files, file) for file in others[:-1]]
        assert all(elsewhere.waiting.acquire(timeout=30) for _ in running)
        return running

    def test_one_more_waits(
        self, make_files: MakeFiles, elsewhere: PackageIndex, others: list[Wanted]
    ) -> None:
        """And gets its file when another one has ended."""

        def sleep(seconds: float) -> None:
            elsewhere.go_on()
            time.sleep(seconds)

        files = make_files(sleep=sleep)
        running = self.fill(files, others, elsewhere)
        assert b"".join(files.open(others[-1])) == others[-1].filename.encode()
        assert [each.result(30) for each in running] == [file.filename.encode() for file in others[:-1]]

    def test_not_for_ever(self, make_files: MakeFiles, elsewhere: PackageIndex, others: list[Wanted]) -> None:
        """It is refused after a while, and may ask again."""
        slept = list[float]()
        files = make_files(sleep=slept.append, clock=itertools.count().__next__)
        running = self.fill(files, others, elsewhere)
        with pytest.raises(Unavailable, match="too many files of upstream are being downloaded"):
            files.open(others[-1])
        assert 0 < len(slept) < 20
        elsewhere.go_on()
        wait(running, 30)
        assert b"".join(make_files().open(others[-1])) == others[-1].filename.encode()


def test_a_range_comes_from_the_verified_file(files: UpstreamFiles, elsewhere: PackageIndex) -> None:
    """Also if nobody has fetched the file before."""
    assert b"".join(files.open(wanted(elsewhere), range(5, 9))) == CONTENT[5:9]
    assert elsewhere.calls == [f"GET /files/{NAME} 200"]


@pytest.mark.parametrize("workers", [1, 2], ids=["one process", "two processes"])
def test_many_callers_and_one_fetch(
    make_files: MakeFiles, elsewhere: PackageIndex, workers: int, tmp_path: Path
) -> None:
    """They get the bytes while they arrive: upstream sends the rest only after all have the beginning."""
    rest, begun = threading.Event(), threading.Semaphore(0)

    def body() -> Iterator[bytes]:
        yield CONTENT[:1_200_000]
        rest.wait(30)
        yield CONTENT[1_200_000:]

    elsewhere.answer = lambda _: Response(body(), headers={"Content-Length": str(len(CONTENT))})
    servers = [make_files() for _ in range(workers)]

    def read(number: int) -> bytes:
        pieces = servers[number % workers].open(wanted(elsewhere))
        first = next(iter(pieces))
        begun.release()
        return first + b"".join(pieces)

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read, number) for number in range(6)]
        try:
            assert all(begun.acquire(timeout=20) for _ in readers)
        finally:
            rest.set()
        assert [reader.result() == CONTENT for reader in readers] == [True] * 6
    assert len(elsewhere.calls) == 1


def test_a_caller_who_leaves_delays_nobody(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """The download goes on without it."""
    leaving = files.open(wanted(elsewhere))
    next(iter(leaving))
    leaving.close()
    until(lambda: kept(tmp_path) == [wanted(elsewhere).sha256], "the file in the folder")
    assert b"".join(files.open(wanted(elsewhere))) == CONTENT
    assert len(elsewhere.calls) == 1


@pytest.mark.parametrize("size", [len(CONTENT), None], ids=["size", "no size"])
@pytest.mark.parametrize("folder", [10_000_000, 1000], ids=["kept", "too large to be kept"])
def test_other_bytes_never_complete(
    make_files: MakeFiles, elsewhere: PackageIndex, tmp_path: Path, size: int | None, folder: int
) -> None:
    """Neither here nor in the folder."""
    file = wanted(elsewhere, CONTENT[:-1] + b"!", size=size)
    got: list[bytes] = []
    with pytest.raises(PyOCIError):
        got.extend(make_files(size=folder).open(file))
    assert len(b"".join(got)) < len(CONTENT)
    until(lambda: kept(tmp_path) == [], "an empty folder")


def test_a_wrong_size_never_completes(files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path) -> None:
    """Shorter or longer than the page says."""
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(PyOCIError):
            b"".join(files.open(wanted(elsewhere, size=size)))
        until(lambda: kept(tmp_path) == [], "an empty folder")


def test_a_download_that_breaks_off_leaves_nothing(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """The next one succeeds."""
    size = {"Content-Length": str(len(CONTENT))}
    elsewhere.answer = lambda _: Response(
        iter([CONTENT[:1_500_000]]), headers={**size, "Connection": "close"}
    )
    with pytest.raises(Unavailable, match="broke off"):
        b"".join(files.open(wanted(elsewhere)))
    until(lambda: kept(tmp_path) == [], "an empty folder")
    elsewhere.answer = None
    assert b"".join(files.open(wanted(elsewhere))) == CONTENT


LENGTHS = {"announced": True, "not announced": False}
OFFSETS = (0, 1, 4095, 65_536, 262_143, 262_144, 1_048_576, len(CONTENT) - 262_144, len(CONTENT) - 1)


@pytest.mark.parametrize("is_announced", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not kept"])
def test_upstream_dies_at_any_offset(
    make_files: MakeFiles, elsewhere: PackageIndex, tmp_path: Path, is_announced: bool, is_kept: bool
) -> None:
    """No caller gets the last byte, or other bytes, and the next download succeeds."""
    files = make_files(size=10_000_000 if is_kept else 1000)
    file = wanted(elsewhere)
    for offset in OFFSETS:
        length = {"Content-Length": str(len(CONTENT))} if is_announced else {}
        dying = Response(iter([CONTENT[:offset]]), headers={**length, "Connection": "close"})
        elsewhere.answer = lambda _, dying=dying: dying
        got: list[bytes] = []
        with pytest.raises(PyOCIError):
            got.extend(files.open(file))
        assert CONTENT[:offset].startswith(b"".join(got))
        until(lambda: kept(tmp_path) == [], "an empty folder")
        elsewhere.answer = None
        assert b"".join(files.open(file)) == CONTENT
        if is_kept:
            until(partial(_is_kept, tmp_path, file), "the file in the folder")
            (tmp_path / "files" / file.sha256).unlink()


def test_the_folder_is_deleted(files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path) -> None:
    """While a file arrives, and after it was kept. Those who read it get all of it."""
    rest = threading.Event()

    def body() -> Iterator[bytes]:
        yield CONTENT[:1_200_000]
        rest.wait(30)
        yield CONTENT[1_200_000:]

    elsewhere.answer = lambda _: Response(body(), headers={"Content-Length": str(len(CONTENT))})
    file = wanted(elsewhere)
    reading = iter(files.open(file))
    first = next(reading)
    shutil.rmtree(tmp_path / "files")
    rest.set()
    assert first + b"".join(reading) == CONTENT

    elsewhere.answer = None
    assert b"".join(files.open(file)) == CONTENT
    until(partial(_is_kept, tmp_path, file), "the file in the folder")
    reading = iter(files.open(file))
    first = next(reading)
    shutil.rmtree(tmp_path / "files")
    assert first + b"".join(reading) == CONTENT
    assert b"".join(files.open(file)) == CONTENT
    until(partial(_is_kept, tmp_path, file), "the file in the folder")


def test_a_busy_upstream(files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path) -> None:
    """A file comes after a 429 that passes. If it stays, all callers are refused before the first byte, also
    those who joined the download of another, and no file is left.
    """
    answers = iter([Response("busy", 429, {"Retry-After": "0"})])
    elsewhere.answer = lambda _: next(answers, None)
    assert b"".join(files.open(wanted(elsewhere))) == CONTENT
    until(partial(_is_kept, tmp_path, wanted(elsewhere)), "the file in the folder")
    (tmp_path / "files" / wanted(elsewhere).sha256).unlink()
    elsewhere.answer = lambda _: Response("busy", 429, {"Retry-After": "3600"})
    with ThreadPoolExecutor(8) as pool:
        refused = [pool.submit(files.open, wanted(elsewhere)) for _ in range(8)]
        assert {type(each.exception(60)) for each in refused} == {Unavailable}
    until(lambda: kept(tmp_path) == [], "an empty folder")


@pytest.mark.parametrize("span", [None, range(1, len(CONTENT) - 1)], ids=["whole", "part"])
@pytest.mark.parametrize("before", [True, False], ids=["read before", "not read before"])
def test_a_file_that_the_disk_changed(
    make_files: MakeFiles, elsewhere: PackageIndex, tmp_path: Path, span: range | None, before: bool
) -> None:
    """Its bytes are never complete, and it is removed. The error and the log name the copy, not upstream. The
    next request fetches it again.
    """
    logged: list[tuple[str, dict[str, Any]]] = []
    files = make_files(events=Events(lambda event, **facts: logged.append((event, facts))))
    file = wanted(elsewhere)
    b"".join(files.open(file))
    until(lambda: kept(tmp_path) == [file.sha256], "the file in the folder")
    if before:
        b"".join(files.open(file, range(100, 200)))
    (tmp_path / "files" / file.sha256).write_bytes(CONTENT[:-2] + b"!!")
    got = b""
    if span is None or before:
        with pytest.raises(ProtocolError, match=f"^the cached copy of {NAME} was damaged"):  # noqa: PT012  # what came before the error counts
            for piece in files.open(file, span):
                got += piece
        assert got == CONTENT[span.start if span else 0 : 2**20]
    else:
        assert b"".join(files.open(file, span)) == CONTENT[span.start : span.stop]
    assert [(event, facts["file"]) for event, facts in logged] == [("cached file was damaged", NAME)]
    assert b"".join(files.open(file)) == CONTENT
    assert elsewhere.calls == [f"GET /files/{NAME} 200"] * 2


def test_two_readers_of_a_file_that_the_disk_changed(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """The first one removes it, and both errors name the copy."""
    file = wanted(elsewhere)
    b"".join(files.open(file))
    until(lambda: kept(tmp_path) == [file.sha256], "the file in the folder")
    (tmp_path / "files" / file.sha256).write_bytes(CONTENT[:-1] + b"!")
    readers = [iter(files.open(file)) for _ in range(2)]
    for reader in readers:
        assert next(reader) == CONTENT[: 2**20]
    for reader in readers:
        with pytest.raises(ProtocolError, match="damaged"):
            b"".join(reader)


def test_a_file_to_store_that_the_disk_changed(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """It is not given to the store. The next attempt fetches it again."""
    file = wanted(elsewhere)
    b"".join(files.open(file))
    until(lambda: kept(tmp_path) == [file.sha256], "the file in the folder")
    (tmp_path / "files" / file.sha256).write_bytes(b"!" + CONTENT[1:])
    with pytest.raises(ProtocolError, match="damaged"):
        files.whole(file)
    with files.whole(file) as content:
        assert content.read() == CONTENT


@pytest.mark.parametrize("span", [None, range(1, 9)], ids=["whole", "part"])
def test_a_small_file_that_the_disk_changed(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path, span: range | None
) -> None:
    """Nothing of it was passed on, so the same request fetches it again."""
    content = b"a small file"
    elsewhere.add(NAME, content)
    file = wanted(elsewhere, content)
    b"".join(files.open(file))
    until(lambda: kept(tmp_path) == [file.sha256], "the file in the folder")
    (tmp_path / "files" / file.sha256).write_bytes(b"a SMALL file")
    assert b"".join(files.open(file, span)) == (content if span is None else content[1:9])
    elsewhere.answer = lambda _: Response("down", 503)
    until(lambda: kept(tmp_path) == [file.sha256], "the file in the folder")
    (tmp_path / "files" / file.sha256).write_bytes(b"a SMALL file")
    with pytest.raises(Unavailable):
        b"".join(files.open(file, span))


@pytest.mark.parametrize("before", [True, False], ids=["read before", "not read before"])
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(b"!" + CONTENT[1:], id="in the part"),
        pytest.param(CONTENT[:1_000_000] + bytes(len(CONTENT) - 1_000_000), id="zeros, as after a crash"),
    ],
)
def test_a_part_of_a_file_that_the_disk_changed(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path, changed: bytes, before: bool
) -> None:
    """No changed byte is passed on, and the file is fetched again."""
    file, span = wanted(elsewhere), range(len(CONTENT) - 1)
    b"".join(files.open(file))
    until(lambda: kept(tmp_path) == [file.sha256], "the file in the folder")
    if before:
        assert b"".join(files.open(file, range(100, 200))) == CONTENT[100:200]
    (tmp_path / "files" / file.sha256).write_bytes(changed)
    assert b"".join(files.open(file, span)) == CONTENT[:-1]


@pytest.mark.parametrize(
    "span",
    [range(1), range(2**20 - 1, 2**20 + 1), range(2**20, 2**20 + 5), range(len(CONTENT) - 1, len(CONTENT))],
)
def test_parts_at_the_limits_of_blocks(files: UpstreamFiles, elsewhere: PackageIndex, span: range) -> None:
    """They are the bytes of the span, however the file is read."""
    for _ in range(2):
        assert b"".join(files.open(wanted(elsewhere), span)) == CONTENT[span.start : span.stop]


def test_without_a_usable_folder_files_are_passed_on(
    make_files: MakeFiles, elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """They are verified in the same way."""
    (tmp_path / "files").write_text("no directory")
    assert b"".join(make_files().open(wanted(elsewhere))) == CONTENT
    assert b"".join(make_files().open(wanted(elsewhere, size=None))) == CONTENT


def test_a_full_disk(files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path) -> None:
    """The download breaks off and leaves nothing; after that files are passed on without being kept."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
    try:
        with pytest.raises(Unavailable, match="broke off"):
            b"".join(files.open(wanted(elsewhere)))
        until(lambda: kept(tmp_path) == [], "an empty folder")
        assert b"".join(files.open(wanted(elsewhere))) == CONTENT
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept(tmp_path) == []


def test_the_folder_keeps_to_its_size(make_files: MakeFiles, elsewhere: PackageIndex, tmp_path: Path) -> None:
    """Other files make room for a new one."""
    files = make_files(size=5_000_000)
    for number in range(4):
        content = CONTENT + bytes([number])
        name = f"flask-{number}.0-py3-none-any.whl"
        elsewhere.add(name, content)
        file = wanted(elsewhere, content, filename=name, url=f"{elsewhere.url}/files/{name}")
        assert b"".join(files.open(file)) == content
        until(partial(_is_kept, tmp_path, file), "the file in the folder")
    assert len(kept(tmp_path)) == 2


class TestHosts:
    @pytest.fixture
    def other(self) -> Iterator[PackageIndex]:
        """Another private host with the same file."""
        with package_index() as found:
            found.add(NAME, CONTENT)
            yield found

    def test_a_private_host_is_never_asked(
        self, files: UpstreamFiles, elsewhere: PackageIndex, other: PackageIndex
    ) -> None:
        """Neither with http nor with https, and not after a redirect."""
        for url in (other.url, other.url.replace("http:", "https:"), "https://127.0.0.1:9"):
            with pytest.raises(ProtocolError, match="PYOCI_UPSTREAM_FILE_HOSTS"):
                files.open(wanted(elsewhere, url=f"{url}/files/{NAME}"))
            elsewhere.answer = lambda _, url=url: Response("", 302, {"Location": f"{url}/files/{NAME}"})
            with pytest.raises(ProtocolError, match="PYOCI_UPSTREAM_FILE_HOSTS"):
                files.open(wanted(elsewhere))
            elsewhere.answer = None
        assert other.calls == []

    def test_the_log_names_the_host(self, make_files: MakeFiles, elsewhere: PackageIndex) -> None:
        """Operators need it for PYOCI_UPSTREAM_FILE_HOSTS; callers are not told it."""
        told: list[object] = []
        files = make_files(events=Events(lambda event, **facts: told.append((event, facts.get("host")))))
        with pytest.raises(ProtocolError) as refused:
            files.open(wanted(elsewhere, url="https://127.0.0.1:9/files/a"))
        assert "127.0.0.1" not in refused.value.message
        assert ("file not downloaded", "127.0.0.1") in told

    @pytest.mark.parametrize("way", ["page", "redirect"])
    def test_a_listed_host_gets_no_credentials(
        self, make_files: MakeFiles, elsewhere: PackageIndex, other: PackageIndex, way: str
    ) -> None:
        """Those of upstream go to its own origin alone."""
        files = make_files(other.url, "Basic bWU6cHc=")
        target = f"{other.url}/files/{NAME}"
        if way == "redirect":
            elsewhere.answer = lambda _: Response("", 302, {"Location": target})
        file = wanted(elsewhere, url=target) if way == "page" else wanted(elsewhere)
        assert b"".join(files.open(file)) == CONTENT
        assert [request.headers.get("Authorization") for request in other.requests] == [None]
        sent = [request.headers.get("Authorization") for request in elsewhere.requests]
        assert sent == ([] if way == "page" else ["Basic bWU6cHc="])

    def test_credentials_do_not_come_back(
        self, make_files: MakeFiles, elsewhere: PackageIndex, other: PackageIndex
    ) -> None:
        """A host that redirects back to upstream doesn't choose what its credentials open."""
        back = f"{elsewhere.url}/files/{NAME}?again"
        other.answer = lambda _: Response("", 302, {"Location": back})

        def answer(request: Request) -> Response | None:
            there = {"Location": f"{other.url}/files/{NAME}"}
            return None if request.query_string else Response("", 302, there)

        elsewhere.answer = answer
        assert b"".join(make_files(other.url, "Basic bWU6cHc=").open(wanted(elsewhere))) == CONTENT
        sent = [request.headers.get("Authorization") for request in elsewhere.requests]
        assert sent == ["Basic bWU6cHc=", None]

    def test_redirects_have_an_end(self, files: UpstreamFiles, elsewhere: PackageIndex) -> None:
        elsewhere.answer = lambda request: Response("", 302, {"Location": request.url})
        with pytest.raises(ProtocolError, match="redirects more than"):
            files.open(wanted(elsewhere))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound),
        (410, NotFound),
        (401, ProtocolError),
        (403, Denied),
        (503, Unavailable),
        (206, ProtocolError),
    ],
)
def test_a_refusal_is_said(
    files: UpstreamFiles, elsewhere: PackageIndex, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    """Before the first byte, and nothing stays."""
    elsewhere.answer = lambda _: Response("no", status)
    with pytest.raises(kind):
        files.open(wanted(elsewhere))
    until(lambda: kept(tmp_path) == [], "an empty folder")
