"""The table of addresses in docs/design.rst: each row has the described meaning, below any namespace."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pyoci.app import create_app
from pyoci.config import Settings
from tests.builders import make_metadata, make_wheel
from tests.flows.conftest import ReadingClient
from tests.flows.test_main_job import JSON, upload

DESIGN = Path(__file__).parent.parent.parent / "docs" / "design.rst"
METHODS = ("GET", "POST", "PATCH", "DELETE")
# Namespaces that lie in one another, and whose names look like projects, versions and parts of addresses.
NAMESPACES = (
    "acme",
    "acme/team",
    "acme/team/1.0",
    "acme/hello-world",
    "acme/hello_world/1.0",
    "acme/json",
    "acme/team/json/simple",
)
SHORT_URLS = {"simple": "acme", "team": "acme/team", "version": "acme/team/1.0"}


@dataclass(frozen=True)
class Index:
    """A package index at an address, with a wheel that no other namespace has."""

    url: str
    namespace: str

    @property
    def wheel(self) -> tuple[str, bytes]:
        return make_wheel(requires=[f"n{NAMESPACES.index(self.namespace)}"])

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.wheel[1]).hexdigest()

    def at(self, address: str) -> str:
        """The path of a row of the table for this index."""
        words = {"index": self.url, "project": "hello-world", "version": "1.0", "file": self.wheel[0]}
        words |= {"digest": self.sha256[:16], "id": "PYSEC-2021-66"}
        return re.sub(r"<(\w+)>", lambda word: words[word[1]], address)


INDEXES = (
    *(Index(f"/local/{namespace}", namespace) for namespace in NAMESPACES),
    *(Index(f"/{name}", namespace) for name, namespace in SHORT_URLS.items()),
)
NAMED = INDEXES[: len(NAMESPACES)]
ALIASES = tuple(Index(f"/local/{namespace}/simple", namespace) for namespace in NAMESPACES)
# A change takes longer than a look.
CHANGED = (*INDEXES, ALIASES[0], Index("/local/acme/+simple", "acme"))
INDEXES = (*INDEXES, *ALIASES, *(Index(f"{index.url}/+simple", index.namespace) for index in INDEXES))


def rows() -> Iterator[tuple[str, list[str]]]:
    """Address and methods of each row."""
    section = DESIGN.read_text().partition("\nAddresses\n---")[2].partition("\n\n\n")[0]
    for address, methods in re.findall(r"^``(\S+)`` +(\S.*?)  ", section, re.MULTILINE):
        yield address, methods.split(", ")


ROWS = dict(rows())


def is_root(index: Index, answer: TestResponse) -> bool:
    return {"name": "hello-world"} in answer.get_json()["projects"]


def is_page(index: Index, answer: TestResponse) -> bool:
    (file,) = answer.get_json()["files"]
    return bool(file["hashes"]["sha256"] == index.sha256)


def is_legacy(index: Index, answer: TestResponse) -> bool:
    (file,) = answer.get_json()["releases"]["1.0"]
    return bool(file["digests"]["sha256"] == index.sha256) and file["url"].endswith(
        f"/hello-world/+{index.sha256[:16]}/{index.wheel[0]}"
    )


def is_file(index: Index, answer: TestResponse) -> bool:
    return bool(answer.data == index.wheel[1])


def is_metadata(index: Index, answer: TestResponse) -> bool:
    return bool(answer.data == make_metadata(requires=[f"n{NAMESPACES.index(index.namespace)}"]))


# What GET gives at each address that is below a package index.
SHOWN: dict[str, Callable[[Index, TestResponse], bool]] = {
    "<index>/": is_root,
    "<index>/<project>/": is_page,
    "<index>/<project>/json": is_legacy,
    "<index>/<project>/<version>/": is_page,
    "<index>/<project>/<version>/json": is_legacy,
    "<index>/pypi/<project>/json": is_legacy,
    "<index>/pypi/<project>/<version>/json": is_legacy,
    "<index>/<project>/+<digest>/<file>": is_file,
    "<index>/<project>/+<digest>/<file>.metadata": is_metadata,
    "<index>/<project>/<file>": is_file,
    "<index>/<project>/<file>.metadata": is_metadata,
}


@pytest.fixture(scope="module")
def met() -> set[str]:
    """The routes that were requested."""
    return set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, met: set[str]) -> FlaskClient:
    """A site whose namespaces all have a project of the same name, with a wheel of the same name."""
    names = ", ".join(f"{name}=local/{meant}" for name, meant in SHORT_URLS.items() if name != "simple")
    settings = {
        "PYOCI_EMBEDDED": str(tmp_path_factory.mktemp("registry")),
        "PYOCI_DEFAULT_INDEX": f"local/{SHORT_URLS['simple']}",
        "PYOCI_INDEXES": names,
        "PYOCI_METRICS": "yes",
        "PYOCI_LOG": "off",
    }
    app = create_app(Settings.from_environ(settings), sleep=lambda _: None)
    app.test_client_class = ReadingClient
    app.before_request(lambda: met.add(str(request.url_rule).rstrip("/")))
    client = app.test_client()
    for index in NAMED:
        publish(client, index)
    return client


def publish(client: FlaskClient, index: Index) -> None:
    """Publish the wheel of that namespace."""
    root = f"/local/{index.namespace}/+simple/"
    assert upload(client, *index.wheel, url=root).status_code == 200


def page(client: FlaskClient, namespace: str) -> dict[str, Any]:
    """The page of the project in that namespace."""
    answer = client.get(f"/local/{namespace}/+simple/hello-world/", headers=JSON)
    document: dict[str, Any] = answer.get_json()
    return document


def test_the_table_is_read() -> None:
    """It has rows, and those of a package index are the ones in these tests."""
    assert len(ROWS) > 10
    assert set(SHOWN) == {
        address
        for address, methods in ROWS.items()
        if address.startswith("<index>/") and "GET" in methods
        # test_osv.py and test_upstream_files.py have these.
        if "/+osv/" not in address and not address.endswith(".provenance")
    }


@pytest.mark.parametrize("address", SHOWN)
def test_what_is_shown(site: FlaskClient, address: str) -> None:
    """Each address belongs to one index, although other indexes are above, below and beside it."""
    for index in NAMED if "/pypi/" in address else INDEXES:
        path = index.at(address)
        answer = site.get(path, headers=JSON)
        assert answer.status_code == 200, path
        if path == "/local/acme/hello-world/":  # a project's page goes before a root
            assert is_page(INDEXES[0], answer)
        elif path == "/local/acme/team/1.0/":  # and a root before a version, as test_versions.py says
            assert is_root(index, answer)
        else:
            assert SHOWN[address](index, answer), path


def test_links_of_pages(site: FlaskClient) -> None:
    """A page links only to addresses of the table, below the same index."""
    for index in INDEXES:
        for page in map(index.at, ("<index>/<project>/", "<index>/<project>/<version>/")):
            (file,) = site.get(page, headers=JSON).get_json()["files"]
            assert urljoin(page, file["url"]) == index.at("<index>/<project>/+<digest>/<file>")
            link = f'href="{file["url"]}#sha256={index.sha256}"'
            assert link in site.get(page, headers={"Accept": "text/html"}).text


@pytest.mark.long
@pytest.mark.parametrize("address", [address for address, methods in ROWS.items() if "DELETE" in methods])
def test_what_is_changed(site: FlaskClient, address: str) -> None:
    """A yank and a delete change the file of one index."""
    for index in CHANGED:
        path = index.at(address)
        others = {name: page(site, name) for name in NAMESPACES if name != index.namespace}
        assert site.patch(path, json={"yanked": True}).status_code == 200, path
        assert [file.get("yanked") for file in page(site, index.namespace)["files"]] == [True]
        assert site.delete(path).status_code == 200
        assert page(site, index.namespace)["files"] == []
        assert {name: page(site, name) for name in others} == others
        publish(site, index)


@pytest.mark.long
def test_whose_status_is_changed(site: FlaskClient) -> None:
    """The status of a project holds in one index."""
    for index in CHANGED:
        path = index.at("<index>/<project>/")
        others = {name: page(site, name) for name in NAMESPACES if name != index.namespace}
        assert site.patch(path, json={"status": "quarantined"}).status_code == 200, path
        assert page(site, index.namespace)["files"] == []
        assert {name: page(site, name) for name in others} == others
        assert site.patch(path, json={"status": "active"}).status_code == 200
        assert len(page(site, index.namespace)["files"]) == 1


def test_where_uploads_go(site: FlaskClient) -> None:
    """An uploaded file is on the page of the index that it was sent to."""
    for number, index in enumerate(CHANGED):
        name, content = make_wheel("greeting", f"1.{number}")
        assert upload(site, name, content, url=index.at("<index>/")).status_code == 200
        assert site.get(f"/local/{index.namespace}/+simple/greeting/{name}").data == content
    name, content = make_wheel("greeting", "2.0")
    assert upload(site, name, content, url=INDEXES[0].at("<index>/legacy/")).status_code == 200
    assert site.get(f"/local/acme/greeting/{name}").data == content


def test_addresses_beside_the_indexes(site: FlaskClient) -> None:
    """Those that are no package index's."""
    index = next(index for index in INDEXES if index.url == "/simple")
    assert is_legacy(index, site.get(index.at("/pypi/<project>/json")))
    assert is_legacy(index, site.get(index.at("/pypi/<project>/<version>/json")))
    name, content = make_wheel("farewell")
    assert upload(site, name, content, url="/legacy/").status_code == 200
    assert site.get(f"/simple/farewell/{name}").data == content
    for path in ("/health", "/ready", "/metrics", "/v2/"):
        assert site.get(path).status_code == 200
    assert site.get("/").status_code == 302


def test_methods_that_the_table_leaves_out(site: FlaskClient) -> None:
    """They don't succeed, and change nothing."""
    index = INDEXES[0]
    for address, methods in ROWS.items():
        if "…" in address:
            continue
        for method in set(METHODS) - set(methods):
            answer = site.open(index.at(address), method=method, json={"yanked": True})
            assert answer.status_code in {301, 400, 404, 405}, (method, address)
    assert is_page(index, site.get(index.at("<index>/<project>/"), headers=JSON))
    assert "yanked" not in page(site, index.namespace)["files"][0]


def test_no_route_is_left_out(site: FlaskClient, met: set[str]) -> None:
    """The addresses of the table, with and without a final slash, reach every route."""
    met.clear()
    nobodys = Index("/local/nobody", "acme")
    for address in ROWS:
        path = nobodys.at(address.removesuffix("…"))
        for spelling in (path, path.rstrip("/") or "/"):
            for method in METHODS:
                site.open(spelling, method=method)
    assert met >= {str(rule).rstrip("/") for rule in site.application.url_map.iter_rules()}
