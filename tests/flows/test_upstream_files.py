"""PYOCI_UPSTREAM_FILES=proxy: the files of upstream's pages come from here, for those who may see them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from pyoci.cache.files import FileBackend
from pyoci.embedded import create_registry_app
from pyoci.errors import Unavailable
from pyoci.upstream.address import UpstreamAddress
from pyoci.upstream.page_cache import PageCache
from tests.builders import make_metadata, make_wheel
from tests.flows.conftest import MakeClient
from tests.flows.test_main_job import JSON, upload
from tests.flows.test_strangers import CALLERS, FriendlyRegistry
from tests.serving import served
from tests.upstreams import HTML, PackageIndex, package_index

INDEX = "/local/acme/"
PAGE = f"{INDEX}flask/"
FLASK, CONTENT = make_wheel("flask", "3.1.0")
OLD = "flask-0.1.tar.gz"


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """A package index with flask, and with projects of the names of private ones."""
    with package_index() as elsewhere:
        elsewhere.add_wheel("flask", "3.1.0")
        elsewhere.add(OLD, b"old", hashes={"md5": "ab" * 16})
        for name in ("hello-world", "secret-tool"):
            elsewhere.add_wheel(name, "99.0")
        yield elsewhere


@pytest.fixture
def proxy(elsewhere: PackageIndex, tmp_path: Path) -> dict[str, str]:
    return {
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_UPSTREAM_FILES": "proxy",
        "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
        "PYOCI_PRIVATE_PROJECTS": "secret-*",
    }


@pytest.fixture
def client(make_client: MakeClient, proxy: dict[str, str]) -> FlaskClient:
    return make_client(**proxy)


def link(filename: str = FLASK, content: bytes = CONTENT) -> str:
    return f"+{hashlib.sha256(content).hexdigest()[:16]}/{filename}"


def urls(client: FlaskClient, page: str = PAGE) -> dict[str, str]:
    files = client.get(page, headers=JSON).get_json()["files"]
    return {file["filename"]: file["url"] for file in files}


def get(client: FlaskClient, path: str = f"{PAGE}{link()}", **headers: str) -> TestResponse:
    return client.get(path, headers=headers)


def fetched(elsewhere: PackageIndex) -> list[str]:
    return [call for call in elsewhere.calls if " /files/" in call]


def test_pages_link_here(make_client: MakeClient, proxy: dict[str, str], elsewhere: PackageIndex) -> None:
    """In each representation, relative to the page, also below a version. A file without a sha256 keeps its
    URL.
    """
    client = make_client(**proxy, PYOCI_DEFAULT_INDEX="local/acme")
    old = f"{elsewhere.url}/files/{OLD}"
    assert urls(client) == {FLASK: link(), OLD: old}
    assert urls(client, "/simple/flask/3.1.0/") == {FLASK: f"../{link()}"}
    html = get(client, PAGE, Accept=HTML).text
    assert f'href="{link()}#sha256=' in html
    assert f'href="{old}#md5=' in html
    release = client.get(f"{PAGE}json").get_json()["releases"]
    assert release["3.1.0"][0]["url"] == f"http://localhost{PAGE}{link()}"
    assert release["0.1"][0]["url"] == old
    assert fetched(elsewhere) == []


@pytest.mark.parametrize("ending", [".tar.gz", ".zip", ".tar.bz2", ".tgz"])
def test_sdists_of_each_kind(client: FlaskClient, elsewhere: PackageIndex, ending: str) -> None:
    """Each link to this server leads to the file."""
    elsewhere.add(f"old-1.0{ending}", b"content")
    [url] = urls(client, f"{INDEX}old/").values()
    assert url == link(f"old-1.0{ending}", b"content")
    assert get(client, f"{INDEX}old/{url}").data == b"content"


def test_direct_links_there(make_client: MakeClient, elsewhere: PackageIndex) -> None:
    """This is the default, and then no file of upstream has an address here."""
    client = make_client(PYOCI_UPSTREAM_INDEX=elsewhere.simple)
    assert urls(client)[FLASK] == f"{elsewhere.url}/files/{FLASK}"
    assert get(client).status_code == 404
    assert fetched(elsewhere) == []


@pytest.mark.parametrize("page", [PAGE, f"{INDEX}simple/flask/", "/simple/flask/", f"{INDEX}+simple/flask/"])
def test_a_file_is_downloaded(
    make_client: MakeClient, proxy: dict[str, str], elsewhere: PackageIndex, page: str
) -> None:
    """At each address of its page, also before the page was asked for. It has the headers of other files."""
    client = make_client(**proxy, PYOCI_DEFAULT_INDEX="local/acme")
    for _ in range(2):
        answer = get(client, urljoin(page, link()))
        assert (answer.status_code, answer.data) == (200, CONTENT)
        assert answer.headers["Content-Length"] == str(len(CONTENT))
        assert answer.headers["ETag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
        assert answer.headers["X-PyOCI-Origin"] == "upstream"
        assert answer.headers["Cache-Control"].startswith("private")
    assert fetched(elsewhere) == [f"GET /files/{FLASK} 200"]


def test_head_range_and_conditions(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """HEAD doesn't fetch the file where the page has its size."""
    path = f"{PAGE}{link()}"
    head = client.head(path)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert get(client, path, **{"If-None-Match": head.headers["ETag"]}).status_code == 304
    assert fetched(elsewhere) == []
    part = get(client, path, Range="bytes=5-9")
    assert (part.status_code, part.data) == (206, CONTENT[5:10])
    assert part.headers["Content-Range"] == f"bytes 5-9/{len(CONTENT)}"
    assert get(client, path, Range="bytes=-7").data == CONTENT[-7:]
    assert get(client, path, Range=f"bytes={len(CONTENT)}-").status_code == 416
    assert get(client, path, **{"Range": "bytes=5-9", "If-Range": '"other"'}).data == CONTENT
    assert fetched(elsewhere) == [f"GET /files/{FLASK} 200"]


def test_metadata(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """It is verified by the hash in the page, and kept."""
    for _ in range(2):
        answer = get(client, f"{PAGE}{link()}.metadata")
        assert (answer.status_code, answer.data) == (200, make_metadata("flask", "3.1.0"))
    assert fetched(elsewhere) == [f"GET /files/{FLASK}.metadata 200"]


@pytest.mark.parametrize("metadata", [True, {"sha512": "ab" * 64}], ids=["true", "another hash"])
def test_metadata_without_a_sha256_is_not_announced(
    client: FlaskClient, elsewhere: PackageIndex, metadata: object
) -> None:
    """Clients read it from the wheel instead."""
    name, content = make_wheel("bare", "1.0")
    elsewhere.add(name, content, core_metadata=metadata)
    [file] = client.get(f"{INDEX}bare/", headers=JSON).get_json()["files"]
    assert "core-metadata" not in file
    assert get(client, f"{INDEX}bare/{file['url']}").data == content
    assert get(client, f"{INDEX}bare/{file['url']}.metadata").status_code == 404


class TestProvenance:
    """PEP 740: a page links to the provenance of a file, without a hash of it."""

    DOCUMENT = b'{"version": 1, "attestation_bundles": []}'
    PATH = f"{PAGE}{link()}.provenance"

    @pytest.fixture
    def elsewhere(self, elsewhere: PackageIndex) -> PackageIndex:
        elsewhere.projects["flask"][0]["provenance"] = f"{elsewhere.url}/integrity/flask"
        elsewhere.answer = self.answering(self.DOCUMENT)
        return elsewhere

    @staticmethod
    def answering(content: bytes, status: int = 200) -> Callable[[Any], Response | None]:
        return lambda request: Response(content, status) if "/integrity/" in request.path else None

    @staticmethod
    def fetched(elsewhere: PackageIndex) -> list[str]:
        return [call for call in elsewhere.calls if "/integrity/" in call]

    @pytest.mark.parametrize(
        "page", [PAGE, "/simple/flask/", f"{INDEX}simple/flask/", "/simple/flask/3.1.0/"]
    )
    def test_pages_link_here(
        self, make_client: MakeClient, proxy: dict[str, str], elsewhere: PackageIndex, page: str
    ) -> None:
        """By an absolute URL of the host that was asked, also if the page was rendered for another one."""
        client = make_client(**proxy, PYOCI_DEFAULT_INDEX="local/acme")
        for host in ("localhost", "127.0.0.1", "localhost"):
            for accept in (JSON, {"Accept": HTML}):
                answer = client.get(page, headers=accept, base_url=f"https://{host}")
                url = f"https://{host}{page.removesuffix('3.1.0/')}{link()}.provenance"
                assert f'"{url}"' in answer.text
                assert "/integrity/" not in answer.text
        assert client.get(url).data == self.DOCUMENT

    def test_direct_links_there(self, make_client: MakeClient, elsewhere: PackageIndex) -> None:
        """As all links do."""
        client = make_client(PYOCI_UPSTREAM_INDEX=elsewhere.simple)
        assert f"{elsewhere.url}/integrity/flask" in client.get(PAGE, headers=JSON).text
        assert get(client, self.PATH).status_code == 404

    def test_it_is_remembered(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """It is requested without credentials of the caller, and may change."""
        for _ in range(2):
            answer = get(client, self.PATH, Authorization="Basic dTpw")
            assert (answer.status_code, answer.data) == (200, self.DOCUMENT)
            assert answer.content_type == "application/vnd.pypi.integrity.v1+json"
            assert answer.headers["Cache-Control"] == "private, no-cache"
            assert answer.headers["X-PyOCI-Origin"] == "upstream"
        unchanged = get(client, self.PATH, **{"If-None-Match": answer.headers["ETag"]})
        assert unchanged.status_code == 304
        assert self.fetched(elsewhere) == ["GET /integrity/flask 200"]
        assert {request.headers.get("Authorization") for request in elsewhere.requests} == {None}

    @pytest.mark.parametrize(
        ("content", "status", "expected"),
        [
            (b"<html>", 200, 502),
            (b"[]", 200, 502),
            (b"[" * 10_000, 200, 502),
            (b'{"x": "' + b"x" * 300_000 + b'"}', 200, 502),
            (b"", 404, 404),
            (b"", 403, 403),
            (b"", 500, 503),
        ],
    )
    def test_what_is_none(
        self, client: FlaskClient, elsewhere: PackageIndex, content: bytes, status: int, expected: int
    ) -> None:
        """Nonsense, a document that is too long, and errors. Nothing of it is remembered."""
        elsewhere.answer = self.answering(content, status)
        assert get(client, self.PATH).status_code == expected
        elsewhere.answer = self.answering(self.DOCUMENT)
        assert get(client, self.PATH).data == self.DOCUMENT

    def test_files_without_one(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """And files that upstream's page lacks."""
        del elsewhere.projects["flask"][0]["provenance"]
        assert get(client, self.PATH).status_code == 404
        assert get(client, f"{PAGE}{link(content=b'other')}.provenance").status_code == 404
        assert self.fetched(elsewhere) == []

    def test_an_address_that_is_not_permitted(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """The page may name any URL."""
        elsewhere.projects["flask"][0]["provenance"] = "http://127.0.0.1:9/x"
        answer = get(client, self.PATH)
        assert answer.status_code == 502
        assert "PYOCI_UPSTREAM_FILE_HOSTS" in answer.text

    def test_projects_of_the_registry_have_none(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """Whatever upstream has of the same name."""
        entry = elsewhere.projects["hello-world"][0]
        entry["provenance"] = f"{elsewhere.url}/integrity/hello-world"
        path = f"{INDEX}hello-world/+{entry['hashes']['sha256'][:16]}/{entry['filename']}.provenance"
        assert get(client, path).status_code == 200
        upload(client)
        assert get(client, path).status_code == 404
        secret = f"{INDEX}secret-tool/{link(*make_wheel('secret-tool', '99.0'))}.provenance"
        assert get(client, secret).status_code == 404
        assert elsewhere.asked("secret-tool") == 0

    def test_upstream_is_down(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """What was fetched is served."""
        assert get(client, self.PATH).data == self.DOCUMENT
        elsewhere.answer = lambda _: Response("down", 503)
        assert get(client, self.PATH).data == self.DOCUMENT


@pytest.mark.parametrize("tail", ["", ".metadata"])
def test_other_bytes_are_refused(client: FlaskClient, elsewhere: PackageIndex, tail: str) -> None:
    """The next request tries again."""
    other = b"x" * len(CONTENT)
    elsewhere.answer = lambda request: Response(other) if "/files/" in request.path else None
    answer = get(client, f"{PAGE}{link()}{tail}")
    assert answer.status_code in {502, 503}
    assert b"xxx" not in answer.data
    elsewhere.answer = lambda request: Response(other[:50]) if "/files/" in request.path else None
    with suppress(Unavailable):  # the server cuts the connection
        assert get(client, f"{PAGE}{link()}{tail}").status_code in {502, 503}
    elsewhere.answer = None
    assert get(client, f"{PAGE}{link()}{tail}").status_code == 200


def test_upstream_is_down(
    make_client: MakeClient, proxy: dict[str, str], elsewhere: PackageIndex, tmp_path: Path
) -> None:
    """What was seen is served, after a restart, too, however old it is. A header says so."""
    cache = tmp_path / "cache"
    settings = {**proxy, "PYOCI_CACHE_URL": f"file://{cache}"}
    assert get(make_client(**settings)).data == CONTENT
    elsewhere.answer = lambda _: Response("down", 503)
    asked_long_ago(cache, elsewhere, 400 * 86400)
    restarted = make_client(**settings)
    for path in (PAGE, f"{PAGE}json", f"{PAGE}{link()}", f"{INDEX}+simple/flask/3.1.0/"):
        for method in (restarted.get, restarted.head):
            answer = method(path, headers=JSON)
            assert (answer.status_code, answer.headers["X-PyOCI-Origin"]) == (200, "upstream")
            word, _, age = answer.headers["X-PyOCI-Upstream"].partition("; age=")
            assert (word, int(age) // 86400) == ("stale", 400)
    assert get(restarted, f"{PAGE}{link()}").data == CONTENT
    for unseen in (f"{PAGE}{link()}.metadata", f"{INDEX}hello-world/"):
        answer = get(restarted, unseen)
        assert (answer.status_code, answer.headers.get("X-PyOCI-Upstream")) == (503, None)
    elsewhere.answer = None
    assert "X-PyOCI-Upstream" not in get(make_client(**proxy), PAGE).headers


def asked_long_ago(cache: Path, elsewhere: PackageIndex, seconds: float) -> None:
    """Make the cache's page of flask as old as that."""
    pages = PageCache(FileBackend(cache), UpstreamAddress.parse(elsewhere.simple).key)
    known = pages.shared("flask", None)
    assert known is not None
    pages.put("flask", replace(known, checked=known.checked - seconds, until=known.until - seconds), 3600)


class TestPrivateProjects:
    def test_they_come_from_the_registry_alone(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """Upstream has a project of the same name. Its files have no address here, whoever knows its hash."""
        name, content = make_wheel("hello-world", "99.0")
        assert upload(client).status_code == 200
        page = f"{INDEX}hello-world/"
        [url] = urls(client, page).values()
        assert client.get(urljoin(page, url)).headers.get("X-PyOCI-Origin") is None
        for tail in ("", ".metadata"):
            assert get(client, f"{page}{link(name, content)}{tail}").status_code == 404
        assert elsewhere.calls == []

    def test_deleted_ones_too(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """A project stays private without files."""
        name, content = make_wheel("hello-world", "99.0")
        upload(client)
        assert client.delete(f"{INDEX}hello-world/1.0").status_code == 200
        assert get(client, f"{INDEX}hello-world/{link(name, content)}").status_code == 404
        assert elsewhere.calls == []

    def test_published_after_its_file_came_from_upstream(
        self, client: FlaskClient, elsewhere: PackageIndex
    ) -> None:
        """From then on upstream's file has no address here, although it is kept."""
        path = f"{INDEX}hello-world/{link(*make_wheel('hello-world', '99.0'))}"
        assert get(client, path).status_code == 200
        upload(client)
        assert get(client, path).status_code == 404

    def test_names_in_the_settings_never_leave(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """Neither for a file nor for its metadata."""
        path = f"{INDEX}secret-tool/{link(*make_wheel('secret-tool', '99.0'))}"
        for tail in ("", ".metadata"):
            assert get(client, f"{path}{tail}").status_code == 404
        assert elsewhere.calls == []


def test_a_file_that_the_page_lacks(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """Another hash, another name, or no digest: a 404, and nothing is fetched."""
    for path in (link(content=b"other"), link("flask-3.2.0-py3-none-any.whl"), FLASK, link(OLD, b"old")):
        assert get(client, f"{PAGE}{path}").status_code == 404
    assert fetched(elsewhere) == []


@pytest.mark.parametrize("first", ["me", "stranger"])
def test_a_file_is_for_those_who_may_see_the_page(
    make_client: MakeClient, proxy: dict[str, str], elsewhere: PackageIndex, tmp_path: Path, first: str
) -> None:
    """Others get the registry's refusal, as for the page, whoever came before. No credentials of a caller
    leave for upstream.
    """
    registry = FriendlyRegistry(create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False))
    expected = {"stranger": 401, "you": 403, "me": 200}
    order = sorted(expected, key=lambda caller: caller != first)
    with served(registry) as url:
        client = make_client(**proxy, PYOCI_REGISTRIES=f"lab={url}")
        for _ in range(2):
            for caller in order:
                page = client.get("/lab/secret/flask/", headers=CALLERS[caller])
                file = client.get(f"/lab/secret/flask/{link()}", headers=CALLERS[caller])
                assert (caller, page.status_code, file.status_code) == (
                    caller,
                    expected[caller],
                    expected[caller],
                )
                assert (file.data == CONTENT) == (caller == "me")
    assert fetched(elsewhere) == [f"GET /files/{FLASK} 200"]
    assert {request.headers.get("Authorization") for request in elsewhere.requests} == {None}


def test_a_registry_that_is_down_serves_nothing_of_upstream(
    make_client: MakeClient, proxy: dict[str, str], elsewhere: PackageIndex
) -> None:
    """It could not say that the project isn't its own."""
    settings = {**proxy, "PYOCI_REGISTRIES": "lab=http://127.0.0.1:9"}
    assert get(make_client(**settings), f"/lab/acme/flask/{link()}").status_code in {503, 504}
    assert elsewhere.calls == []
