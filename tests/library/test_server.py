"""Answers of servers that PyOCI never gives: each gets a sentence, and credentials stay where they belong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import errors
from pyoci.library import Basic, File, Index, open_index
from pyoci.library.downloading import download_files
from pyoci.library.server import ServerIndex
from pyoci.library.sources import IndexSource, SourceFile
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous
from tests.builders import make_wheel
from tests.net import servers
from tests.serving import served

SECRET = "secret-word"
NAME, CONTENT = make_wheel()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIMPLE = "application/vnd.pypi.simple.v1+json"


class Server:
    """A package index that answers each path as the test says; others with an empty list of projects."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append((path, environ.get("HTTP_AUTHORIZATION")))
        nothing = ("200 OK", {"Content-Type": SIMPLE}, b'{"projects": []}')
        status, headers, body = self.answers.get(path, nothing)
        start_response(status, [("Content-Length", str(len(body))), *headers.items()])
        return [body]

    def page(self, **file: object) -> None:
        """Answer the page of hello-world with one file."""
        known = {"filename": NAME, "url": NAME, "hashes": {"sha256": SHA256}, **file}
        page = {"meta": {"api-version": "1.4"}, "name": "hello-world", "files": [known]}
        self.answers["/acme/hello-world/"] = ("200 OK", {"Content-Type": SIMPLE}, json.dumps(page).encode())

    def file(self, content: bytes = CONTENT) -> None:
        self.answers[f"/acme/hello-world/{NAME}"] = ("200 OK", {}, content)


def opened(url: str) -> Index:
    index = open_index(f"{url}/acme", Basic("me", SECRET), environ={})
    assert index.kind == "server"
    return index


def the_file(index: Index) -> File:
    (file,) = index.project("hello-world").files
    return file


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad", errors.InvalidRequest),
        ("401 No", errors.Unauthorized),
        ("403 No", errors.Denied),
        ("404 No", errors.NotFound),
        ("405 No", errors.NotSupported),
        ("409 No", errors.AlreadyExists),
        ("413 No", errors.TooLarge),
        ("418 Tea", errors.ProtocolError),
        ("500 Broken", errors.ProtocolError),
    ],
)
def test_a_status_is_its_kind_of_error(status: str, kind: type[errors.PyOCIError]) -> None:
    """With the server's own sentence, where it is one."""
    server = Server()
    server.answers["/acme/hello-world/"] = (status, {"Content-Type": "text/plain"}, b"that is why")
    with served(server) as url, opened(url) as index:
        with pytest.raises(kind, match="that is why"):
            index.project("hello-world")
        server.answers["/acme/hello-world/"] = (status, {"Content-Type": "text/html"}, b"<h1>\x1b[2J</h1>")
        with pytest.raises(kind, match=f"answered {status[:3]}"):
            index.project("hello-world")


# A list that would take 20 times its size in memory.
HEAVY = b'{"projects": [' + b"{ }," * 700_000 + b"{}]}"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 100_000, b'{"projects": 5}', b'{"projects": [{}]}']
)
def test_a_list_that_is_none(body: bytes) -> None:
    """Names that can't be names are left out."""
    server = Server()
    with served(server) as url, opened(url) as index:
        server.answers["/acme/"] = ("200 OK", {"Content-Type": SIMPLE}, body)
        with pytest.raises(errors.ProtocolError, match="no list of projects"):
            index.projects()
        server.answers["/acme/"] = ("200 OK", {"Content-Type": SIMPLE}, HEAVY)
        with pytest.raises(errors.ProtocolError, match="sent JSON with more than 1000000 values"):
            index.projects()
        names = json.dumps({"projects": [{"name": name} for name in ("b", "../x", 5, "A", "a")]})
        server.answers["/acme/"] = ("200 OK", {"Content-Type": SIMPLE}, names.encode())
        assert index.projects() == ("a", "b")


def test_a_file_with_other_bytes_than_its_hash(tmp_path: Path) -> None:
    """The last piece is never given, and nothing is left of a download."""
    server = Server()
    server.page()
    server.file(b"x" * 2_000_000)
    with served(server) as url, opened(url) as index:
        file = the_file(index)
        with pytest.raises(errors.ProtocolError, match=f"expected {SHA256}"), index.open_file(file) as pieces:
            assert sum(map(len, pieces)) < 2_000_000
        (done,) = download_files(index, [file], tmp_path)
    assert done.outcome == "failed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("filename", [".hidden-1.0.tar.gz", "hello_world-1.0.tar.gz"])
def test_a_file_that_cannot_be_verified_or_has_a_wrong_name(tmp_path: Path, filename: str) -> None:
    """It isn't downloaded."""
    server = Server()
    server.page(filename=filename, hashes={"md5": "0" * 32})
    with served(server) as url, opened(url) as index:
        done = list(download_files(index, index.project("hello-world").files, tmp_path))
    assert [each.outcome for each in done] in (["failed"], [])
    assert list(tmp_path.iterdir()) == []


def test_credentials_stay_with_the_server(tmp_path: Path) -> None:
    """Neither a link nor a redirect to another host gets them."""
    server, other = Server(), Server()
    other.answers["/there.whl"] = ("200 OK", {}, CONTENT)
    with served(server) as url, served(other) as elsewhere, opened(url) as index:
        server.page(url=f"{elsewhere}/there.whl")
        (done,) = download_files(index, [the_file(index)], tmp_path / "a")
        assert done.outcome == "downloaded"
        server.page()
        server.answers[f"/acme/hello-world/{NAME}"] = (
            "302 Found",
            {"Location": f"{elsewhere}/there.whl"},
            b"",
        )
        (done,) = download_files(index, [the_file(index)], tmp_path / "b")
        assert done.outcome == "downloaded"
    assert [asked for asked in other.asked if asked[1] is not None] == []
    assert any(authorization for path, authorization in server.asked if path.endswith(".whl"))


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "/acme/hello-world/"])
def test_redirects_that_lead_nowhere(location: str) -> None:
    """Nor are they followed for ever."""
    server = Server()
    server.answers["/acme/hello-world/"] = ("302 Found", {"Location": location}, b"")
    with served(server) as url, opened(url) as index, pytest.raises(errors.ProtocolError, match="redirects"):
        index.project("hello-world")
    assert len(server.asked) < 10


class TestSlowFiles:
    """A server that sends a byte now and then: each comes in time, and the file never ends."""

    @pytest.fixture
    def location(self) -> Iterator[str]:
        def handle(connection: servers.Connection) -> None:
            connection.request()
            connection.send(servers.answer(length=10_000_000))
            connection.trickle(b"x" * 10_000, 0.02)

        with servers.Server(handle) as server:
            yield f"{server.url}/files/hello_world-1.0.tar.gz"

    @pytest.fixture
    def transport(self) -> Iterator[Transport]:
        transport = Transport(stall_seconds=0.5)
        yield transport
        transport.close()

    def test_a_download_ends(self, location: str, transport: Transport, tmp_path: Path) -> None:
        """As `pyoci download` does it. Nothing is left."""
        file = File(
            project="hello-world",
            filename=location.rpartition("/")[2],
            version="1.0",
            sha256="0" * 64,
            size=10_000_000,
            upload_time=None,
            requires_python=None,
            yanked=None,
            core_metadata=None,
            url=location,
        )
        index = ServerIndex(location.partition("files/")[0], Anonymous(), transport)
        [found] = download_files(index, [file], tmp_path)
        assert found.outcome == "failed"
        assert isinstance(found.error, errors.Unreachable)
        assert list(tmp_path.iterdir()) == []

    def test_a_copy_ends(self, location: str, transport: Transport) -> None:
        """As `pyoci mirror` and `pyoci import` do it."""
        source = IndexSource(location.partition("files/")[0], Anonymous(), transport)
        file = SourceFile(
            filename=location.rpartition("/")[2], location=location, hashes={"sha256": "0" * 64}
        )
        with (
            source.fetch(file) as fetched,
            pytest.raises(errors.Unreachable, match=r"in time|almost nothing"),
        ):
            list(fetched.pieces)
