"""Short URLs: the same package index at /simple/ and at names that the operator chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from pyoci.oci.registries import ShortUrl, ShortUrls
from tests.web.conftest import MakeApp
from tests.web.doubles import MemoryStore
from tests.web.uploads import make_form, post

WHEEL = "hello_world-1.0-py3-none-any.whl"
LONG = "/ghcr.io/acme"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
NAMES = ShortUrls(
    {
        "simple": ShortUrl("ghcr.io", ("acme",)),
        "team": ShortUrl("ghcr.io", ("acme", "python")),
        "lab2": ShortUrl("http://localhost:5000", ("acme",)),
    }
)
ALONE = ShortUrls(NAMES.urls, alone=True)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(short_urls=NAMES)


@pytest.fixture
def alone(make_app: MakeApp) -> FlaskClient:
    """A client of a site that serves only its short URLs."""
    return make_app(short_urls=ALONE).test_client()


@pytest.fixture(autouse=True)
def _files(store: MemoryStore) -> None:
    store.put(WHEEL, metadata=b"Name: hello-world\n", requires_python=">=3.11")
    store.put("hello_world-2.0.tar.gz")
    store.put("team_tool-1.0.zip", namespace="ghcr.io/acme/python")
    store.put("lab_tool-1.0.zip", namespace="http://localhost:5000/acme")


class TestReading:
    """A short URL has the same answers as the long one."""

    @pytest.mark.parametrize("headers", [{}, JSON], ids=["HTML", "JSON"])
    @pytest.mark.parametrize(
        "path",
        [
            pytest.param("/", id="root"),
            pytest.param("/hello-world/", id="page"),
            pytest.param("/+simple/", id="root as hatch asks"),
            pytest.param("/+simple/hello-world/", id="page as hatch asks"),
            pytest.param(f"/hello-world/{WHEEL}", id="file"),
            pytest.param(f"/hello-world/{WHEEL}.metadata", id="metadata"),
            pytest.param("/hello-world/json", id="legacy JSON"),
            pytest.param("/hello-world/hello_world-9.zip", id="no file"),
            pytest.param("/nobody/", id="no project"),
            pytest.param("/json", id="a project called json"),
            pytest.param("/-/", id="no name"),
        ],
    )
    def test_the_same_answer(self, client: FlaskClient, path: str, headers: dict[str, str]) -> None:
        """Status, headers and body. Only absolute links differ."""
        short, long = (client.get(f"{url}{path}", headers=headers) for url in ("/simple", LONG))
        assert (short.status, short.data.replace(b"/simple/", b"/ghcr.io/acme/")) == (long.status, long.data)
        if not path.endswith("/json"):
            assert short.headers == long.headers

    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    def test_head_and_range(self, client: FlaskClient, method: str) -> None:
        """Also for parts of files."""
        headers = {"Range": "bytes=4-8"}
        answers = [
            client.open(f"{url}/hello-world/{WHEEL}", method=method, headers=headers)
            for url in ("/simple", LONG)
        ]
        assert answers[0].status_code == (206 if method == "GET" else 200)
        assert answers[0].headers == answers[1].headers
        assert answers[0].data == answers[1].data

    def test_the_same_bytes_compressed(self, client: FlaskClient) -> None:
        """With the same ETag."""
        headers = JSON | {"Accept-Encoding": "gzip"}
        short, long = (client.get(f"{url}/hello-world/", headers=headers) for url in ("/simple", LONG))
        assert (short.data, short.headers) == (long.data, long.headers)

    def test_etag_of_one_holds_at_the_other(self, client: FlaskClient) -> None:
        """Because the bytes are the same."""
        etag = client.get(f"{LONG}/hello-world/").headers["ETag"]
        assert client.get("/simple/hello-world/", headers={"If-None-Match": etag}).status_code == 304

    @pytest.mark.parametrize(
        ("path", "project"),
        [
            ("/team/team-tool/", "team-tool"),
            ("/Team/team-tool/", "team-tool"),
            ("/team/+simple/team-tool/", "team-tool"),
            ("/lab2/lab-tool/", "lab-tool"),
        ],
    )
    def test_by_name(self, client: FlaskClient, path: str, project: str) -> None:
        """Names work in any case, like aliases."""
        assert client.get(path, headers=JSON).get_json()["name"] == project
        root = path[: path.index(project)]
        assert client.get(root, headers=JSON).get_json()["projects"] == [{"name": project}]

    def test_project_json_by_name(self, client: FlaskClient) -> None:
        """Renovate asks there."""
        assert client.get("/team/team-tool/json").get_json()["releases"].keys() == {"1.0"}

    @pytest.mark.parametrize(
        ("path", "location"),
        [
            ("/simple", "simple/"),
            ("/simple/Hello_World/", "../hello-world/"),
            ("/simple/hello-world", "hello-world/"),
            ("/team/Team.Tool/", "../team-tool/"),
            ("/team/Team.Tool/json", "../team-tool/json"),
            ("/pypi/Hello_World/json", "../hello-world/json"),
        ],
    )
    def test_redirects_stay_within_the_short_url(self, client: FlaskClient, path: str, location: str) -> None:
        """They are relative, so they work behind any prefix."""
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (301, location)

    @pytest.mark.parametrize(
        "path", ["/team/a/b/", "/team/a/b/c.zip", "/simple/+simple/+simple/", "/simple//", "/team//json"]
    )
    def test_no_namespace_below(self, client: FlaskClient, store: MemoryStore, path: str) -> None:
        """A short URL is one namespace. Namespaces below it have no short URL."""
        assert client.get(path).status_code in {400, 404}
        assert store.calls == []

    def test_messages_fit_short_urls(self, client: FlaskClient) -> None:
        """They don't mention registries."""
        for answer in (client.get("/team/a/b/"), client.delete("/team/1.0"), client.get("/team/a.zip")):
            assert (answer.status_code, "registry" in answer.text) == (404, False)
            assert "expected <project>/ or <project>/<file>" in answer.text

    def test_a_namespace_of_that_name_keeps_its_long_url(
        self, client: FlaskClient, store: MemoryStore
    ) -> None:
        """`simple` and `pypi` are reserved as first segments only."""
        store.put("odd-1.0.zip", namespace="ghcr.io/simple")
        assert client.get("/ghcr.io/simple/odd/").status_code == 200


class TestPypi:
    """/pypi/<project>/json, where clients look for PyPI's legacy JSON."""

    @pytest.mark.parametrize("prefix", ["", "/packages"])
    def test_its_files_stand_below_simple(self, make_app: MakeApp, prefix: str) -> None:
        """The links lead to the files."""
        client = make_app(short_urls=NAMES, path=prefix).test_client()
        answer = client.get(f"{prefix}/pypi/hello-world/json")
        [file] = answer.get_json()["releases"]["1.0"]
        below = f"+{file['digests']['sha256'][:16]}/{WHEEL}"
        assert file["url"] == f"http://localhost{prefix}/simple/hello-world/{below}"
        assert client.get(file["url"]).data == b"the bytes of a file"

    @pytest.mark.parametrize(
        ("path", "version"), [("/pypi/hello-world/json/", "2.0"), ("/pypi/hello-world/1.0/json/", "1.0")]
    )
    def test_a_final_slash_is_redirected(self, client: FlaskClient, path: str, version: str) -> None:
        """python-inspector appends one."""
        moved = client.get(path)
        assert moved.status_code == 301
        answer = client.get(urljoin(path, moved.headers["Location"]))
        assert answer.get_json()["info"]["version"] == version

    def test_nothing_else_is_there(self, client: FlaskClient, store: MemoryStore) -> None:
        """Neither pages nor files nor roots."""
        paths = ["/pypi", "/pypi/", "/pypi/json", "/pypi/hello-world/", f"/pypi/hello-world/{WHEEL}"]
        for path in [*paths, "/pypi/hello-world/1.0/", "/pypi/a/b/json", "/pypi/+simple/json"]:
            assert client.get(path, follow_redirects=True).status_code == 404
        assert client.delete("/pypi/hello-world/1.0").status_code == 404
        assert post(client, make_form(), "/pypi/").status_code == 404
        assert store.calls == []


class TestWriting:
    """Upload, yank and delete."""

    @pytest.mark.parametrize(
        ("path", "namespace"),
        [
            ("/simple/", "ghcr.io/acme"),
            ("/simple", "ghcr.io/acme"),
            ("/legacy/", "ghcr.io/acme"),
            ("/legacy", "ghcr.io/acme"),
            ("/team/", "ghcr.io/acme/python"),
            ("/team", "ghcr.io/acme/python"),
            ("/team/+simple/", "ghcr.io/acme/python"),
        ],
    )
    def test_upload(self, client: FlaskClient, store: MemoryStore, path: str, namespace: str) -> None:
        """With and without a final slash, and never redirected."""
        store.kept.clear()
        assert (post(client, make_form(), path).status_code, store.calls) == (200, [("publish", namespace)])

    @pytest.mark.parametrize("path", ["/simple/hello-world/", "/team/a/b/", "/legacy/a/", "/legacy/a"])
    def test_no_upload_below(self, client: FlaskClient, store: MemoryStore, path: str) -> None:
        """An upload to a page would create a namespace at the long URL."""
        assert post(client, make_form(), path).status_code == 404
        assert store.calls == []

    def test_nothing_is_read_at_legacy(self, client: FlaskClient) -> None:
        """It is only for uploads, and the message says so."""
        for path in ("/legacy", "/legacy/", "/legacy/hello-world/", f"/legacy/hello-world/{WHEEL}"):
            answer = client.get(path)
            assert (answer.status_code, "/simple/<project>/" in answer.text) == (404, True)

    def test_yank_and_delete(self, client: FlaskClient, store: MemoryStore) -> None:
        """A version or a file."""
        page = "/simple/hello-world"
        assert client.patch(f"{page}/{WHEEL}", json={"yanked": "broken"}).status_code == 200
        assert [file.get("yanked") for file in client.get(f"{page}/", headers=JSON).get_json()["files"]] == [
            "broken",
            None,
        ]
        assert client.delete(f"{page}/{WHEEL}").status_code == 200
        assert client.delete(f"{page}/2.0").status_code == 200
        assert client.get(f"{LONG}/hello-world/", headers=JSON).get_json()["files"] == []
        assert client.delete("/simple/hello-world").status_code == 404


class TestLog:
    """The fields of the request log."""

    @pytest.mark.parametrize(
        ("path", "facts"),
        [
            ("/simple/hello-world/", ("ghcr.io", "acme/hello-world")),
            ("/simple/", ("ghcr.io", "acme")),
            ("/pypi/hello-world/json", ("ghcr.io", "acme/hello-world")),
            ("/team/+simple/team-tool/", ("ghcr.io", "acme/python/team-tool")),
            ("/ghcr.io/acme/+simple/hello-world/", ("ghcr.io", "acme/hello-world")),
        ],
    )
    def test_the_registry_and_the_path_there(self, app: Flask, path: str, facts: tuple[str, str]) -> None:
        """For any URL."""

        def start(status: str, headers: list[tuple[str, str]], failure: Any = None, /) -> Callable[..., None]:
            return lambda _piece: None

        environ = EnvironBuilder(path).get_environ()
        list(app.wsgi_app(environ, start))
        assert (str(environ["pyoci.registry"]), environ["pyoci.path"]) == facts


class TestWithoutThem:
    """Without short URLs."""

    @pytest.mark.parametrize("path", ["/simple/", "/simple/a/", "/pypi/a/json", "/legacy/", "/team/"])
    def test_nothing_is_there(self, make_app: MakeApp, store: MemoryStore, path: str) -> None:
        """404, for reading and writing."""
        client = make_app().test_client()
        assert client.get(path).status_code == 404
        assert post(client, make_form(), path).status_code == 404
        assert store.calls == []

    def test_names_alone_leave_simple_unused(self, make_app: MakeApp, store: MemoryStore) -> None:
        """PYOCI_INDEXES without PYOCI_DEFAULT_INDEX."""
        client = make_app(short_urls=ShortUrls({"team": NAMES.urls["team"]})).test_client()
        assert client.get("/team/").status_code == 200
        assert post(client, make_form(), "/legacy/").status_code == 404
        assert client.get("/pypi/hello-world/json").status_code == 404


class TestAlone:
    """PYOCI_ONLY_INDEXES: nothing else is served."""

    @pytest.mark.parametrize("path", ["/simple/hello-world/", "/team/", "/pypi/hello-world/json", "/health"])
    def test_what_is_named_is_served(self, alone: FlaskClient, path: str) -> None:
        """And /health."""
        assert alone.get(path).status_code == 200

    @pytest.mark.parametrize(
        "path",
        [
            "/ghcr.io/acme/hello-world/",
            f"/ghcr.io/acme/hello-world/{WHEEL}",
            "/local/acme/",
            "/LOCAL/acme/",
            "/lab/acme/",
            "/http://localhost:5000/acme/",
            "/http%253A%252F%252Flocalhost%253A5000/acme/",
            "/forbidden.example/acme/",
            "/v2/",
            "/nothing",
        ],
    )
    def test_nothing_else_is(self, alone: FlaskClient, store: MemoryStore, path: str) -> None:
        """A 404 whose message reveals no name, for any request, without asking a registry."""
        for answer in (alone.get(path), alone.delete(f"{path}/x/1.0"), post(alone, make_form(), path)):
            assert answer.status_code == 404
            assert "team" not in answer.text
            assert "Location" not in answer.headers
        assert store.calls == []

    def test_answers_to_probes_are_still_cached_for_a_week(self, alone: FlaskClient) -> None:
        """Otherwise uv and pdm would probe each time."""
        assert alone.get("/_/oidc/audience").headers["Cache-Control"] == "public, max-age=604800"

    def test_the_address_itself_redirects_home(self, alone: FlaskClient) -> None:
        """To PyOCI's home page."""
        assert alone.get("/").status_code == 302


def test_a_conflict_reads_as_at_the_long_url(client: FlaskClient) -> None:
    """uv gets JSON at /legacy/."""
    accept = {"Accept": "application/json;q=0.9, text/plain;q=0.8"}
    answer = post(client, make_form(), "/legacy/", headers=accept)
    assert json.loads(answer.data)["title"] == "Conflict"
