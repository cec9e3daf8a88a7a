"""Roots, pages and redirects, through HTTP."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from pyoci.errors import Denied, NotFound, NotSupported, PyOCIError, Unauthorized
from pyoci.oci.references import Registry
from pyoci.web.rendering import WrittenFiles
from tests.web.conftest import MakeApp
from tests.web.doubles import MemoryStore, Registries
from tests.web.uploads import CONTENT, make_form, post

PAGE = "/ghcr.io/acme/hello-world/"
WHEEL = "hello_world-1.0-py3-none-any.whl"
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def project(store: MemoryStore) -> str:
    """A project with a file."""
    store.put(WHEEL)
    return PAGE


@pytest.mark.parametrize(
    ("accept", "content_type", "start"),
    [
        pytest.param(None, "text/html; charset=utf-8", b"<!DOCTYPE html>", id="nothing said"),
        pytest.param(JSON, JSON, b'{"meta":{"api-version":"1.4"}', id="JSON"),
        pytest.param(
            "application/vnd.pypi.simple.v1+html",
            "application/vnd.pypi.simple.v1+html; charset=utf-8",
            b"<!DOCTYPE html>",
            id="HTML by its new name",
        ),
    ],
)
def test_page(client: FlaskClient, project: str, accept: str | None, content_type: str, start: bytes) -> None:
    """In the representation that the client prefers, and only for this caller."""
    answer = client.get(project, headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    assert answer.data.startswith(start)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Vary"] == "Accept, Accept-Encoding, Authorization"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Last-Modified" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_large_page(make_app: MakeApp, store: MemoryStore) -> None:
    """The JSON of its files is kept, and a page after a change has the change."""
    written = WrittenFiles()
    client = make_app(written=written).test_client()
    names = [f"hello_world-1.{number}-py3-none-any.whl" for number in range(1000)]
    for name in names:
        store.put(name)
    before = client.get(PAGE, headers={"Accept": JSON}).json
    assert before is not None
    assert [file["filename"] for file in before["files"]] == names
    assert len(written) == 1
    store.put(names[500], yanked="broken")
    after = client.get(PAGE, headers={"Accept": JSON}).json
    assert after is not None
    assert after["files"][500] == before["files"][500] | {"yanked": "broken"}
    assert after["files"][:500] + after["files"][501:] == before["files"][:500] + before["files"][501:]


def test_html_has_a_strict_policy(client: FlaskClient, project: str) -> None:
    """It may load nothing, run nothing, and not be framed."""
    answer = client.get(project)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_format(client: FlaskClient, project: str) -> None:
    """`?format=` takes precedence over Accept."""
    assert client.get(f"{project}?format=json", headers={"Accept": "text/html"}).content_type == JSON
    assert client.get(f"{project}?format={JSON}", headers={"Accept": "text/html"}).content_type == JSON


def test_not_acceptable(client: FlaskClient, project: str) -> None:
    """After a 406 Renovate repeats the request without Accept."""
    answer = client.get(project, headers={"Accept": "application/json"})
    assert answer.status_code == 406
    assert JSON in answer.text


def test_head(client: FlaskClient, project: str) -> None:
    """The same headers as GET, without a body."""
    get, head = client.get(project), client.head(project)
    assert head.data == b""
    assert dict(head.headers) == dict(get.headers)


class TestTags:
    """ETag and If-None-Match."""

    def test_tag_is_strong_and_over_the_exact_bytes(self, client: FlaskClient, project: str) -> None:
        """uv never revalidates weak ETags."""
        answer = client.get(project)
        assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.data).hexdigest()}"'

    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"], ids=["same", "weak", "list", "any"])
    def test_not_modified(self, client: FlaskClient, project: str, form: str) -> None:
        """A client that has these bytes gets a 304 with the headers that a cache needs."""
        tag = client.get(project).headers["ETag"]
        answer = client.get(project, headers={"If-None-Match": form.format(tag)})
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == tag
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert "Authorization" in answer.headers["Vary"]

    def test_other_tag(self, client: FlaskClient, project: str) -> None:
        """Any other value gets the page."""
        for header in ('"other"', "rubbish", ""):
            assert client.get(project, headers={"If-None-Match": header}).status_code == 200

    def test_representations_have_their_own(self, client: FlaskClient, store: MemoryStore) -> None:
        """HTML, JSON, and both compressed have different ETags."""
        for number in range(20):
            store.put(f"hello_world-{number}-py3-none-any.whl")
        tags = {
            client.get(PAGE, headers={"Accept": accept, "Accept-Encoding": encoding}).headers["ETag"]
            for accept in ("text/html", JSON)
            for encoding in ("", "gzip")
        }
        assert len(tags) == 4

    def test_credentials_go_first(self, client: FlaskClient, project: str, store: MemoryStore) -> None:
        """A correct ETag doesn't replace access: the registry is asked about this caller."""
        tag = client.get(project).headers["ETag"]
        store.password = "secret"
        assert client.get(project, headers={"If-None-Match": tag}).status_code == 401
        assert client.get(project, headers={"If-None-Match": tag}, auth=("u", "wrong")).status_code == 401
        assert client.get(project, headers={"If-None-Match": tag}, auth=("u", "secret")).status_code == 304


class TestGzip:
    """Compression."""

    @pytest.fixture
    def long_page(self, store: MemoryStore) -> str:
        for number in range(50):
            store.put(f"hello_world-{number}-py3-none-any.whl")
        return PAGE

    def test_welcome(self, client: FlaskClient, long_page: str) -> None:
        """The same page in fewer bytes, always the same, with an ETag over them."""
        plain = client.get(long_page)
        first, second = (client.get(long_page, headers={"Accept-Encoding": "gzip"}) for _ in range(2))
        assert first.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(first.data) == plain.data
        assert first.data == second.data
        assert first.headers["ETag"] == f'"{hashlib.sha256(first.data).hexdigest()}"'

    def test_refused(self, client: FlaskClient, long_page: str) -> None:
        """q=0 refuses gzip."""
        answer = client.get(long_page, headers={"Accept-Encoding": "gzip;q=0"})
        assert "Content-Encoding" not in answer.headers

    def test_not_worth_it(self, client: FlaskClient, project: str) -> None:
        """A small page isn't compressed."""
        answer = client.get(project, headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in answer.headers

    def test_not_modified(self, client: FlaskClient, long_page: str) -> None:
        """The compressed page has its own 304."""
        headers = {"Accept-Encoding": "gzip"}
        tag = client.get(long_page, headers=headers).headers["ETag"]
        assert client.get(long_page, headers=headers | {"If-None-Match": tag}).status_code == 304
        assert client.get(long_page, headers={"If-None-Match": tag}).status_code == 200


class TestRoots:
    """Namespaces."""

    def test_root(self, client: FlaskClient, project: str) -> None:
        """The projects, with relative links. poetry uses the link, undecoded, as the name."""
        answer = client.get("/ghcr.io/acme/")
        assert '<a href="hello-world/">hello-world</a>' in answer.text
        answer = client.get("/ghcr.io/acme/", headers={"Accept": JSON})
        assert answer.json == {"meta": {"api-version": "1.4"}, "projects": [{"name": "hello-world"}]}

    def test_empty_root(self, client: FlaskClient) -> None:
        """A namespace without projects is an empty list, not an error."""
        assert client.get("/ghcr.io/nobody/?format=json").get_json()["projects"] == []

    def test_page_goes_before_root(self, client: FlaskClient, store: MemoryStore) -> None:
        """If `b` is a project in `a`, and `a/b` is a namespace, the page is shown."""
        store.put("b-1.0.tar.gz", namespace="ghcr.io/a")
        store.put("c-1.0.tar.gz", namespace="ghcr.io/a/b")
        assert client.get("/ghcr.io/a/b/?format=json").get_json()["name"] == "b"

    @pytest.mark.parametrize("namespace", ["a/b", "a/b_c", "a/b.c", "A/B"])
    def test_root_below_root(self, client: FlaskClient, store: MemoryStore, namespace: str) -> None:
        """A namespace of two segments is found if there is no such project."""
        store.put("c-1.0.tar.gz", namespace=f"ghcr.io/{namespace.lower()}")
        answer = client.get(f"/ghcr.io/{namespace}/?format=json")
        assert answer.get_json()["projects"] == [{"name": "c"}]

    @pytest.mark.parametrize(
        "catalog",
        [None, NotFound("no list"), NotSupported("no list"), Denied("no"), Unauthorized("who")],
        ids=["empty", "NotFound", "NotSupported", "Denied", "Unauthorized"],
    )
    def test_neither(self, client: FlaskClient, store: MemoryStore, catalog: PyOCIError | None) -> None:
        """Without a project and without projects it is the page's 404, and pip asks the next index."""
        store.no_list = catalog
        answer = client.get("/ghcr.io/a/b/")
        assert (answer.status_code, answer.text) == (404, "there is no project b in ghcr.io/a")

    def test_refused_page_is_no_root(self, client: FlaskClient, store: MemoryStore) -> None:
        """A root is shown only if the project is absent."""
        store.password = "secret"
        assert client.get("/ghcr.io/a/b/").status_code == 401
        assert [call[0] for call in store.calls] == ["page"]

    @pytest.mark.parametrize("spelling", ["+simple", "%2Bsimple"])
    def test_simple_alias(self, client: FlaskClient, store: MemoryStore, spelling: str) -> None:
        """hatch requests `+simple/`, percent-encoded: roots, pages, files and uploads work below it."""
        store.put(WHEEL, namespace="ghcr.io/a/b", metadata=b"Name: hello-world\n")
        root = f"/ghcr.io/a/b/{spelling}/"
        assert client.get(f"{root}?format=json").get_json()["projects"] == [{"name": "hello-world"}]
        assert client.get(f"{root}hello-world/?format=json").get_json()["name"] == "hello-world"
        assert client.get(f"{root}hello-world/json").get_json()["info"]["name"] == "hello-world"
        assert client.get(f"{root}hello-world/{WHEEL}").status_code == 200
        assert client.get(f"{root}hello-world/{WHEEL}.metadata").status_code == 200
        assert (
            client.post(root, data={":action": "submit"}, content_type="multipart/form-data").status_code
            == 410
        )
        assert client.get(f"{root}missing/").status_code == 404
        assert client.get(f"{root}a/b/").status_code == 404
        assert client.post(f"{root}hello-world/", data={}).status_code == 404


class TestRedirects:
    """301 for a missing slash and for another spelling of the name, and for nothing else."""

    @pytest.mark.parametrize(
        ("path", "location"),
        [
            pytest.param("/ghcr.io/acme", "acme/", id="root"),
            pytest.param("/ghcr.io/acme/hello-world", "hello-world/", id="page"),
            pytest.param(
                "/ghcr.io/acme/hello-world?format=json&x=%2F", "hello-world/?format=json&x=%2F", id="query"
            ),
            pytest.param("/ghcr.io/acme/+simple", "%2Bsimple/", id="+simple"),
            pytest.param("/ghcr.io/json", "json/", id="a namespace called json"),
            pytest.param("/ghcr.io/acme/json", "json/", id="a project called json"),
            pytest.param("/ghcr.io/acme/Hello.World/", "../hello-world/", id="another spelling"),
            pytest.param("/ghcr.io/acme/hello_world/?x=1", "../hello-world/?x=1", id="underscores"),
            pytest.param("/ghcr.io/acme/+simple/Hello-World/", "../hello-world/", id="below +simple"),
            pytest.param("/ghcr.io/acme/Hello.World/json", "../hello-world/json", id="legacy JSON"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_moved(self, client: FlaskClient, project: str, method: str, path: str, location: str) -> None:
        """The Location is relative, so it works behind any prefix and proxy."""
        answer = client.open(path, method=method)
        assert (answer.status_code, answer.headers["Location"]) == (301, location)
        assert "Cache-Control" not in answer.headers

    def test_query_is_quoted(self, client: FlaskClient, project: str) -> None:
        """A query can't break the header."""
        answer = client.get("/ghcr.io/acme/hello-world", query_string='a="<b>\u20ac')
        assert answer.headers["Location"].isascii()
        assert not set('"<>') & set(answer.headers["Location"])

    def test_capitals_in_a_namespace(self, client: FlaskClient, project: str) -> None:
        """`ghcr.io/AllexVeldman` works."""
        assert client.get("/ghcr.io/ACME/hello-world/").status_code == 200

    def test_absent_project_is_not_moved(self, client: FlaskClient) -> None:
        """Clients remember a 301 forever, so only an existing project is redirected."""
        assert client.get("/ghcr.io/acme/Not.There/").status_code == 404
        assert client.get("/ghcr.io/acme/Not.There/json").status_code == 404

    def test_file_of_another_spelling(self, client: FlaskClient, project: str) -> None:
        """Files below another spelling are served without a redirect."""
        assert client.get(f"/ghcr.io/acme/Hello.World/{WHEEL}").status_code == 200

    def test_redirects_lead_there(self, client: FlaskClient, project: str) -> None:
        """Following the redirects ends at the page."""
        url = "http://localhost/ghcr.io/acme/Hello.World?format=json"
        answers = [client.get(url)]
        while answers[-1].status_code == 301:
            url = urljoin(url, answers[-1].headers["Location"])
            answers.append(client.get(url))
        assert url == f"http://localhost{PAGE}?format=json"
        assert [answer.status_code for answer in answers] == [301, 301, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/http%3A%2F%2Flocalhost%3A5000/acme/hello-world/",
        "/http://localhost:5000/acme/hello-world/",
        "/http:/localhost:5000/acme/hello-world/",
        "/http%253A%252F%252Flocalhost%253A5000/acme/hello-world/",
    ],
    ids=["encoded", "decoded", "merged", "encoded twice"],
)
def test_registry_as_a_url(
    client: FlaskClient, store: MemoryStore, registries: Registries, path: str
) -> None:
    """A registry with plain http is named by its URL, in every form in which it may arrive."""
    store.put(WHEEL, namespace="http://localhost:5000/acme")
    assert client.get(path).status_code == 200
    assert registries.asked == ["http://localhost:5000"]
    assert client.get(f"{path}{WHEEL}").status_code == 200


@pytest.mark.parametrize(
    ("registry", "host"),
    [
        ("ghcr.io", "ghcr.io"),
        ("lab", "http://10.0.0.5:5000"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("http:/localhost:5000", "http://localhost:5000"),
        ("http%3A%2F%2Flocalhost%3A5000", "http://localhost:5000"),
    ],
)
def test_doubled_slash_after_the_registry(
    client: FlaskClient, store: MemoryStore, registry: str, host: str
) -> None:
    """Two slashes count as one: for roots, pages, files, the legacy JSON and uploads."""
    root = f"/{registry}//acme/"
    assert post(client, make_form(), root).status_code == 200
    assert store.calls == [("publish", f"{host}/acme")]
    assert client.get(f"{root}?format=json").get_json()["projects"] == [{"name": "hello-world"}]
    assert client.get(f"{root}hello-world/?format=json").get_json()["name"] == "hello-world"
    [[file]] = client.get(f"{root}hello-world/json").get_json()["releases"].values()
    assert client.get(file["url"]).data == CONTENT
    assert client.get(f"{root}hello-world/{WHEEL}").data == CONTENT


def test_alias(client: FlaskClient, store: MemoryStore) -> None:
    """An alias stands for its registry."""
    store.put(WHEEL, namespace="http://10.0.0.5:5000/acme")
    assert client.get("/lab/acme/hello-world/").status_code == 200


def test_refresh(client: FlaskClient, project: str, store: MemoryStore) -> None:
    """uv's --refresh asks the registry again; pip's constant max-age=0 doesn't."""
    for header in ("no-cache", "max-age=0", None):
        client.get(project, headers={"Cache-Control": header} if header else {})
    assert [call[-1] for call in store.calls] == [True, False, False]


def test_connection_that_is_not_admitted(make_app: MakeApp, store: MemoryStore) -> None:
    """`admit` gets the registry and the connection, and refuses before credentials are checked."""
    seen = []

    def admit(registry: Registry, environ: dict[str, Any]) -> None:
        seen.append((str(registry), environ["REMOTE_ADDR"]))
        raise Denied("only from this machine")

    answer = make_app(admit=admit).test_client().get(PAGE, headers={"Authorization": "rubbish"})
    assert (answer.status_code, answer.text) == (403, "only from this machine")
    assert seen == [("ghcr.io", "127.0.0.1")]
    assert store.calls == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/ghcr.io/", 404, id="no namespace"),
        pytest.param("/ghcr.io/a/../b/", 400, id="dots"),
        pytest.param("/ghcr.io/a/b%2F..%2Fc/", 400, id="encoded dots"),
        pytest.param("/ghcr.io/a//b/", 400, id="an empty segment"),
        pytest.param("/ghcr.io/a%20b/c/", 400, id="a blank in the namespace"),
        pytest.param("/ghcr.io/a/b%20c/", 400, id="a blank in the project"),
        pytest.param("/ghcr.io/a/%ff/", 400, id="not UTF-8"),
        pytest.param("/ghcr.io/a/b%0Ac/", 404, id="a line break"),
        pytest.param("/gh%00cr.io/a/b/", 400, id="NUL in the registry"),
        pytest.param(f"/ghcr.io/a/{'b' * 300}/", 400, id="a name without end"),
        pytest.param("/forbidden.example/a/b/", 403, id="a registry that is not allowed"),
    ],
)
def test_bad_addresses(client: FlaskClient, store: MemoryStore, path: str, status: int) -> None:
    """An impossible address gets one sentence, and the store isn't asked."""
    answer = client.get(path)
    assert answer.status_code == status
    assert len(answer.text) > 10
    assert store.calls == []


class TestPrefix:
    """PYOCI_PATH, and servers that mount the application somewhere."""

    def test_below_the_prefix(self, make_app: MakeApp, store: MemoryStore) -> None:
        """The package indexes are below the prefix, and not outside it."""
        store.put(WHEEL)
        client = make_app(path="/foo/bar").test_client()
        assert client.get(f"/foo/bar{PAGE}").status_code == 200
        assert client.get(f"/foo/bar{PAGE}{WHEEL}").status_code == 200
        url = client.get(f"/foo/bar{PAGE}?format=json").get_json()["files"][0]["url"]
        assert client.get(urljoin(f"/foo/bar{PAGE}", url)).status_code == 200
        assert client.get(PAGE).status_code == 404
        assert client.get("/foo/bar/ghcr.io/acme").headers["Location"] == "acme/"

    @pytest.mark.parametrize("path", ["/", "/foo/bar/", "/foo/bar"])
    def test_home_page(self, make_app: MakeApp, path: str) -> None:
        """/ redirects, with and without the prefix."""
        assert make_app(path="/foo/bar").test_client().get(path).status_code == 302

    def test_health(self, make_app: MakeApp) -> None:
        """/health isn't moved, and is reserved below the prefix."""
        client = make_app(path="/foo/bar/").test_client()
        assert client.get("/health").status_code == 200
        assert client.get("/foo/bar/health").status_code == 404

    def test_mounted(self, client: FlaskClient, store: MemoryStore) -> None:
        """Below a SCRIPT_NAME, the absolute links of the legacy JSON include it; other links are relative."""
        digest = store.put(WHEEL).sha256
        answer = client.get(f"{PAGE}json", base_url="https://packages.example/sub")
        url = answer.get_json()["urls"][0]["url"]
        assert url == f"https://packages.example/sub{PAGE}+{digest[:16]}/{WHEEL}"


@pytest.mark.parametrize("path", ["/favicon.ico", "/robots.txt", "/_/oidc/audience", "/.well-known/pytp"])
def test_answers_to_probes_are_cached(client: FlaskClient, path: str) -> None:
    """For a week."""
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "public, max-age=604800")


@pytest.mark.parametrize("path", ["/metrics", "/v2/", "/simple/", "/pypi/a/json", "/acme/hello/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_no_registry(client: FlaskClient, registries: Registries, method: str, path: str) -> None:
    """A first segment that can't be a registry is a 404 that isn't cached, for every method."""
    answer = client.open(path, method=method)
    if answer.status_code == 405:
        answer = client.open(f"{path.rstrip('/')}/a/b", method=method)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")
    assert registries.asked == []
