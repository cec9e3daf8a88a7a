"""Dependency confusion in every mode of upstream's files: whatever the registry answers, no request for a
page, a file, metadata or vulnerabilities reveals a private name, or gets what upstream has of that name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.oci.credentials import Anonymous
from pyoci.store.models import Imported
from pyoci.telemetry.logs import Log
from tests.flows.conftest import Lines, ReadingClient
from tests.live.confusion import ROWS, TOKEN_USER, UNKNOWN, USER, basic, says
from tests.net.servers import Server
from tests.osv_service import VulnerabilityService, vulnerability_service
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import make_upload
from tests.upstreams import PackageIndex, package_index

HONEST = "honest"  # a registry that lets everybody in and has nothing
BUG = "GHSA-jfh8-c2jp-5v3q"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
STORE = {"PYOCI_UPSTREAM_FILES": "store", "PYOCI_UPSTREAM_STORE": "local/upstream"}
MODES: dict[str, dict[str, str]] = {
    "direct": {},
    "proxy": {"PYOCI_UPSTREAM_FILES": "proxy"},
    "store": STORE,
    "offline": {**STORE, "PYOCI_UPSTREAM_OFFLINE": "yes"},
}
CAREFUL = {"PYOCI_PRIVATE_PROJECTS": "Acme_*", "PYOCI_UPSTREAM_ON_DENIED": "yes"}


@dataclass
class Attack:
    """PyOCI between registries with failures, an attacker's package index, and a service that hears names."""

    app: Flask
    bait: PackageIndex
    service: VulnerabilityService
    copies: TestRegistry
    mode: str
    careful: bool
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def project(self) -> tuple[str, list[str]]:
        """A private name that the attacker has published in a higher version, and the paths of its files
        below the page. If there is a store, it has a copy of the file.
        """
        name, provenance = f"acme-tool{next(self.numbers)}", '{"version": 1, "of": "99.0"}'
        entry = self.bait.add_wheel(name, "99.0")
        self.bait.add_provenance(entry, provenance.encode())
        if self.mode in {"store", "offline"}:
            form = make_upload(entry["filename"], self.bait.content(entry["filename"]))
            copied = Imported(upstream_url=f"{self.bait.url}/files/", provenance=provenance)
            self.copies.store().publish(make_namespace("upstream"), form, Anonymous(), copied)
        self.service.add(name, BUG)
        path = f"+{entry['hashes']['sha256'][:16]}/{entry['filename']}"
        return name, [path, f"{path}.metadata", f"{path}.provenance"]

    def ask(self, row: str, method: str, path: str, caller: str = USER, **arguments: Any) -> TestResponse:
        """The answer at a path below the package index of a row."""
        headers = arguments.pop("headers", {}) | ({"Authorization": basic(caller)} if caller else {})
        url = f"/row{[HONEST, *ROWS].index(row)}/acme/{path}"
        return self.app.test_client().open(url, method=method, headers=headers, **arguments)


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param((mode, False), id=mode) for mode in MODES),
        pytest.param(("proxy", True), id="careful"),
    ],
)
def attack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attack]:
    """With each mode, as it is and with private names and upstream asked after denials."""
    mode, careful = request.param
    folder: Path = tmp_path_factory.mktemp("files")
    copies = TestRegistry(folder / "registry")
    with ExitStack() as stack:
        bait, service = stack.enter_context(package_index()), stack.enter_context(vulnerability_service())
        handlers = [says(UNKNOWN), *(row.registry for row in ROWS.values())]
        urls = [
            "http://127.0.0.1:9" if handle is None else stack.enter_context(Server(handle)).url
            for handle in handlers
        ]
        settings = {
            "PYOCI_REGISTRIES": ", ".join(f"row{number}={url}" for number, url in enumerate(urls)),
            "PYOCI_UPSTREAM_INDEX": bait.simple,
            "PYOCI_UPSTREAM_FILES_DIR": str(folder / "files"),
            "PYOCI_EMBEDDED": str(folder / "registry"),
            "PYOCI_BEARER_USERNAME": TOKEN_USER,
            "PYOCI_OSV_URL": service.url,
            "PYOCI_CACHE_URL": "memory://",
            "WEB_CONCURRENCY": "1",
            **MODES[mode],
            **(CAREFUL if careful else {}),
        }
        app = create_app(Settings.from_environ(settings), Log("off", {}, Lines()), retry_sleep=lambda _: None)
        app.test_client_class = ReadingClient
        yield Attack(app, bait, service, copies, mode, careful)


def requests_for(name: str, files: list[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every kind of request that may concern a project: method, path and arguments. The first four differ
    most.
    """
    query = {"package": {"name": name, "ecosystem": "PyPI"}}
    file, metadata, provenance = (f"{name}/{path}" for path in files)
    return [
        ("GET", f"{name}/", {"headers": JSON}),
        ("GET", file, {}),
        ("GET", f"simple/{metadata}", {}),
        ("POST", "+osv/v1/querybatch", {"json": {"queries": [query]}}),
        ("GET", metadata, {}),
        ("GET", provenance, {}),
        ("HEAD", file, {}),
        ("GET", file, {"headers": {"Range": "bytes=0-9"}}),
        ("GET", f"simple/{file}", {}),
        ("GET", f"+simple/{file}", {}),
        ("GET", f"simple/+simple/{file}", {}),
        ("GET", f"{name}/99.0/", {}),
        ("GET", f"{name}/99.0/json", {}),
        ("GET", f"{name}/{file.rpartition('/')[2]}", {}),
        ("POST", "+osv/v1/query", {"json": query}),
        ("POST", "simple/+osv/v1/query", {"json": query}),
        ("POST", "+simple/+osv/v1/query", {"json": {"package": {"purl": f"pkg:pypi/{name}@99.0"}}}),
    ]


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if not row.slow])
def test_nothing_leaves_and_nothing_comes(attack: Attack, row: str) -> None:
    """Also if PyOCI has fetched the files for another registry before, and kept them."""
    unseen, seen = attack.project(), attack.project()
    for path in ("", seen[1][0]):
        attack.ask(HONEST, "GET", f"{seen[0]}/{path}")
    before = attack.bait.asked(seen[0]), list(attack.service.names())

    def check(method: str, path: str, arguments: dict[str, Any]) -> None:
        answer = attack.ask(row, method, path, ROWS[row].caller, **arguments)
        assert answer.status_code < 500 or answer.status_code in {502, 503, 504}, (path, answer.text)
        assert answer.headers.get("X-PyOCI-Origin") in {None, "registry"}, path
        assert answer.status_code >= 400 or b"99.0" not in answer.data, (path, answer.text)
        assert BUG not in answer.text

    # A registry that fails is asked again and again: there the first four will do. `direct` has no files.
    count = 4 if ROWS[row].status >= 500 or attack.mode == "direct" else None
    wanted = [each for found in (unseen, seen) for each in requests_for(*found)[:count]]
    with ThreadPoolExecutor(8) as pool:
        for asked in [pool.submit(check, *each) for each in wanted]:
            asked.result()
    assert attack.bait.asked(unseen[0]) == 0
    assert (attack.bait.asked(seen[0]), attack.service.names()) == before


def test_the_namespace_of_copies_leads_nowhere(attack: Attack) -> None:
    """No name leaves through it, nor through one below it. In other modes it is a namespace like others."""
    leads_nowhere = attack.careful or attack.mode in {"store", "offline"}
    client = attack.app.test_client()
    for index in ("/local/upstream", "/local/upstream/below", "/local/upstream/+simple"):
        name, files = attack.project()
        for method, path, arguments in requests_for(name, files):
            answer = client.open(f"{index}/{path}", method=method, **arguments)
            assert not leads_nowhere or answer.headers.get("X-PyOCI-Origin") in {None, "registry"}, path
        assert (attack.bait.asked(name) == 0) is leads_nowhere
        assert (name not in attack.service.names()) is leads_nowhere


def test_what_is_absent_comes_from_upstream(attack: Attack) -> None:
    """This shows that the other tests can fail. Private names stay here even then."""
    name, files = attack.project()
    for method, path, arguments in requests_for(name, files):
        answer = attack.ask(HONEST, method, path, **arguments)
        if attack.careful:
            assert answer.headers.get("X-PyOCI-Origin") is None
            assert BUG not in answer.text
        elif "+osv" in path:
            assert BUG in answer.text
        elif "+" in path and path != "+simple/":
            assert (answer.status_code in {200, 206}) is (attack.mode != "direct"), path
    assert (attack.bait.asked(name) == 0) is (attack.careful or attack.mode == "offline")
    assert (name in attack.service.names()) is not attack.careful
