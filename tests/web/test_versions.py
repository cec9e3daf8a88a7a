"""The page and the legacy JSON of one version."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied, NotFound, ProtocolError, PyOCIError, Unauthorized
from pyoci.oci.credentials import Credentials
from pyoci.oci.registries import ShortUrl, ShortUrls
from pyoci.store.models import ForeignPage, Namespace, ProjectPage
from tests.upstream_pages import make_upstream_file, make_upstream_page
from tests.web.conftest import MakeApp
from tests.web.doubles import MemoryStore

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
SHORT_URLS = ShortUrls({"simple": ShortUrl("ghcr.io", ("acme",)), "team": ShortUrl("ghcr.io", ("acme",))})
CLEAR = ["/ghcr.io/acme/+simple", "/simple", "/team", "/team/+simple"]
UNCLEAR = ["/ghcr.io/acme", "/ghcr.io/acme/simple"]


class RefusingStore(MemoryStore):
    """Raises what `refusals` has for a project, by namespace and name, in place of its page."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: dict[tuple[str, str], PyOCIError] = {}

    def page(
        self, namespace: Namespace, name: ProjectName, caller: Credentials, *, fresh: bool = False
    ) -> ProjectPage:
        refusal = self.refusals.get((str(namespace), str(name)))
        if refusal is not None:
            raise refusal
        return super().page(namespace, name, caller, fresh=fresh)


@pytest.fixture
def store() -> RefusingStore:
    """hello-world in four versions, and PyPI's flask."""
    store = RefusingStore()
    for filename in (
        "hello_world-1.0-py3-none-any.whl",
        "hello_world-1.0.0.tar.gz",
        "hello_world-1.0.1.zip",
        "hello_world-1!2.0+cu121-py3-none-any.whl",
        "hello_world-3.0rc1.zip",
    ):
        store.put(filename, filename.encode())
    files = make_upstream_file("flask-0.1.tar.gz"), make_upstream_file("flask-3.1.0-py3-none-any.whl")
    store.elsewhere[ProjectName.parse("flask")] = ForeignPage(make_upstream_page("flask", *files))
    return store


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(short_urls=SHORT_URLS)


def names(client: FlaskClient, path: str) -> list[str]:
    answer = client.get(path, headers=JSON)
    assert answer.status_code == 200, answer.text
    return [file["filename"] for file in answer.get_json()["files"]]


class TestPage:
    """`<index>/<project>/<version>/`."""

    @pytest.mark.parametrize("index", [*CLEAR, *UNCLEAR])
    @pytest.mark.parametrize(
        ("spelled", "files"),
        [
            ("1.0", ["hello_world-1.0-py3-none-any.whl", "hello_world-1.0.0.tar.gz"]),
            ("1.0.0", ["hello_world-1.0-py3-none-any.whl", "hello_world-1.0.0.tar.gz"]),
            ("v1", ["hello_world-1.0-py3-none-any.whl", "hello_world-1.0.0.tar.gz"]),
            ("1.0.1", ["hello_world-1.0.1.zip"]),
            ("1!2.0+cu121", ["hello_world-1!2.0+cu121-py3-none-any.whl"]),
            ("1%212.0%2BCU121", ["hello_world-1!2.0+cu121-py3-none-any.whl"]),
            ("3.0-RC.1", ["hello_world-3.0rc1.zip"]),
        ],
    )
    def test_files(self, client: FlaskClient, index: str, spelled: str, files: list[str]) -> None:
        """Those of one version, compared by value. The links lead to them, also in HTML."""
        page = f"{index}/hello-world/{spelled}/"
        assert names(client, page) == files
        for file in client.get(page, headers=JSON).get_json()["files"]:
            assert client.get(urljoin(page, file["url"])).data == file["filename"].encode()
            assert f'href="{file["url"]}#sha256=' in client.get(page).text

    @pytest.mark.parametrize(
        ("path", "versions"),
        [("hello-world/", ["1.0", "1.0.1", "3.0rc1", "1!2.0+cu121"]), ("hello-world/1.0.0/", ["1.0"])],
    )
    def test_a_version_is_named_once(self, client: FlaskClient, path: str, versions: list[str]) -> None:
        """`versions` has 1.0 and not 1.0.0, which is the same version."""
        assert client.get(f"/simple/{path}", headers=JSON).get_json()["versions"] == versions

    @pytest.mark.parametrize("index", [*CLEAR, *UNCLEAR])
    def test_absent(self, client: FlaskClient, index: str) -> None:
        """A version without files is a 404 that isn't cached, and so is one of an unknown project."""
        for path in ("hello-world/9.0/", "hello-world/9.0/json", "nobody/1.0/", "nobody/1.0/json"):
            answer = client.get(f"{index}/{path}", headers=JSON)
            assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")

    @pytest.mark.parametrize("index", [*CLEAR, *UNCLEAR])
    def test_redirects(self, client: FlaskClient, index: str) -> None:
        """To the final slash, and to the normalised name of the project."""
        for path, location in (
            ("hello-world/1.0", "1.0/"),
            ("Hello_World/1.0/?a=b", "../../hello-world/1.0/?a=b"),
            ("Hello_World/1%212.0%2Bcu121/", "../../hello-world/1%212.0%2Bcu121/"),
            ("Hello_World/1.0/json", "../../hello-world/1.0/json"),
        ):
            answer = client.get(f"{index}/{path}")
            assert (answer.status_code, answer.headers["Location"]) == (301, location)

    @pytest.mark.parametrize("spelled", ["latest", "1.0-beta-x", "1.0 ", "+", "1.0+", "٣", f"1.{'0' * 300}"])
    def test_no_version(self, client: FlaskClient, store: MemoryStore, spelled: str) -> None:
        """Text that PEP 440 can't parse isn't a version."""
        for index in CLEAR:
            assert client.get(f"{index}/hello-world/{spelled}/").status_code == 404
        assert store.calls == []

    @pytest.mark.parametrize("index", CLEAR)
    def test_nothing_else_is_there(self, client: FlaskClient, store: MemoryStore, index: str) -> None:
        """Neither files nor uploads, and it can't be changed."""
        version = f"{index}/hello-world/1.0/"
        assert client.get(f"{version}hello_world-1.0.1.zip").status_code == 404
        assert client.delete(f"{version}hello_world-1.0.1.zip").status_code == 404
        assert client.post(version, data={}).status_code == 404
        assert store.calls == []


class TestLegacy:
    """`<index>/<project>/<version>/json`."""

    @pytest.mark.parametrize(
        "path",
        [
            *(f"{index}/hello-world/1.0/json" for index in (*CLEAR, *UNCLEAR)),
            "/pypi/hello-world/1.0/json",
            "/ghcr.io/acme/pypi/hello-world/1.0/json",
        ],
    )
    def test_files(self, client: FlaskClient, path: str) -> None:
        """`info` and `urls` are of the version, although there are newer ones."""
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        assert (answer.get_json()["info"]["version"], answer.get_json()["info"]["name"]) == (
            "1.0",
            "hello-world",
        )
        assert answer.get_json()["releases"] == {"1.0": answer.get_json()["urls"]}
        assert len(answer.get_json()["urls"]) == 2
        for file in answer.get_json()["urls"]:
            assert client.get(file["url"]).data == file["filename"].encode()

    def test_no_version(self, client: FlaskClient, store: MemoryStore) -> None:
        """Below a project at /pypi/ there is nothing else."""
        answer = client.get("/pypi/hello-world/latest/json")
        assert (answer.status_code, "PEP 440" in answer.text) == (404, True)
        assert store.calls == []


class TestPrecedence:
    """`acme/hello-world/1.0/` may mean a project or a root in the namespace `acme/hello-world`."""

    PAGE = "/ghcr.io/acme/hello-world/1.0/"

    def test_a_project_further_down_comes_first(self, client: FlaskClient, store: MemoryStore) -> None:
        """Its page, at the address of its own name, and its legacy JSON."""
        store.put("1_0-7.0.zip", namespace="ghcr.io/acme/hello-world")
        assert client.get(self.PAGE).headers["Location"] == "../1-0/"
        assert client.get(f"{self.PAGE}json").headers["Location"] == "../1-0/json"
        assert names(client, "/ghcr.io/acme/hello-world/1-0/") == ["1_0-7.0.zip"]
        assert len(names(client, "/ghcr.io/acme/+simple/hello-world/1.0/")) == 2

    def test_a_root_further_down_comes_next(self, client: FlaskClient, store: MemoryStore) -> None:
        """It is shown. There is no legacy JSON for it."""
        store.put("odd-1.0.zip", namespace="ghcr.io/acme/hello-world/1.0")
        assert client.get(self.PAGE, headers=JSON).get_json()["projects"] == [{"name": "odd"}]
        assert client.get(f"{self.PAGE}json").status_code == 404

    def test_upstream_comes_last(self, client: FlaskClient, store: MemoryStore) -> None:
        """It is asked for a project of that name only if the version's project isn't here: the segment before
        may be the name of a namespace.
        """
        page = make_upstream_page("1-0", make_upstream_file("1_0-5.0.tar.gz"))
        store.elsewhere[ProjectName.parse("1.0")] = ForeignPage(page)
        assert len(names(client, self.PAGE)) == 2
        assert client.get("/ghcr.io/acme/hello-world/9.0/").status_code == 404
        assert names(client, "/ghcr.io/acme/team/1-0/") == ["1_0-5.0.tar.gz"]
        assert client.get("/ghcr.io/acme/flask/3.1.0/").status_code == 404

    @pytest.mark.parametrize("index", CLEAR)
    def test_a_version_of_upstreams_project(self, client: FlaskClient, index: str) -> None:
        """If the address has no other meaning; versions are compared by value."""
        for spelled in ("3.1.0", "3.1"):
            assert names(client, f"{index}/flask/{spelled}/") == ["flask-3.1.0-py3-none-any.whl"]
            document = client.get(f"{index}/flask/{spelled}/json").get_json()
            assert (document["info"]["version"], list(document["releases"])) == ("3.1.0", ["3.1.0"])
        assert client.get(f"{index}/flask/9.0/").status_code == 404
        assert client.get(f"{index}/flask/9.0/json").status_code == 404

    @pytest.mark.parametrize("index", CLEAR)
    def test_a_version_that_is_only_upstream(
        self, client: FlaskClient, store: MemoryStore, index: str
    ) -> None:
        """Projects aren't mixed: if the project is here, upstream's version isn't shown."""
        page = make_upstream_page("hello-world", make_upstream_file("hello_world-99.0.tar.gz"))
        store.elsewhere[ProjectName.parse("hello-world")] = ForeignPage(page)
        assert client.get(f"{index}/hello-world/99.0/").status_code == 404

    @pytest.mark.parametrize(
        ("below", "project", "status"),
        [
            pytest.param(Denied("no"), None, 200, id="a registry that denies what it lacks"),
            pytest.param(Unauthorized("who"), None, 200, id="or asks for credentials"),
            pytest.param(Denied("no"), Denied("no"), 403, id="denied both"),
            pytest.param(Unauthorized("who"), Unauthorized("who"), 401, id="asked for both"),
            pytest.param(None, Unauthorized("who"), 401, id="the version's project is not for everybody"),
            pytest.param(None, Denied("no"), 403, id="or not for this caller"),
            pytest.param(Denied("no"), NotFound("none"), 403, id="no such project, and perhaps the other"),
            pytest.param(ProtocolError("nonsense"), None, 502, id="nonsense about the first"),
            pytest.param(None, ProtocolError("nonsense"), 502, id="nonsense about the second"),
        ],
    )
    def test_what_the_registry_does_not_tell(
        self,
        client: FlaskClient,
        store: RefusingStore,
        below: PyOCIError | None,
        project: PyOCIError | None,
        status: int,
    ) -> None:
        """The version is shown to callers who may read it. Any other answer is returned."""
        answers: dict[tuple[str, str], Any] = {
            ("ghcr.io/acme/hello-world", "1-0"): below,
            ("ghcr.io/acme", "hello-world"): project,
        }
        store.refusals = {place: refusal for place, refusal in answers.items() if refusal is not None}
        assert client.get(self.PAGE, headers=JSON).status_code == status

    def test_a_version_that_is_not_there_where_more_may_be_hidden(
        self, client: FlaskClient, store: RefusingStore
    ) -> None:
        """The registry's 401 is returned, so clients send credentials."""
        store.refusals = {("ghcr.io/acme/hello-world", "9-0"): Unauthorized("who")}
        assert client.get("/ghcr.io/acme/hello-world/9.0/").status_code == 401
