"""Pages for people over a real registry: what they show changes with it, and only to those who may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from pyoci.web.context import EXTENSION
from tests.builders import make_wheel
from tests.flows.conftest import MakeClient
from tests.flows.test_main_job import ROOT, basic, upload
from tests.flows.test_strangers import ME, HalfOpenRegistry, half_open
from tests.serving import served
from tests.upstreams import PackageIndex, package_index

__all__ = ["half_open"]

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PROJECT = f"{ROOT}hello-world/"


def publish(client: FlaskClient, version: str, body: str = "", url: str = ROOT, **headers: str) -> None:
    kind = ("Description-Content-Type", "text/markdown")
    name, content = make_wheel(
        version=version, extra_headers=[("Summary", f"Says {version}"), kind], body=body
    )
    assert upload(client, name, content, url=url, headers=headers).status_code == 200


def shown(client: FlaskClient, path: str = PROJECT, **headers: str) -> str:
    answer = client.get(path, headers=BROWSER | headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_page_changes_with_its_project(client: FlaskClient) -> None:
    """Each write shows at once, on pages that were rendered before, too."""
    publish(client, "1.0", "# The *first*")
    for _ in range(2):
        text = shown(client)
        assert "Says 1.0" in text
        assert "The <em>first</em>" in text
    publish(client, "2.0", "# The **second**")
    assert "The <strong>second</strong>" in shown(client)
    client.patch(f"{PROJECT}2.0", json={"yanked": "It shouts."})
    text = shown(client)
    assert "Says 1.0" in text
    assert "It shouts." in shown(client, f"{PROJECT}2.0/")
    client.delete(f"{PROJECT}1.0")
    assert "This version is yanked:</strong> It shouts." in shown(client)
    client.delete(f"{PROJECT}2.0")
    assert "There are no files here." in shown(client)


def test_the_status_of_a_project(client: FlaskClient) -> None:
    """An archived project says so, with the reason. A quarantined one offers no file."""
    publish(client, "1.0")
    assert client.patch(PROJECT, json={"status": "archived", "reason": "Use <greet>."}).status_code == 200
    text = shown(client)
    assert "This project is archived" in text
    assert "Use &lt;greet&gt;." in text
    assert client.patch(PROJECT, json={"status": "quarantined"}).status_code == 200
    text = shown(client)
    assert "This project is quarantined" in text
    assert "hello_world-1.0" not in text
    assert client.patch(PROJECT, json={"status": "active"}).status_code == 200
    assert "hello_world-1.0" in shown(client)


def test_what_one_caller_sees(make_client: MakeClient, half_open: HalfOpenRegistry) -> None:
    """A page that was rendered for somebody with access isn't given to strangers."""
    with served(half_open) as url:
        client = make_client(PYOCI_REGISTRIES=f"lab={url}")
        publish(client, "1.0", "# private", url="/lab/acme/", **ME)
        for _ in range(2):
            assert "private" in shown(client, "/lab/acme/hello-world/", **ME)
            refused = client.get("/lab/acme/hello-world/", headers=BROWSER)
            assert refused.status_code == 404
            assert "private" not in refused.text
            assert "?sign-in" in refused.text
        assert client.get("/lab/acme/hello-world/?sign-in", headers=BROWSER).status_code == 401


def test_requests_to_the_registry(make_client: MakeClient, half_open: HalfOpenRegistry) -> None:
    """A cold page reads one document more than that for clients: METADATA. A warm one reads nothing."""
    with served(half_open) as url:
        publish(make_client(PYOCI_REGISTRIES=f"lab={url}"), "1.0", "# About", url="/lab/acme/", **ME)
        cold = make_client(PYOCI_REGISTRIES=f"lab={url}")
        cold.get("/lab/acme/hello-world/", headers=ME)
        half_open.seen.clear()
        shown(cold, "/lab/acme/hello-world/", **ME)
        assert len(half_open.seen) == 1
        half_open.seen.clear()
        shown(cold, "/lab/acme/hello-world/", **ME)
        shown(cold, "/lab/acme/hello-world/?page=1", **ME)
        assert len(half_open.seen) <= 1  # the second address is another page, made of the same blob


@pytest.fixture
def upstream() -> Iterator[PackageIndex]:
    with package_index() as upstream:
        upstream.add_wheel("flask", "3.1.0")
        upstream.add_wheel("flask", "3.2.0b1")
        yield upstream


@pytest.mark.parametrize("files", ["direct", "proxy"])
def test_upstreams_projects(
    make_client: MakeClient, upstream: PackageIndex, files: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They have a page, for which upstream gets one request: that for its page."""
    folder = str(tmp_path_factory.mktemp("files"))
    settings = {"PYOCI_UPSTREAM_FILES": files, "PYOCI_UPSTREAM_FILES_DIR": folder}
    client = make_client(PYOCI_UPSTREAM_INDEX=upstream.simple, **settings)
    text = shown(client, f"{ROOT}flask/")
    assert "flask-3.1.0-py3-none-any.whl" in text
    assert "from the upstream index" in text
    assert (f'href="{upstream.url}' in text) is (files == "direct")
    assert len(upstream.calls) == 1
    assert "pre-release" in shown(client, f"{ROOT}+simple/flask/3.2.0b1/")
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("path", [PROJECT, f"{PROJECT}1.0/"])
def test_pages_beyond_the_last_one(client: FlaskClient, path: str) -> None:
    """They show the last one, and there is no end of them: none takes up memory."""
    publish(client, "1.0")
    last = shown(client, path)
    rendered = client.application.extensions[EXTENSION].pages
    before = len(rendered)
    for number in range(2, 20):
        assert shown(client, f"{path}?page={number}") == last
    assert len(rendered) == before


def test_files_that_rules_withhold(make_client: MakeClient, upstream: PackageIndex, tmp_path: Path) -> None:
    """The page says how many there are, and leads to the reasons."""
    (tmp_path / "rules.toml").write_text(
        '[[block]]\nprojects = ["flask"]\nkinds = ["sdist"]\nreason = "Not yet"\n'
    )
    rules = {"PYOCI_UPSTREAM_RULES": str(tmp_path / "rules.toml"), "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path)}
    client = make_client(PYOCI_UPSTREAM_INDEX=upstream.simple, PYOCI_UPSTREAM_FILES="proxy", **rules)
    upstream.add("flask-3.1.0.tar.gz", b"an sdist")
    text = shown(client, f"{ROOT}flask/")
    assert "<strong>The rules of this server withhold 1 file:</strong> 1 blocked. <a" in text
    assert "flask-3.1.0-py3-none-any.whl" in text
    assert "flask-3.1.0.tar.gz" not in text
    assert "Not yet" in client.get(f"{ROOT}flask/?explain", headers=BROWSER).text


def test_files_that_cannot_be_verified(
    make_client: MakeClient, upstream: PackageIndex, tmp_path: Path
) -> None:
    """The page says what is missing. It doesn't mention eggs and the like, which clients never install."""
    (tmp_path / "rules.toml").write_text('[[block]]\nprojects = ["other"]\nreason = "Not yet"\n')
    rules = {"PYOCI_UPSTREAM_RULES": str(tmp_path / "rules.toml"), "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path)}
    client = make_client(PYOCI_UPSTREAM_INDEX=upstream.simple, PYOCI_UPSTREAM_FILES="proxy", **rules)
    upstream.forms = ("text/html",)  # for JSON, the tests' index reads the name of each file
    egg = {"filename": "flask-0.1-py2.7.egg", "url": "../../files/flask-0.1-py2.7.egg"}
    upstream.projects["flask"].append({**upstream.projects["flask"][0], **egg})
    assert "withhold" not in shown(client, f"{ROOT}flask/")
    assert client.get(f"{ROOT}flask/", headers=BROWSER).headers["X-PyOCI-Withheld"] == "1; unverifiable"
    upstream.add_wheel("jinja2", "3.0.0")
    upstream.add("jinja2-3.0.0.tar.gz", b"an sdist", hashes={"md5": "ab" * 16})
    sentence = (
        "The rules of this server withhold 1 file:</strong> 1 without a sha256 to verify the download by. <a"
    )
    assert sentence in shown(client, f"{ROOT}jinja2/")


def test_who_published(make_client: MakeClient) -> None:
    """A file has the name of its publisher, where that is recorded."""
    client = make_client(PYOCI_RECORD_PUBLISHER="yes")
    publish(client, "1.0", **basic("jane<b>", "secret"))
    assert "published by jane&lt;b&gt;" in shown(client)


def test_only_short_urls(make_client: MakeClient) -> None:
    """The home page asks for the name of an index, and its lines are right."""
    client = make_client(PYOCI_INDEXES="team=local/acme", PYOCI_ONLY_INDEXES="yes")
    publish(client, "1.0", url="/team/")
    text = shown(client, "/?registry=team&tool=pip")
    assert ">Package index</label>" in text
    assert '<a class="button" href="./team/">' in text
    assert client.get("/?registry=ghcr.io&namespace=acme", headers=BROWSER).status_code == 400
    assert '<a href="hello-world/">' in shown(client, "/team/")
    assert '<a href="../">team</a>' in shown(client, "/team/hello-world/")
