"""`<index>/simple/` and `<index>/legacy/` over a real registry, with another package index behind PyOCI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from tests.builders import make_wheel
from tests.flows.conftest import Lines, MakeClient
from tests.flows.test_main_job import BYTES, JSON, WHEEL, upload
from tests.upstreams import PackageIndex, package_index

INDEX = "/local/acme/"
ALIAS = f"{INDEX}simple/"


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """A package index where somebody has published every name in a higher version."""
    with package_index() as elsewhere:
        for name in ("flask", "hello-world", "simple", "team", "secret-tool"):
            elsewhere.add_wheel(name, "99.0")
        yield elsewhere


@pytest.fixture
def client(make_client: MakeClient, elsewhere: PackageIndex) -> FlaskClient:
    return make_client(PYOCI_UPSTREAM_INDEX=elsewhere.simple, PYOCI_PRIVATE_PROJECTS="secret-*")


def versions(client: FlaskClient, path: str) -> list[str]:
    return list(client.get(path, headers=JSON).get_json()["versions"])


def origin(client: FlaskClient, path: str) -> str | None:
    return client.get(path).headers.get("X-PyOCI-Origin")


@pytest.mark.parametrize("address", [ALIAS, f"{INDEX}legacy/"])
def test_publish_read_yank_and_delete(client: FlaskClient, elsewhere: PackageIndex, address: str) -> None:
    """Published at one alias; read, yanked and deleted at the other."""
    assert upload(client, url=address).text == f"{WHEEL} is published in local/acme/hello_world"
    page = f"{ALIAS}hello-world/"
    for root in (INDEX, ALIAS):
        assert client.get(root, headers=JSON).get_json()["projects"] == [{"name": "hello-world"}]
    for path in (page, f"{INDEX}hello-world/"):
        [file] = client.get(path, headers=JSON).get_json()["files"]
        assert client.get(urljoin(path, file["url"])).data == BYTES
        assert client.get(urljoin(path, file["url"] + ".metadata")).status_code == 200
        [release] = client.get(f"{path}json").get_json()["releases"]["1.0"]
        assert client.get(release["url"]).data == BYTES
    assert client.patch(f"{page}1.0", json={"yanked": "broken"}).status_code == 200
    [file] = client.get(f"{INDEX}hello-world/", headers=JSON).get_json()["files"]
    assert file["yanked"] == "broken"
    assert client.delete(f"{page}{WHEEL}").status_code == 200
    assert versions(client, page) == []
    assert elsewhere.calls == []


def test_a_namespace_of_that_name_goes_on(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """It still has its files, and gets new ones."""
    old = upload(client, url=f"{ALIAS}+simple/")
    assert old.text.endswith(" in local/acme/simple/hello_world")
    upload(client, *make_wheel(version="5.0"))
    assert upload(client, *make_wheel(version="2.0"), url=ALIAS).text.endswith("acme/simple/hello_world")
    assert versions(client, f"{ALIAS}hello-world/") == ["1.0", "2.0"]
    assert versions(client, f"{INDEX}hello-world/") == ["5.0"]
    assert client.get(f"{ALIAS}hello-world/{make_wheel(version='5.0')[0]}").status_code == 404
    assert elsewhere.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "simple/simple/hello-world/",
        "simple/simple/hello-world/json",
        "simple/simple/simple/hello-world/",
        "simple/simple/hello-world/1.0/",
        "simple/pypi/hello-world/json",
        "simple/pypi/hello-world/1.0/json",
    ],
)
def test_an_alias_of_an_alias_shows_nothing_of_upstream(
    client: FlaskClient, elsewhere: PackageIndex, path: str
) -> None:
    """Some programs append `simple/` to a URL that ends with it."""
    asked_before = client.get(f"{INDEX}{path}")
    upload(client)
    for _ in range(2):
        answer = client.get(f"{INDEX}{path}", headers=JSON)
        assert answer.status_code == 200
        assert (WHEEL in answer.text, "99.0" in answer.text) == (True, False)
    assert asked_before.status_code == (404 if "1.0" in path else 200)
    upload(client, *make_wheel(version="1.0", tag="py2-none-any"), url=f"{ALIAS}+simple/")
    answer = client.get(f"{INDEX}{path}", headers=JSON)
    assert (WHEEL in answer.text, "py2-none-any" in answer.text) == (False, True)
    assert elsewhere.asked("hello-world") <= 1


def test_no_page_is_given_for_another(client: FlaskClient) -> None:
    """While both pages are cached, a publication in either namespace shows at its own address at once."""
    page, alias = f"{INDEX}hello-world/", f"{ALIAS}hello-world/"
    upload(client)
    for _ in range(2):
        assert versions(client, page) == versions(client, alias) == ["1.0"]
    upload(client, *make_wheel(version="2.0"))
    for _ in range(2):
        assert versions(client, page) == versions(client, alias) == ["1.0", "2.0"]
    upload(client, *make_wheel(version="3.0"), url=f"{ALIAS}+simple/")
    for _ in range(2):
        assert versions(client, page) == ["1.0", "2.0"]
        assert versions(client, alias) == versions(client, f"{ALIAS}+simple/hello-world/") == ["3.0"]


def test_a_page_of_upstream_ends_with_a_publication(client: FlaskClient) -> None:
    """In the namespace or in the index above."""
    alias = f"{ALIAS}hello-world/"
    for _ in range(2):
        assert (versions(client, alias), origin(client, alias)) == (["99.0"], "upstream")
    upload(client)
    assert (versions(client, alias), origin(client, alias)) == (["1.0"], "registry")
    upload(client, *make_wheel(version="2.0"), url=f"{ALIAS}+simple/")
    assert (versions(client, alias), origin(client, alias)) == (["2.0"], "registry")


def test_log_has_the_namespace_of_an_alias(client: FlaskClient, lines: Lines) -> None:
    """For a page that is built, and for a cached one."""
    upload(client, url=f"{INDEX}legacy/")
    for path in (ALIAS, *[f"{ALIAS}hello-world/"] * 2, f"{ALIAS}hello-world/{WHEEL}"):
        client.get(path)
    upload(client, url=f"{ALIAS}+simple/")
    client.get(f"{ALIAS}hello-world/")
    told = [line["repository"] for line in lines.read_lines() if line["event"] == "request"]
    assert told == [
        *("acme", "acme", "acme/hello-world", "acme/hello-world", "acme/hello-world"),
        *("acme/simple", "acme/simple/hello-world"),
    ]


class TestConfusion:
    """Through an alias, no name is sent to upstream that wouldn't be sent without it."""

    @pytest.mark.parametrize(
        "path",
        [
            pytest.param(f"{ALIAS}secret-tool/", id="private"),
            pytest.param(f"{ALIAS}secret-tool/json", id="private, legacy JSON"),
            pytest.param(f"{ALIAS}+simple/secret-tool/", id="private, exactly that namespace"),
            pytest.param(f"{INDEX}secret-tool/", id="private, directly"),
            pytest.param(f"{INDEX}pypi/secret-tool/json", id="private, as Dependabot asks"),
            pytest.param(f"{INDEX}pypi/hello-world/json", id="emptied, as Dependabot asks"),
            pytest.param(f"{ALIAS}+simple/hello-world/", id="emptied, as hatch asks"),
            pytest.param(f"{INDEX}legacy/+simple/hello-world/", id="emptied, as hatch asks at legacy"),
            pytest.param(f"{ALIAS}+simple/team/", id="namespace, as hatch asks"),
            pytest.param(f"{ALIAS}hello-world/", id="emptied"),
            pytest.param(f"{ALIAS}team/", id="namespace"),
            pytest.param(f"{ALIAS}team/json", id="namespace, legacy JSON"),
            pytest.param(ALIAS, id="root"),
            pytest.param(f"{INDEX}simple/json", id="root, legacy JSON"),
        ],
    )
    def test_upstream_gets_no_private_name(
        self, client: FlaskClient, elsewhere: PackageIndex, path: str
    ) -> None:
        """Also for a second request."""
        upload(client)
        client.delete(f"{INDEX}hello-world/1.0")
        upload(client, url=f"{INDEX}team/")
        for _ in range(2):
            for asked in (path, f"{ALIAS}secret-tool/", path):
                assert origin(client, asked) != "upstream"
        assert elsewhere.calls == []

    def test_others_come_from_there(self, client: FlaskClient, elsewhere: PackageIndex) -> None:
        """Upstream is asked once for both addresses."""
        for path in (f"{ALIAS}flask/", f"{INDEX}flask/", f"{ALIAS}flask/"):
            assert (versions(client, path), origin(client, path)) == (["99.0"], "upstream")
        assert elsewhere.asked("flask") == 1


class TestOwnAddress:
    """An upload to the address of its project's page."""

    @pytest.mark.parametrize("path", ["hello-world/", "Hello_World", "simple/hello-world/"])
    def test_refused(self, client: FlaskClient, path: str) -> None:
        """The message says where to upload, and nothing is stored."""
        upload(client)
        answer = upload(client, *make_wheel(version="2.0"), url=f"{INDEX}{path}")
        assert answer.status_code == 400
        assert "local/acme/hello-world is the address of a project; expected" in answer.status
        assert client.get("/v2/_catalog").get_json() == {"repositories": ["acme/hello_world"]}

    def test_accepted_if_there_is_no_such_project(self, client: FlaskClient) -> None:
        """A namespace may have any name."""
        for version in ("1.0", "2.0"):
            answer = upload(client, *make_wheel(version=version), url=f"{INDEX}hello-world/")
            assert answer.text.endswith(" in local/acme/hello-world/hello_world")

    def test_accepted_at_the_exact_namespace(self, client: FlaskClient) -> None:
        """With `+simple/`."""
        upload(client)
        answer = upload(client, url=f"{INDEX}hello-world/+simple/")
        assert answer.text.endswith(" in local/acme/hello-world/hello_world")


INSIDE = [
    "99.0/",
    "99.0/json",
    "v99/",
    "2026/",
    "1.0-acme.3/",
    "1.x/",
    "1-0-acme/",
    "acme-tool-99.0/",
    "acme_tool-99.0-py2.7.egg/",
    "acme_tool-99.0.tar.gz/",
    "acme_tool-99.0.tar.gz.asc/",
    "99.0/+0123456789abcdef/acme_tool-99.0.tar.gz",
]


@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("index", [INDEX, ALIAS])
def test_what_is_inside_a_project_is_no_name_for_upstream(
    make_client: MakeClient, elsewhere: PackageIndex, tmp_path: Path, index: str, path: str
) -> None:
    """A version or a file of a private project, before its publication and after it. The address could also
    be that of a project in a namespace.
    """
    client = make_client(
        PYOCI_UPSTREAM_INDEX=elsewhere.simple,
        PYOCI_UPSTREAM_FILES="proxy",
        PYOCI_UPSTREAM_FILES_DIR=str(tmp_path / "files"),
    )
    assert client.get(f"{index}acme-tool/{path}").status_code == 404
    wheel, content = make_wheel("acme-tool")
    assert upload(client, wheel, content).status_code == 200
    assert client.get(f"{index}acme-tool/{path}").status_code == 404
    assert elsewhere.calls == []


def test_a_project_whose_name_looks_like_a_version(make_client: MakeClient, elsewhere: PackageIndex) -> None:
    """Upstream is asked for it where its address has no other meaning, or if the registry lists the namespace
    that it would be in.
    """
    client = make_client(PYOCI_UPSTREAM_INDEX=elsewhere.simple, PYOCI_INDEXES="team=local/acme/team")
    elsewhere.add_wheel("v20", "1.0")
    for address in (INDEX, ALIAS, f"{INDEX}team/+simple/", f"{INDEX}team/simple/", "/team/"):
        assert origin(client, f"{address}v20/") == "upstream", address
    asked = len(elsewhere.calls)
    assert client.get(f"{INDEX}team/v20/").status_code == 404
    assert len(elsewhere.calls) == asked
    assert upload(client, url=f"{INDEX}team/").status_code == 200
    assert origin(client, f"{INDEX}team/v20/") == "upstream"


def test_the_name_of_a_file_is_no_project(client: FlaskClient, elsewhere: PackageIndex) -> None:
    """Also where its address has no other meaning."""
    for address in (INDEX, ALIAS, f"{INDEX}+simple/"):
        assert client.get(f"{address}acme-tool-1.0.tar.gz/").status_code == 404
        assert client.get(f"{address}acme_tool-1.0-py3-none-any.whl.asc/").status_code == 404
    assert elsewhere.calls == []
