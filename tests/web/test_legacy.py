"""The legacy JSON."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from pyoci.distributions.names import ProjectName
from pyoci.store.models import ForeignPage, ProjectPage
from pyoci.web.rendering import render_legacy
from tests.upstream_pages import make_upstream_page
from tests.web.doubles import MemoryStore, make_file, make_page

BASE = "https://packages.example/ghcr.io/acme/hello-world/json"


def read(page: ProjectPage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_legacy(page, BASE.removesuffix("json")))
    return document


def test_releases_are_filled() -> None:
    """Each file has the keys that Renovate, Dependabot and pip-compile read."""
    wheel = make_file(requires_python=">=3.9", yanked="broken")
    sdist = make_file("hello_world-1.0.tar.gz", size=None, upload_time=None)
    assert read(make_page(wheel, sdist))["releases"] == {
        "1.0": [
            {
                "filename": wheel.filename,
                "url": urljoin(BASE, f"+{wheel.sha256[:16]}/{wheel.filename}"),
                "packagetype": "bdist_wheel",
                "digests": {"sha256": wheel.sha256},
                "yanked": True,
                "yanked_reason": "broken",
                "requires_python": ">=3.9",
                "size": 1234,
                "upload_time": "2026-11-20T08:15:30",
                "upload_time_iso_8601": "2026-11-20T08:15:30.000000Z",
            },
            {
                "filename": sdist.filename,
                "url": urljoin(BASE, f"+{sdist.sha256[:16]}/{sdist.filename}"),
                "packagetype": "sdist",
                "digests": {"sha256": sdist.sha256},
                "yanked": False,
            },
        ]
    }


@pytest.mark.parametrize(
    ("files", "version"),
    [
        pytest.param({"1.0": None, "2.0": None, "10.0": None}, "10.0", id="the newest"),
        pytest.param({"1.0": None, "2.0rc1": None}, "1.0", id="no pre-release"),
        pytest.param({"1.0": None, "2.0": "broken"}, "1.0", id="none that is yanked"),
        pytest.param({"1.0": "broken", "2.0rc1": None}, "2.0rc1", id="a pre-release before a yanked one"),
        pytest.param({"1.0": "", "2.0": ""}, "2.0", id="all yanked"),
    ],
)
def test_latest(files: dict[str, str | None], version: str) -> None:
    """`info` and `urls` are of the version that an installer would choose."""
    page = make_page(*(make_file(f"hello_world-{v}.zip", yanked=yanked) for v, yanked in files.items()))
    document = read(page)
    assert document["info"]["version"] == version
    assert document["urls"] == document["releases"][version]


def test_a_version_is_named_once() -> None:
    """1.0 and 1.0.0 are one version, under the first spelling."""
    files = [make_file(f"hello_world-{v}.zip") for v in ("0.9", "1.0", "1.0.0")]
    document = read(make_page(*files))
    assert list(document["releases"]) == ["0.9", "1.0"]
    assert [file["filename"] for file in document["urls"]] == [file.filename for file in files[1:]]


def test_info() -> None:
    """`info` has the project's links and Requires-Python."""
    urls = {"Source": "https://example.org/s", "homepage": "https://example.org"}
    page = make_page(make_file(project_urls=urls, requires_python=">=3.9"))
    assert read(page)["info"] == {
        "name": "hello-world",
        "summary": "",
        "version": "1.0",
        "yanked": False,
        "project_urls": urls,
        "home_page": "https://example.org",
        "requires_python": ">=3.9",
    }


def test_empty() -> None:
    """A project without files has no releases, and nothing is null."""
    document = read(make_page())
    assert document == {
        "info": {"name": "hello-world", "summary": "", "project_urls": {}},
        "releases": {},
        "urls": [],
    }


def test_through_http(client: FlaskClient, store: MemoryStore) -> None:
    """Renovate gets application/json, which isn't cached. Links are absolute."""
    file = store.put("hello_world-1!1.0+a-py3-none-any.whl")
    path = "/ghcr.io/acme/hello-world/json"
    answer = client.get(path, headers={"Accept": "application/json"}, base_url="https://packages.example")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    url = answer.get_json()["urls"][0]["url"]
    below = f"+{file.sha256[:16]}/hello_world-1%211.0%2Ba-py3-none-any.whl"
    assert url == f"https://packages.example/ghcr.io/acme/hello-world/{below}"
    assert client.get(url).headers["ETag"] == f'"{file.sha256}"'
    tag = answer.headers["ETag"]
    headers = {"If-None-Match": tag}
    assert client.get(path, headers=headers, base_url="https://packages.example").status_code == 304


def test_summary(client: FlaskClient, store: MemoryStore) -> None:
    """`info` has the summary that the store finds, also for a version."""
    store.put("hello_world-1.0.zip")
    store.summaries[ProjectName.parse("hello-world")] = "Says hello"
    for path in ("json", "1.0/json"):
        document = json.loads(client.get(f"/ghcr.io/acme/hello-world/{path}").data)
        assert document["info"]["summary"] == "Says hello"


def test_url_registry(client: FlaskClient, store: MemoryStore) -> None:
    """The links also work if the registry is a URL."""
    store.put("hello_world-1.0.zip", namespace="http://localhost:5000/acme")
    answer = client.get("/http%3A%2F%2Flocalhost%3A5000/acme/hello-world/json")
    assert client.get(answer.get_json()["urls"][0]["url"]).status_code == 200


def test_unknown_project(client: FlaskClient, store: MemoryStore) -> None:
    """It is a 404 at once: Renovate repeats a request after any other error."""
    assert client.get("/ghcr.io/acme/nope/json").status_code == 404
    assert [call[0] for call in store.calls] == ["page", "projects"]


def test_a_namespace_is_no_project(client: FlaskClient, store: MemoryStore) -> None:
    """Upstream isn't asked for its name, like at the address of its page."""
    store.put("hello_world-1.0.zip", namespace="ghcr.io/acme/team")
    store.elsewhere[ProjectName.parse("team")] = ForeignPage(make_upstream_page("team"))
    assert client.get("/ghcr.io/acme/team/json").status_code == 404
