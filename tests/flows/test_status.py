"""The status of a project through the whole application (PEP 792)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.builders import make_wheel
from tests.flows.conftest import MakeClient
from tests.flows.test_audit import upload
from tests.flows.test_main_job import JSON
from tests.upstreams import PackageIndex, package_index

INDEX = "/local/acme/"
PAGE = f"{INDEX}hello-world/"
WHEEL, BYTES = make_wheel()
SHA256 = hashlib.sha256(BYTES).hexdigest()
REFUSAL = "hello-world is quarantined: malware; its files can't be downloaded"
FILES = [f"{start}{WHEEL}{ending}" for start in ("", f"+{SHA256[:16]}/") for ending in ("", ".metadata")]


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """Another package index, which has a project of the same name, and one with a status."""
    with package_index() as elsewhere:
        elsewhere.add_wheel("hello-world", "99.0")
        elsewhere.add_wheel("flask", "3.1.0")
        elsewhere.keys["project-status"] = {"status": "archived", "reason": "finished"}
        yield elsewhere


@pytest.fixture
def client(make_client: MakeClient, elsewhere: PackageIndex) -> FlaskClient:
    client = make_client(PYOCI_UPSTREAM_INDEX=elsewhere.simple)
    assert upload(client) == 200
    return client


def set_status(client: FlaskClient, status: str, reason: str = "") -> None:
    answer = client.patch(PAGE, json={"status": status, "reason": reason})
    assert answer.status_code == 200, answer.text


def test_a_quarantine_begins_and_ends_at_once(client: FlaskClient) -> None:
    """Also for who has the page and the files in a cache: no 304 confirms them."""
    page, files = client.get(PAGE, headers=JSON), [client.get(PAGE + path) for path in FILES]
    assert {answer.status_code for answer in (page, *files)} == {200}
    set_status(client, "quarantined", "malware")
    etag = {"If-None-Match": page.headers["ETag"]}
    for _ in range(2):
        shown = client.get(PAGE, headers={**JSON, **etag})
        assert (shown.status_code, shown.get_json()["files"], shown.get_json()["versions"]) == (200, [], [])
        assert shown.get_json()["project-status"] == {"status": "quarantined", "reason": "malware"}
    legacy = client.get(f"{PAGE}json").get_json()
    assert (legacy["releases"], legacy["urls"]) == ({}, [])
    assert legacy["info"]["project_status"] == {"status": "quarantined", "reason": "malware"}
    assert client.get(f"{PAGE}1.0/", headers=JSON).get_json()["files"] == []
    assert client.get(f"{PAGE}1.0/json").get_json()["urls"] == []
    for path, before in zip(FILES, files, strict=True):
        for headers in ({}, {"If-None-Match": before.headers["ETag"]}, {"Range": "bytes=0-9"}):
            answer = client.get(PAGE + path, headers=headers)
            assert (answer.status_code, answer.text) == (403, REFUSAL)
            assert answer.headers["Cache-Control"] == "no-store"
        assert client.head(PAGE + path).status_code == 403
    set_status(client, "active")
    assert client.get(PAGE, headers={**JSON, **etag}).status_code == 304
    assert [client.get(PAGE + path).data for path in FILES] == [answer.data for answer in files]


@pytest.mark.parametrize("files", ["direct", "proxy"])
def test_a_quarantined_name_stays_private(
    make_client: MakeClient, elsewhere: PackageIndex, tmp_path: Path, files: str
) -> None:
    """Nothing of another package index takes the place of what is withheld, nor of what is deleted then."""
    proxied = {"PYOCI_UPSTREAM_FILES": files, "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files")}
    settings = proxied if files == "proxy" else {}
    client = make_client(PYOCI_UPSTREAM_INDEX=elsewhere.simple, **settings)
    upload(client)
    set_status(client, "quarantined", "malware")
    name, content = make_wheel("hello-world", "99.0")
    theirs = f"+{hashlib.sha256(content).hexdigest()[:16]}/{name}"
    for _ in range(2):
        assert client.get(PAGE, headers=JSON).get_json()["files"] == []
        assert client.get(f"{PAGE}{theirs}").status_code == 404
        client.delete(f"{PAGE}1.0")
    assert not [call for call in elsewhere.calls if "hello-world" in call]


def test_upstreams_status_is_passed_on(client: FlaskClient) -> None:
    """In JSON, HTML and the legacy JSON."""
    page = client.get(f"{INDEX}flask/", headers=JSON).get_json()
    assert page["project-status"] == {"status": "archived", "reason": "finished"}
    assert [file["filename"] for file in page["files"]] == ["flask-3.1.0-py3-none-any.whl"]
    html = client.get(f"{INDEX}flask/?format=html").text
    assert '<meta name="pypi:project-status" content="archived">' in html
    assert '<meta name="pypi:project-status-reason" content="finished">' in html
    info = client.get(f"{INDEX}flask/json").get_json()["info"]
    assert info["project_status"] == {"status": "archived", "reason": "finished"}
