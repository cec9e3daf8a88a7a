"""Pages of another package index: nothing is lost, and nothing becomes markup."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from packaging.version import Version
from pypi_simple import ProjectPage as Parsed
from werkzeug.test import EnvironBuilder

from pyoci.distributions.names import ProjectName
from pyoci.simple_api.model import ProjectStatus
from pyoci.simple_api.verbatim import VerbatimFiles, packed, recognize
from pyoci.store.models import ForeignPage
from pyoci.upstream.client import UpstreamPage
from pyoci.web.negotiation import Representation
from pyoci.web.rendering import as_sent, render_legacy, render_page
from tests.upstream_pages import make_upstream_file, make_upstream_page
from tests.upstreams import JSON
from tests.web.doubles import MemoryStore

WHEEL = make_upstream_file(
    hashes={"sha256": "ab" * 32, "blake2b_256": "cd" * 32},
    size=103_302,
    upload_time="2026-11-20T08:15:30.123456Z",
    requires_python=">=3.9,<4",
    core_metadata={"sha256": "ef" * 32},
    yanked="broken <on> 3.13 & later",
    provenance="https://files.example/provenance",
    gpg_sig=False,
)
BARE = make_upstream_file("flask-0.1.tar.gz", hashes={})
PAGE = make_upstream_page(
    "flask", BARE, WHEEL, versions=("0.1", "3.1.0"), status=ProjectStatus("deprecated", 'see "quart"')
)


def html() -> str:
    return render_page(PAGE, Representation.HTML).decode()


def test_json_has_every_key_that_upstream_gave() -> None:
    """And no others: uv rejects a page for one null."""
    assert json.loads(render_page(PAGE, Representation.JSON)) == {
        "meta": {"api-version": "1.4"},
        "name": "flask",
        "versions": ["0.1", "3.1.0"],
        "project-status": {"status": "deprecated", "reason": 'see "quart"'},
        "files": [
            {"filename": BARE.filename, "url": BARE.url, "hashes": {}},
            {
                "filename": WHEEL.filename,
                "url": WHEEL.url,
                "hashes": {"sha256": "ab" * 32, "blake2b_256": "cd" * 32},
                "size": 103_302,
                "upload-time": "2026-11-20T08:15:30.123456Z",
                "requires-python": ">=3.9,<4",
                "core-metadata": {"sha256": "ef" * 32},
                "yanked": "broken <on> 3.13 & later",
                "provenance": "https://files.example/provenance",
                "gpg-sig": False,
            },
        ],
    }


def test_html_has_the_same() -> None:
    """pypi-simple parses it."""
    page = Parsed.from_html("flask", html())
    bare, wheel = page.packages
    assert page.repository_version == "1.4"
    assert (bare.url, bare.digests, bare.is_yanked) == (BARE.url, {}, False)
    assert wheel.url == WHEEL.url
    assert wheel.digests == {"sha256": "ab" * 32}
    assert (wheel.requires_python, wheel.yanked_reason) == (">=3.9,<4", "broken <on> 3.13 & later")
    assert wheel.metadata_digests == {"sha256": "ef" * 32}
    assert wheel.has_sig is False
    assert 'data-size="103302"' in html()
    assert 'data-upload-time="2026-11-20T08:15:30.123456Z"' in html()
    assert '<meta name="pypi:project-status" content="deprecated">' in html()


def test_hatch_can_parse_it() -> None:
    """Its regular expression needs an attribute in each link, and no > inside one."""
    assert re.findall(r"<a [^>]+>([^<]+)</a>", html()) == [BARE.filename, WHEEL.filename]


@pytest.mark.parametrize("metadata", [True, {"sha512": "ab" * 64}], ids=["true", "another hash"])
def test_core_metadata_without_a_sha256(metadata: Any) -> None:
    """It is `true`, or has another hash."""
    page = make_upstream_page("flask", make_upstream_file(core_metadata=metadata, yanked=True))
    text = render_page(page, Representation.HTML).decode()
    expected = "true" if metadata is True else f"sha512={'ab' * 64}"
    assert f'data-core-metadata="{expected}" data-dist-info-metadata="{expected}" data-yanked=""' in text
    assert json.loads(render_page(page, Representation.JSON))["files"][0]["core-metadata"] == metadata


def test_nothing_on_a_page_becomes_markup() -> None:
    """Anybody may publish at upstream."""
    evil = '"><script>alert(1)</script>'
    file = make_upstream_file(url=f"https://files.example/{evil}", yanked=evil, requires_python=evil)
    page = make_upstream_page("flask", file, status=ProjectStatus("archived", evil))
    assert "<script" not in render_page(page, Representation.HTML).decode()


def test_legacy_json_has_what_renovate_reads() -> None:
    """Versions, times and yanks. Files without a version are left out."""
    egg = make_upstream_file("flask-0.1-py2.6.egg")
    document = json.loads(render_legacy(make_upstream_page("flask", egg, BARE, WHEEL)))
    assert document["info"] == {
        "name": "flask",
        "summary": "",
        "project_urls": {},
        "version": "0.1",
        "yanked": False,
    }
    assert list(document["releases"]) == ["0.1", "3.1.0"]
    assert document["urls"][0]["url"] == BARE.url
    assert document["releases"]["3.1.0"] == [
        {
            "filename": WHEEL.filename,
            "url": WHEEL.url,
            "packagetype": "bdist_wheel",
            "digests": {"sha256": "ab" * 32, "blake2b_256": "cd" * 32},
            "yanked": True,
            "yanked_reason": "broken <on> 3.13 & later",
            "requires_python": ">=3.9,<4",
            "size": 103_302,
            "upload_time": "2026-11-20T08:15:30",
            "upload_time_iso_8601": "2026-11-20T08:15:30.123456Z",
        }
    ]
    empty = json.loads(render_legacy(make_upstream_page("flask", egg)))
    assert (empty["releases"], empty["urls"]) == ({}, [])


class TestServed:
    @pytest.fixture(autouse=True)
    def elsewhere(self, store: MemoryStore) -> None:
        store.elsewhere[ProjectName.parse("flask")] = ForeignPage(PAGE)

    @pytest.mark.parametrize("path", ["flask/", "+simple/flask/", "flask/json", "flask/?format=json"])
    def test_has_its_origin(self, client: FlaskClient, store: MemoryStore, path: str) -> None:
        """In a header of each answer, also of a 304 and of the registry's pages."""
        answer = client.get(f"/ghcr.io/acme/{path}")
        assert (answer.status_code, answer.headers["X-PyOCI-Origin"]) == (200, "upstream")
        again = client.get(f"/ghcr.io/acme/{path}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.headers["X-PyOCI-Origin"]) == (304, "upstream")
        store.put("flask-1.0-py3-none-any.whl")
        assert client.get(f"/ghcr.io/acme/{path}").headers["X-PyOCI-Origin"] == "registry"

    def test_its_origin_is_logged(self, app: Flask) -> None:
        """An operator sees which pages come from upstream."""
        environ = EnvironBuilder(path="/ghcr.io/acme/flask/").get_environ()
        list(app.wsgi_app(environ, lambda *_: lambda _: None))
        assert environ["pyoci.origin"] == "upstream"

    def test_is_private_to_the_caller(self, client: FlaskClient) -> None:
        """Whether the registry has a project is known only to callers with access."""
        answer = client.get("/ghcr.io/acme/flask/")
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert "Authorization" in answer.headers["Vary"]

    def test_other_spellings_are_redirected(self, client: FlaskClient) -> None:
        """As for our own pages."""
        answer = client.get("/ghcr.io/acme/Flask/")
        assert (answer.status_code, answer.headers["Location"]) == (301, "../flask/")

    @pytest.mark.parametrize(
        "name", ["flask-3.1.0-py3-none-any.whl", "flask-3.1.0-py3-none-any.whl.metadata"]
    )
    def test_files_are_linked_at_upstream(self, client: FlaskClient, name: str) -> None:
        """Clients download them directly."""
        assert client.get(f"/ghcr.io/acme/flask/{name}").status_code == 404


BODY = json.dumps(
    {
        "meta": {"api-version": "1.4"},
        "name": "flask",
        "versions": ["3.1.0"],
        "files": [
            {
                "filename": "flask-3.1.0-py3-none-any.whl",
                "url": "https://files.example/flask-3.1.0-py3-none-any.whl",
                "hashes": {"sha256": "ab" * 32},
                "requires-python": None,
            }
        ],
    }
).encode()


@pytest.fixture
def sent() -> UpstreamPage:
    """A page as upstream sent it."""
    about = recognize(json.loads(BODY), BODY, "flask")
    assert about is not None
    return UpstreamPage.verbatim("flask", VerbatimFiles.of(packed(BODY), about))


def test_a_page_is_passed_on_as_it_was_sent(
    client: FlaskClient, store: MemoryStore, sent: UpstreamPage
) -> None:
    """Byte for byte, to clients that accept gzip and to others."""
    store.elsewhere[ProjectName.parse("flask")] = ForeignPage(sent)
    zipped = client.get("/ghcr.io/acme/flask/", headers={"Accept": JSON, "Accept-Encoding": "gzip"})
    plain = client.get("/ghcr.io/acme/flask/", headers={"Accept": JSON})
    assert (zipped.data, zipped.content_encoding) == (packed(BODY), "gzip")
    assert plain.data == BODY
    assert "Content-Encoding" not in plain.headers
    assert zipped.headers["ETag"] != plain.headers["ETag"]


def test_other_pages_are_compressed_here(client: FlaskClient, store: MemoryStore) -> None:
    """Those in HTML, and those that were written anew."""
    files = [make_upstream_file(f"flask-{number}.0.tar.gz") for number in range(100)]
    store.elsewhere[ProjectName.parse("flask")] = ForeignPage(make_upstream_page("flask", *files))
    for accept in (JSON, "text/html"):
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        zipped = client.get("/ghcr.io/acme/flask/", headers=headers)
        plain = client.get("/ghcr.io/acme/flask/", headers={"Accept": accept})
        assert zipped.content_encoding == "gzip"
        assert gzip.decompress(zipped.data) == plain.data


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda page: replace(page, status=ProjectStatus("quarantined")), id="status"),
        pytest.param(lambda page: replace(page, versions=()), id="versions"),
        pytest.param(lambda page: replace(page, files=tuple(page.files)), id="files"),
        pytest.param(lambda page: page.of_version(Version("3.1.0")), id="one version"),
    ],
)
def test_a_changed_page_is_rendered(
    sent: UpstreamPage, change: Callable[[UpstreamPage], UpstreamPage]
) -> None:
    """So is HTML, and a page whose links are replaced."""
    assert as_sent(sent, Representation.JSON, proxied=False) is sent.files
    assert as_sent(change(sent), Representation.JSON, proxied=False) is None
    assert as_sent(sent, Representation.HTML, proxied=False) is None
    assert as_sent(sent, Representation.JSON, proxied=True) is None
