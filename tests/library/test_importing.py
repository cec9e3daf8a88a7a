"""Importing from package indexes of many kinds, and from folders."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest

from pyoci.distributions.filenames import SDIST_ENDINGS
from pyoci.errors import Denied, InvalidRequest, NotFound, ProtocolError
from pyoci.library import Anonymous, Choice, ImportedFile, Index, open_index, open_source, operations
from pyoci.library.importing import Importer
from pyoci.library.registry import RegistryIndex
from pyoci.library.sources import FolderSource, IndexSource, SourceFile
from pyoci.maintenance.parallel import Turns
from pyoci.net.addresses import Resolver
from pyoci.net.transport import Transport
from pyoci.upstream.address import FileHosts
from tests.builders import make_sdist, make_tar, make_wheel, make_zip
from tests.registry import TestRegistry, make_namespace
from tests.serving import served
from tests.store.shelf import NOBODY
from tests.waiting import until

WHEEL, SDIST, NEWER = make_wheel(), make_sdist(), make_wheel(version="2.0")
TIME = datetime(2019, 5, 1, 12, 30, 1, 234567, tzinfo=UTC)
JSON, HTML = "application/vnd.pypi.simple.v1+json", "text/html; charset=utf-8"


@dataclass
class Site:
    """A package index that answers paths with a content type and a body; `asked` are the requests."""

    answers: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    refusals: dict[str, list[str]] = field(default_factory=dict)  # the statuses of a path's first answers
    headers: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    endless: str = ""  # a path whose body never ends
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and Authorization
    answering: Callable[[str], object] = field(default=str)  # is called with a path before it is answered

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append((path, environ.get("HTTP_AUTHORIZATION", "")))
        self.answering(path)
        more = self.headers.get(path, [])
        if self.refusals.get(path):
            start_response(self.refusals[path].pop(0), [("Content-Length", "0"), *more])
            return []
        if path == self.endless:
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return itertools.repeat(b"x" * 1024)
        if path not in self.answers:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        kind, body = self.answers[path]
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body))), *more])
        return [body]

    def fetched(self) -> list[str]:
        """The files that were asked for."""
        return [path for path, _ in self.asked if path.startswith("/files/")]

    def add_file(self, name: str, content: bytes) -> None:
        self.answers[f"/files/{name}"] = ("application/octet-stream", content)

    def add_json(self, *files: dict[str, Any], project: str = "hello-world", **more: Any) -> None:
        page = {"meta": {"api-version": "1.4"}, "name": project, "versions": [], "files": list(files), **more}
        self.answers[f"/simple/{project}/"] = (JSON, json.dumps(page).encode())
        root = {"meta": {"api-version": "1.4"}, "projects": [{"name": project}]}
        self.answers["/simple/"] = (JSON, json.dumps(root).encode())


def entry(file: tuple[str, bytes], **more: Any) -> dict[str, Any]:
    """A file's JSON. A value of None leaves its key out."""
    hashes = {"sha256": hashlib.sha256(file[1]).hexdigest()}
    made = {"filename": file[0], "url": f"/files/{file[0]}", "hashes": hashes, **more}
    return {key: value for key, value in made.items() if value is not None}


@pytest.fixture
def site() -> Site:
    made = Site()
    for file in (WHEEL, SDIST, NEWER):
        made.add_file(*file)
    return made


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with served(site) as url:
        yield f"{url}/simple/"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Index]:
    with open_index(f"oci:{tmp_path / 'target'}", create=True) as index:
        yield index


def imported(target: Index, address: object, **choice: Any) -> dict[str, ImportedFile]:
    """What became of each file, or of a project."""
    source = open_source(str(address), environ={"DOCKER_CONFIG": "/absent"})
    done = operations.import_files(target, source, Choice.parse(**choice), jobs=2)
    return {each.filename or each.project: each for each in done}


class TestJson:
    def test_times_and_yanks_are_kept(self, site: Site, url: str, target: Index) -> None:
        """To the microsecond: uv.lock has upload times."""
        site.add_json(
            entry(WHEEL, **{"upload-time": "2019-05-01T12:30:01.234567Z", "yanked": "broken"}),
            entry(SDIST, **{"upload-time": "2020-01-01T00:00:00Z", "yanked": True}),
            entry(NEWER, **{"upload-time": "2021-01-01T00:00:00Z"}),
        )
        done = imported(target, url)
        assert {each.outcome for each in done.values()} == {"imported"}
        assert {each.lost for each in done.values()} == {()}
        files = {file.filename: file for file in target.project("hello-world").files}
        assert (files[WHEEL[0]].upload_time, files[WHEEL[0]].yanked) == (TIME, "broken")
        assert (files[SDIST[0]].upload_time, files[SDIST[0]].yanked) == (datetime(2020, 1, 1, tzinfo=UTC), "")
        assert files[NEWER[0]].yanked is None

    @pytest.mark.parametrize("ending", SDIST_ENDINGS)
    def test_old_sdists(self, site: Site, url: str, target: Index, tmp_path: Path, ending: str) -> None:
        """All kinds of sdists that PyPI serves, also if a requirement chooses them by their version."""
        file = make_sdist(ending=ending)
        site.add_file(*file)
        site.add_json(entry(file))
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("hello-world==1.0\n")
        assert imported(target, url, requirements=[requirements])[file[0]].outcome == "imported"
        assert target.project("hello-world").files[0].sha256 == hashlib.sha256(file[1]).hexdigest()

    def test_again_fetches_nothing(self, site: Site, url: str, target: Index) -> None:
        site.add_json(entry(WHEEL))
        imported(target, url)
        site.asked.clear()
        assert imported(target, url)[WHEEL[0]].outcome == "present"
        assert [path for path, _ in site.asked] == ["/simple/", "/simple/hello-world/"]

    def test_what_is_lost(self, site: Site, url: str, target: Index) -> None:
        file = entry(WHEEL, **{"gpg-sig": True, "provenance": "https://x.example/p"})
        site.add_json(file, **{"project-status": {"status": "deprecated"}})  # type: ignore[arg-type]
        assert imported(target, url)[WHEEL[0]].lost == (
            "the project's status 'deprecated'",
            "its PGP signature",
            "its provenance",
            "its upload time",
        )

    def test_last_modified_stands_in(self, site: Site, url: str, target: Index) -> None:
        """pypiserver's pages have no times, and its files the time at which they were uploaded."""
        site.add_json(entry(WHEEL))
        site.headers[f"/files/{WHEEL[0]}"] = [("Last-Modified", "Wed, 01 May 2019 12:30:01 GMT")]
        assert imported(target, url)[WHEEL[0]].lost == ("its exact upload time",)
        assert target.project("hello-world").files[0].upload_time == TIME.replace(microsecond=0)


class TestTurns:
    """With one job."""

    def run(self, url: str, tmp_path: Path, sleep: Callable[[float], None]) -> Generator[ImportedFile]:
        transport = TestRegistry(tmp_path / "registry").gateway.transport
        target = RegistryIndex(make_namespace(), NOBODY, transport, turns=Turns(sleep))
        source = open_source(url, environ={"DOCKER_CONFIG": "/absent"})
        return operations.import_files(target, source, Choice.parse(), jobs=1)

    def test_files_are_sent_while_others_wait_to_be_read_back(
        self, site: Site, url: str, tmp_path: Path
    ) -> None:
        """Each waits until all of them have been fetched."""
        site.add_json(entry(WHEEL), entry(SDIST), entry(NEWER))

        def sleep(_seconds: float) -> None:
            until(lambda: len(site.fetched()) == 3, "the other files", seconds=20)

        done = list(self.run(url, tmp_path, sleep))
        assert [each.outcome for each in done] == ["imported"] * 3

    def test_an_interrupted_import_begins_no_other_file(self, site: Site, url: str, tmp_path: Path) -> None:
        """Interrupted during the second file. Further files have threads already, and wait for their turn."""
        site.add_json(*(entry(self.add(site, number)) for number in range(20)))
        is_closed = threading.Event()

        def answering(_path: str) -> None:
            if len(site.fetched()) == 2:
                is_closed.wait(60)

        site.answering = answering
        running = self.run(url, tmp_path, lambda _seconds: None)
        next(running)
        until(lambda: len(site.fetched()) == 2, "the second file")
        running.close()
        is_closed.set()
        until(lambda: not any(thread.name.startswith("work") for thread in threading.enumerate()), "its end")
        assert len(site.fetched()) == 2

    def test_an_interrupted_import_leaves_no_files(
        self, site: Site, url: str, target: Index, tmp_path: Path
    ) -> None:
        """Not even while a file is being fetched."""
        (tmp_path / "temporary").mkdir()
        site.add_json(entry(WHEEL), entry(SDIST, hashes=None))
        site.endless = f"/files/{SDIST[0]}"
        assert isinstance(target, RegistryIndex)
        source = open_source(url, environ={"DOCKER_CONFIG": "/absent"})
        running = Importer(source, target, Choice(), temporary=tmp_path / "temporary").run()
        next(running)
        until(lambda: len(site.fetched()) == 2, "the second file")
        running.close()
        assert list((tmp_path / "temporary").iterdir()) == []

    @staticmethod
    def add(site: Site, number: int) -> tuple[str, bytes]:
        file = make_wheel(version=f"1.{number}")
        site.add_file(*file)
        return file


class TestHtml:
    def test_page_and_root(self, site: Site, url: str, target: Index) -> None:
        """Links, hashes, yanks and upload times as HTML has them; the root has relative links."""
        sha256 = hashlib.sha256(WHEEL[1]).hexdigest()
        page = f'<a href="../../files/{WHEEL[0]}#sha256={sha256}" data-yanked="old">x</a>'
        site.answers["/simple/"] = (HTML, b'<a href="../">up</a><a href="Hello.World/">x</a>')
        site.answers["/simple/hello-world/"] = (HTML, page.encode())
        assert imported(target, url)[WHEEL[0]].outcome == "imported"
        assert target.project("hello-world").files[0].yanked == "old"

    def test_md5_is_compared(self, site: Site, url: str, target: Index) -> None:
        """Some old indexes have nothing better."""
        page = f'<a href="/files/{WHEEL[0]}#md5={"0" * 32}">x</a>'
        site.answers["/simple/hello-world/"] = (HTML, page.encode())
        done = imported(target, url, projects=["hello-world"])[WHEEL[0]]
        assert done.outcome == "failed"
        assert "has the md5 " in done.error


class TestChoice:
    @pytest.fixture(autouse=True)
    def pages(self, site: Site) -> None:
        site.add_json(
            entry(WHEEL, **{"upload-time": "2019-05-01T12:30:01Z"}),
            entry(SDIST, **{"upload-time": datetime.now(UTC).isoformat()}),
            entry(NEWER),
        )

    def test_newer(self, url: str, target: Index) -> None:
        """A file whose time is unknown is imported."""
        assert set(imported(target, url, newer_than="90d")) == {SDIST[0], NEWER[0]}

    def test_lock(self, url: str, target: Index, tmp_path: Path) -> None:
        lock = tmp_path / "uv.lock"
        lock.write_text('[[package]]\nname = "hello-world"\nversion = "2.0"\n')
        assert set(imported(target, url, locks=[lock])) == {NEWER[0]}

    def test_requirements(self, url: str, target: Index, tmp_path: Path) -> None:
        path = tmp_path / "requirements.txt"
        path.write_text("Hello_World<2\nabsent\n")
        done = imported(target, url, requirements=[path])
        assert set(done) == {WHEEL[0], SDIST[0], "absent"}
        assert done["absent"].outcome == "failed"

    @pytest.mark.parametrize("kind", ["requirements", "locks"])
    @pytest.mark.parametrize("text", ["", "# nothing\n", "--index-url https://example.com/\n"])
    def test_file_that_names_nothing(
        self, url: str, target: Index, tmp_path: Path, kind: str, text: str
    ) -> None:
        """It doesn't stand for all projects."""
        path = tmp_path / "requirements.txt"
        path.write_text(text)
        with pytest.raises(InvalidRequest, match=r"requirements\.txt (names|pins) no"):
            imported(target, url, **{kind: [path]})

    def test_project(self, site: Site, url: str, target: Index) -> None:
        """The list of all projects isn't asked for: PyPI's has tens of megabytes."""
        assert len(imported(target, url, projects=["Hello.World"])) == 3
        assert "/simple/" not in [path for path, _ in site.asked]


class Vanishing(PosixPath):
    """A folder whose sdists are removed right after they were found to be files."""

    def is_file(self) -> bool:
        found = super().is_file()
        if found and self.name.endswith(SDIST_ENDINGS):
            self.unlink()
        return found


class TestFolder:
    def test_files_of_subfolders(self, target: Index, tmp_path: Path) -> None:
        """A file's time of modification is its upload time."""
        folder = tmp_path / "packages"
        (folder / "sub").mkdir(parents=True)
        (folder / WHEEL[0]).write_bytes(WHEEL[1])
        (folder / "sub" / SDIST[0]).write_bytes(SDIST[1])
        (folder / "README.md").write_text("x")
        os.utime(folder / WHEEL[0], (TIME.timestamp(), TIME.timestamp()))
        done = imported(target, folder)
        assert {each.outcome for each in done.values()} == {"imported"}
        assert len(done) == 2
        times = {file.filename: file.upload_time for file in target.project("hello-world").files}
        assert times[WHEEL[0]] == TIME
        assert {each.outcome for each in imported(target, folder).values()} == {"present"}

    @pytest.mark.parametrize("seconds", [-62_135_596_801, 253_402_300_800], ids=["before 1", "after 9999"])
    def test_time_that_no_date_has(self, target: Index, seconds: int) -> None:
        """The upload time is unknown then, and the file is imported. ext4 has no such times; tmpfs has."""
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            path = Path(folder, WHEEL[0])
            path.write_bytes(WHEEL[1])
            os.utime(path, (seconds, seconds))
            assert path.stat().st_mtime == seconds
            done = imported(target, folder)[WHEEL[0]]
        assert (done.outcome, done.lost) == ("imported", ("its upload time",))

    def test_bad_file(self, target: Index, tmp_path: Path) -> None:
        """It is named with its reason, and the good one is imported."""
        (tmp_path / WHEEL[0]).write_bytes(WHEEL[1])
        (tmp_path / SDIST[0]).write_bytes(b"no archive")
        (tmp_path / "nonsense.whl").write_bytes(b"x")
        done = imported(target, tmp_path)
        assert done[WHEEL[0]].outcome == "imported"
        assert "nonsense.whl" in done["nonsense.whl"].error
        assert done[SDIST[0]].outcome == "failed"

    def test_file_that_is_removed_meanwhile(self, target: Index, tmp_path: Path) -> None:
        """It fails, and the others are imported."""
        (tmp_path / WHEEL[0]).write_bytes(WHEEL[1])
        imported(target, tmp_path)
        (tmp_path / SDIST[0]).write_bytes(SDIST[1])
        source = open_source(str(tmp_path), environ={})
        (tmp_path / WHEEL[0]).unlink()
        done = {each.filename: each for each in operations.import_files(target, source, Choice())}
        assert done[WHEEL[0]].error == "it can't be read: No such file or directory"
        assert done[SDIST[0]].outcome == "imported"

    def test_file_that_is_removed_while_the_folder_is_listed(self, tmp_path: Path) -> None:
        """The others are found."""
        (tmp_path / WHEEL[0]).write_bytes(WHEEL[1])
        (tmp_path / SDIST[0]).write_bytes(SDIST[1])
        files = FolderSource(Vanishing(tmp_path)).page("hello-world").files
        assert [file.filename for file in files] == [WHEEL[0]]

    def test_absent(self, target: Index, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="there is no folder"):
            imported(target, tmp_path / "absent")


class TestFileHosts:
    """A public index whose files have a host with a private address."""

    def fetched(self, url: str, location: str, **more: Any) -> bytes:
        port = urlsplit(url).port

        def lookup(host: str, _port: int) -> list[str]:
            return ["127.0.0.1"] if host == "files.internal" else ["93.184.216.34"]

        transport = Transport(resolver=Resolver(lookup))
        source = IndexSource("https://packages.example/simple/", Anonymous(), transport, **more)
        file = SourceFile(
            filename=WHEEL[0],
            location=f"http://files.internal:{port}{location}",
            hashes={"sha256": hashlib.sha256(WHEEL[1]).hexdigest()},
        )
        with source, source.fetch(file) as fetched:
            return b"".join(fetched.pieces)

    def test_unlisted(self, site: Site, url: str) -> None:
        """The message names the setting."""
        with pytest.raises(Denied, match="has a private address; expected PYOCI_UPSTREAM_FILE_HOSTS to list"):
            self.fetched(url, f"/files/{WHEEL[0]}")
        assert site.asked == []

    def test_listed(self, site: Site, url: str) -> None:
        hosts = FileHosts.parse(f"http://files.internal:{urlsplit(url).port}")
        assert self.fetched(url, f"/files/{WHEEL[0]}", is_trusted=hosts.covers) == WHEEL[1]


class TestBadSources:
    def test_plain_http_without_a_hash(self, site: Site, url: str) -> None:
        """A page of https names the file: nobody could tell whether its bytes were changed on the way. With a
        hash they are compared.
        """
        source = open_source(url.replace("http:", "https:"), environ={"DOCKER_CONFIG": "/absent"})
        location = url.replace("simple/", f"files/{WHEEL[0]}")
        bare = SourceFile(filename=WHEEL[0], location=location)
        with pytest.raises(ProtocolError, match="expected a hash or https"), source.fetch(bare):
            pass
        assert site.fetched() == []
        hashed = replace(bare, hashes={"sha256": hashlib.sha256(WHEEL[1]).hexdigest()})
        with source.fetch(hashed) as fetched:
            assert b"".join(fetched.pieces) == WHEEL[1]

    def test_wrong_hash(self, site: Site, url: str, target: Index) -> None:
        """Nothing of it is stored."""
        site.add_json(entry(WHEEL, hashes={"sha256": "0" * 64}), entry(SDIST))
        done = imported(target, url)
        assert (done[WHEEL[0]].outcome, done[SDIST[0]].outcome) == ("failed", "imported")
        assert f"expected {'0' * 64}, as its page says" in done[WHEEL[0]].error
        assert [file.filename for file in target.project("hello-world").files] == [SDIST[0]]

    def test_breaks_off(self, site: Site, url: str, target: Index) -> None:
        """A file that ends early: it is asked for again, and then failed."""
        site.add_json(entry(WHEEL))
        site.answers[f"/files/{WHEEL[0]}"] = ("application/octet-stream", WHEEL[1][:100])
        assert imported(target, url)[WHEEL[0]].outcome == "failed"

    def test_out_of_reach(self, target: Index) -> None:
        """After a few projects in a row nobody waits for the source any more, and each project has failed."""
        names, slept = tuple(f"project{number}" for number in range(40)), list[float]()
        source = open_source("http://127.0.0.1:1/simple/", environ={"DOCKER_CONFIG": "/absent"})
        assert isinstance(target, RegistryIndex)
        done = list(Importer(source, target, Choice(projects=names), jobs=2, sleep=slept.append).run())
        assert {each.project for each in done} == set(names)
        assert all("could not be reached" in each.error for each in done)
        assert 0 < len(slept) <= 3 * 4

    def test_busy(self, site: Site, url: str, target: Index) -> None:
        """429 is waited for, at the page and at the file."""
        site.add_json(entry(WHEEL))
        for path in ("/simple/hello-world/", f"/files/{WHEEL[0]}"):
            site.refusals[path] = ["429 Too Many Requests"]
            site.headers[path] = [("Retry-After", "0")]
        assert imported(target, url)[WHEEL[0]].outcome == "imported"

    @pytest.mark.parametrize(
        "name", ["../x-1.0-py3-none-any.whl", "x/../../hello_world-1.0.tar.gz", "a\\b-1.tar.gz"]
    )
    def test_name_with_a_path(self, site: Site, url: str, target: Index, name: str) -> None:
        """No such file is made anywhere."""
        site.add_json(entry((name, WHEEL[1]), url="/files/x"), entry(WHEEL))
        done = imported(target, url)
        assert done[WHEEL[0]].outcome == "imported"
        assert {each.outcome for name, each in done.items() if name != WHEEL[0]} <= {"failed"}

    def test_another_file_of_the_name(self, site: Site, url: str, target: Index, tmp_path: Path) -> None:
        path = tmp_path / WHEEL[0]
        path.write_bytes(make_wheel(files={"other.py": b""})[1])
        target.publish(path)
        site.add_json(entry(WHEEL))
        assert imported(target, url)[WHEEL[0]].error == f"{target.address} has another file of that name"

    def test_credentials_stay_at_home(self, site: Site, url: str, target: Index) -> None:
        """Neither a file elsewhere nor a redirect gets them."""
        other = Site()
        other.add_file(*WHEEL)
        other.add_file(*SDIST)
        with served(other, host="localhost") as elsewhere:
            site.add_json(entry(WHEEL, url=f"{elsewhere}/files/{WHEEL[0]}"), entry(SDIST))
            site.refusals[f"/files/{SDIST[0]}"] = ["302 Found"]
            site.headers[f"/files/{SDIST[0]}"] = [("Location", f"{elsewhere}/files/{SDIST[0]}")]
            login = {"PYOCI_SOURCE_USERNAME": "me", "PYOCI_SOURCE_PASSWORD": "secret"}
            environ = {**login, "DOCKER_CONFIG": "/absent"}
            source = open_source(url, environ=environ)
            done = list(operations.import_files(target, source, Choice()))
        assert {each.outcome for each in done} == {"imported"}
        assert {login for _, login in other.asked} == {""}
        assert all(login.startswith("Basic ") for _, login in site.asked)

    def test_login_of_the_index(self, site: Site, url: str, target: Index) -> None:
        """PYOCI_USERNAME and PYOCI_PASSWORD are for the index: the source doesn't get them."""
        site.add_json(entry(WHEEL))
        environ = {"PYOCI_USERNAME": "me", "PYOCI_PASSWORD": "secret", "DOCKER_CONFIG": "/absent"}
        list(operations.import_files(target, open_source(url, environ=environ), Choice()))
        assert {login for _, login in site.asked} == {""}
        with pytest.raises(
            InvalidRequest, match="PYOCI_SOURCE_USERNAME is set without PYOCI_SOURCE_PASSWORD"
        ):
            open_source(url, environ={"PYOCI_SOURCE_USERNAME": "me"})

    def test_endless_file(self, site: Site, url: str, target: Index) -> None:
        """The download ends at the size that the page names."""
        site.add_json(entry(WHEEL, size=len(WHEEL[1])), entry(SDIST))
        site.endless = f"/files/{WHEEL[0]}"
        done = imported(target, url)
        assert done[WHEEL[0]].error == f"{WHEEL[0]} has more than {len(WHEEL[1])} bytes"
        assert done[SDIST[0]].outcome == "imported"

    @pytest.mark.parametrize("link", ["http://[x/", "<![section[ x"])
    def test_link_that_cannot_be_parsed(self, site: Site, url: str, target: Index, link: str) -> None:
        """Among the links to all projects: the others are used, or the page is refused with a sentence."""
        site.add_json(entry(WHEEL))
        root = f'<a href="hello-world/">x</a><a href="{link}">x</a>' if "<" not in link else link
        site.answers["/simple/"] = (HTML, root.encode())
        if "<" in link:
            with pytest.raises(ProtocolError, match="HTML that can't be read"):
                imported(target, url)
        else:
            assert imported(target, url)[WHEEL[0]].outcome == "imported"

    @pytest.mark.parametrize("modified", ["Fri, 31 Dec 9999 23:59:59 -2300", "yesterday"])
    def test_impossible_time(self, site: Site, url: str, target: Index, modified: str) -> None:
        """It counts as none: neither the page's nor that of the file."""
        site.add_json(entry(WHEEL, **{"upload-time": "0001-01-01T00:00:00+14:00"}))
        site.headers[f"/files/{WHEEL[0]}"] = [("Last-Modified", modified)]
        done = imported(target, url)[WHEEL[0]]
        assert (done.outcome, done.lost) == ("imported", ("its upload time",))

    def test_no_list(self, url: str, target: Index) -> None:
        with pytest.raises(NotFound):
            imported(target, url)

    def test_lists_that_take_much_memory(self, site: Site, url: str, target: Index) -> None:
        """They are refused before they are parsed; the sentence names the sender."""
        host = url.split("/")[2]
        site.answers["/simple/"] = (JSON, b'{"projects": [' + b"{ }," * 700_000 + b"{}]}")
        with pytest.raises(ProtocolError, match=f"^{host} sent JSON with more than 1000000 values$"):
            imported(target, url)

    @pytest.mark.parametrize(("kind", "body"), [(JSON, b"{"), (HTML, b"<a " + b"x " * 300_000)])
    def test_page_of_nonsense(self, site: Site, url: str, target: Index, kind: str, body: bytes) -> None:
        site.answers["/simple/hello-world/"] = (kind, body)
        done = imported(target, url, projects=["hello-world"])["hello-world"]
        assert done.error.startswith(f"{url.split('/')[2]} sent ")

    @pytest.mark.parametrize(
        ("kind", "body", "found"),
        [
            (
                HTML,
                "<title>Acme\n Wiki</title><h1>Hi</h1>",
                "an HTML page titled 'Acme Wiki' without links to projects",
            ),
            (HTML, "<a href='/elsewhere/'>x</a>", "an HTML page without links to projects"),
            (HTML, "", "an HTML page without links to projects"),
            (
                HTML,
                "<title>Sign in</title><a href='help/'>x</a><INPUT TYPE=Password>",
                "a page titled 'Sign in' that asks for a password",
            ),
            ("application/json", '{"message": "hello"}', "JSON that is no list of projects"),
            ("application/json", "[]", "JSON that is no list of projects"),
            ("application/json", '{"projects": [{"id": 1}]}', "JSON that is no list of projects"),
            ("text/plain", "hello", "'text/plain'"),
        ],
    )
    def test_no_index(self, site: Site, url: str, target: Index, kind: str, body: str, found: str) -> None:
        """One sentence says what was found and what was expected."""
        site.answers["/simple/"] = (kind, body.encode())
        with pytest.raises(InvalidRequest) as raised:
            imported(target, url)
        sentence = raised.value.message
        assert sentence.startswith(
            f"{url} is not a package index: it answered with {found}; expected the URL "
        )
        assert ("PYOCI_SOURCE_PASSWORD" in sentence) == ("password" in found)

    @pytest.mark.parametrize(
        "body",
        [
            '<meta name="pypi:repository-version" content="1.0"><title>x</title>',
            "<title>Simple index</title>",
            "<h1>Links for hello-world</h1>",
        ],
    )
    def test_empty_index(self, site: Site, url: str, target: Index, body: str) -> None:
        """An index without projects, and a project without files, are no mistakes."""
        site.answers["/simple/"] = site.answers["/simple/hello-world/"] = (HTML, body.encode())
        assert imported(target, url) == {}
        assert imported(target, url, projects=["hello-world"]) == {}

    @pytest.mark.parametrize(
        ("body", "found"),
        [
            ("<h1>Welcome</h1>", "an HTML page titled 'Welcome' without links to files"),
            ("<a href='x-1.0.tar.gz'>x</a><input type='password'>", "a page that asks for a password"),
        ],
    )
    def test_page_of_no_index(self, site: Site, url: str, target: Index, body: str, found: str) -> None:
        """The project fails, and the others are imported."""
        site.add_json(entry(WHEEL))
        site.answers["/simple/other/"] = (HTML, body.encode())
        done = imported(target, url, projects=["other", "hello-world"])
        assert (
            f"{url}other/ is not a package index: it answered with {found}; expected" in done["other"].error
        )
        assert done[WHEEL[0]].outcome == "imported"

    def test_ten_thousand_projects(self, site: Site, url: str, target: Index) -> None:
        """The list is read, and those that a choice doesn't name aren't asked for."""
        root = {"projects": [{"name": f"project-{number}"} for number in range(10_000)]}
        site.answers["/simple/"] = (JSON, json.dumps(root).encode())
        assert len(open_source(url, environ={"DOCKER_CONFIG": "/absent"}).projects()) == 10_000


def test_server_as_target(url: str, tmp_path: Path) -> None:
    """A server's upload form keeps no times."""
    from pyoci.errors import NotSupported
    from pyoci.library.server import ServerIndex

    source = open_source(str(tmp_path))
    target = open_source(url, environ={"DOCKER_CONFIG": "/absent"})
    assert isinstance(target, ServerIndex)
    with pytest.raises(NotSupported, match="importing needs the registry itself"):
        operations.import_files(target, source, Choice())


@pytest.mark.parametrize("ending", SDIST_ENDINGS)
def test_version_with_a_hyphen(target: Index, tmp_path: Path, ending: str) -> None:
    """The file name alone doesn't say where the version begins: the metadata does."""
    name = "elementtree-1.2.6-20050316"
    text = b"Metadata-Version: 1.0\nName: elementtree\nVersion: 1.2.6-20050316\n"
    members = {f"{name}/PKG-INFO": text}
    content = make_zip(members) if ending == ".zip" else make_tar(members, ending)
    (tmp_path / f"{name}{ending}").write_bytes(content)
    assert imported(target, tmp_path)[f"{name}{ending}"].outcome == "imported"
    assert [file.filename for file in target.project("elementtree").files] == [f"{name}{ending}"]
    assert target.publish(tmp_path / f"{name}{ending}").project == "elementtree"
