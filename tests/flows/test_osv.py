"""The relay of OSV's API: which names reach the service, and which answers the callers get."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from pyoci.cache.memory import MemoryBackend
from pyoci.embedded import create_registry_app
from pyoci.net.transport import Transport
from pyoci.upstream.osv import OSV
from pyoci.web.context import EXTENSION
from tests.builders import make_wheel
from tests.clock import Clock
from tests.flows.conftest import Lines, MakeClient
from tests.flows.test_main_job import upload
from tests.flows.test_strangers import CALLERS, ME, FriendlyRegistry, HalfOpenRegistry
from tests.osv_service import MODIFIED, VulnerabilityService, vulnerability_service
from tests.serving import served

INDEX = "/local/acme/"
BUG = "GHSA-jfh8-c2jp-5v3q"
FOUND = {"vulns": [{"id": BUG, "modified": MODIFIED}]}
NAMES = ("flask", "hello-world", "secret-tool")


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    """It knows the same vulnerability of each project."""
    with vulnerability_service() as service:
        for name in (*NAMES, "simple"):
            service.add(name, BUG)
        yield service


@pytest.fixture
def settings(service: VulnerabilityService) -> dict[str, str]:
    return {"PYOCI_OSV_URL": service.url, "PYOCI_PRIVATE_PROJECTS": "secret-*"}


@pytest.fixture
def client(make_client: MakeClient, settings: dict[str, str]) -> FlaskClient:
    """Its registry has hello-world."""
    client = make_client(**settings, PYOCI_DEFAULT_INDEX="local/acme")
    assert upload(client).status_code == 200
    return client


def query(name: str = "flask", **keys: Any) -> dict[str, Any]:
    return {"package": {"name": name, "ecosystem": "PyPI"}, "version": "1.0", **keys}


def purl(text: str, **keys: Any) -> dict[str, Any]:
    return {"package": {"purl": text}, **keys}


def batch(client: FlaskClient, *queries: Any, index: str = INDEX, **arguments: Any) -> TestResponse:
    return client.post(f"{index}+osv/v1/querybatch", json={"queries": list(queries)}, **arguments)


def results(answer: TestResponse) -> list[Any]:
    assert answer.status_code == 200, answer.text
    listed: list[Any] = answer.get_json()["results"]
    return listed


@pytest.mark.parametrize(
    "index", [INDEX, f"{INDEX}+simple/", f"{INDEX}simple/", "/simple/", f"{INDEX}simple/+simple/"]
)
def test_private_names_stay_here(client: FlaskClient, service: VulnerabilityService, index: str) -> None:
    """Those in the registry and in the settings, in any spelling. All positions are kept."""
    spelled = ("Hello_World", "flask", "secret.tool", "hello-world", "SECRET-TOOL")
    answer = batch(client, *map(query, spelled), index=index)
    assert results(answer) == [{}, FOUND, {}, {}, {}]
    assert answer.headers["X-PyOCI-Not-Asked"] == "4"
    assert service.names() == ["flask"]


def test_what_is_sent(client: FlaskClient, service: VulnerabilityService) -> None:
    """A query with its name, version and page token. Nothing else of the caller's request."""
    strange = query("Flask", page_token="abc", acme="hello-world", severity=[], version="v1.0.0-rc1")
    headers = {"Authorization": "Basic dTpw", "X-Secret": "hello-world", "Cookie": "hello=world"}
    batch(client, strange, headers=headers, query_string={"acme": "hello-world"})
    assert service.bodies == [
        {
            "queries": [
                {
                    "package": {"name": "flask", "ecosystem": "PyPI"},
                    "version": "1.0.0rc1",
                    "page_token": "abc",
                }
            ]
        }
    ]
    [request] = service.requests
    assert (request.path, request.query_string) == ("/v1/querybatch", b"")
    assert "hello" not in str(request.headers)
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    "one",
    [
        pytest.param({"commit": "6879efc2c1596d11a6a6ad296f80063b558d5e0f"}, id="commit"),
        pytest.param({**query(), "commit": "6879efc2"}, id="commit and package"),
        pytest.param(query() | {"package": {"name": "flask", "ecosystem": "npm"}}, id="npm"),
        pytest.param(query() | {"package": {"name": "flask"}}, id="no ecosystem"),
        pytest.param(query() | {"package": {"ecosystem": "PyPI"}}, id="no name"),
        pytest.param({"version": "1.0"}, id="no package"),
        pytest.param({}, id="empty"),
        pytest.param(purl("pkg:npm/flask@1.0"), id="purl of npm"),
        pytest.param(purl("pkg:pypi/"), id="purl without a name"),
        pytest.param(purl("pkg:pypi/acme/flask"), id="purl with a namespace"),
        pytest.param(purl("flask"), id="no purl"),
        pytest.param(purl("pkg:pypi/hello%2Dworld@1.0"), id="escaped purl of a private project"),
        pytest.param(purl("pkg://PyPI/Hello_World@1.0?x=1#y"), id="odd purl of a private project"),
        pytest.param(query("hello world"), id="not a name"),
        pytest.param(query("flask", version="hello-world"), id="not a version"),
        pytest.param(query("simple"), id="an alias"),
        pytest.param(query("x" * 250), id="too long for the registry"),
    ],
)
def test_what_is_not_sent(client: FlaskClient, service: VulnerabilityService, one: dict[str, Any]) -> None:
    """It is answered with nothing, in its place."""
    answer = batch(client, one, query())
    assert results(answer) == [{}, FOUND]
    assert service.names() == ["flask"]
    alone = client.post(f"{INDEX}+osv/v1/query", json=one)
    assert (alone.status_code, alone.get_json()) == (200, {})
    assert service.names() == ["flask"]


@pytest.mark.parametrize(
    ("one", "version"),
    [
        (purl("pkg:pypi/flask@1.0"), "1.0"),
        (purl("pkg:pypi/flask", version="1.0"), "1.0"),
        (purl("pkg:pypi/FLASK@1.0%2Blocal?file=secret"), "1.0"),
        (query(version=None), None),
    ],
)
def test_other_forms_of_a_query(
    client: FlaskClient, service: VulnerabilityService, one: dict[str, Any], version: str | None
) -> None:
    """They are sent in the usual form."""
    assert results(batch(client, one)) == [FOUND]
    [sent] = service.bodies[0]["queries"]
    assert sent["package"] == {"name": "flask", "ecosystem": "PyPI"}
    assert sent.get("version") == version


@pytest.mark.parametrize("spelled", ["1.0+acme.3", "v1.0+Acme-Secret_3", "1.0+cu121"])
def test_a_local_version_is_asked_about_as_the_public_one(
    client: FlaskClient, service: VulnerabilityService, spelled: str
) -> None:
    """A local label may have private words, and PyPI has no versions with one. The answer counts for both."""
    assert results(batch(client, query(version="1.0"), query(version=spelled))) == [FOUND, FOUND]
    assert client.post(f"{INDEX}+osv/v1/query", json=query(version=spelled)).get_json()["vulns"]
    sent = [*service.bodies[0]["queries"], *service.bodies[1:]]
    assert {each["version"] for each in sent} == {"1.0"}


def test_a_name_that_is_also_a_version(client: FlaskClient, service: VulnerabilityService) -> None:
    """Below a namespace with two segments, its address may be that of another project's version."""
    assert results(batch(client, query("2048"), index="/local/acme/team/")) == [{}]
    assert results(batch(client, query("2048"))) == [{}]
    assert service.names() == ["2048"]


def test_one_query(client: FlaskClient, service: VulnerabilityService) -> None:
    """Its answer has the whole documents. pip-audit sends its JSON without a type."""
    for data in (json.dumps(query()), json.dumps(query("nothing"))):
        answer = client.post(f"{INDEX}+osv/v1/query", data=data)
        assert answer.status_code == 200
        assert answer.get_json() == ({"vulns": service.known["flask"]} if "flask" in data else {})
    assert client.post(f"{INDEX}+osv/v1/query", json=query("hello-world")).get_json() == {}
    assert service.names() == ["flask", "nothing"]


def test_a_vulnerability(client: FlaskClient, service: VulnerabilityService) -> None:
    """By its identifier; another text isn't sent."""
    answer = client.get(f"{INDEX}+osv/v1/vulns/{BUG}")
    assert answer.get_json() == service.known["flask"][0]
    assert client.get(f"{INDEX}+osv/v1/vulns/PYSEC-2021-66").status_code == 404
    for wrong in ("hello-world", "secret_tool", "GHSA", "GHSA-x%3Fy=z", "GHSA-..%2F", "X-" + "y" * 200):
        answer = client.get(f"{INDEX}+osv/v1/vulns/{wrong}")
        assert answer.status_code in {400, 404}
        assert "x-y" not in answer.text
    assert service.calls == [f"GET /v1/vulns/{BUG} 200", "GET /v1/vulns/PYSEC-2021-66 404"]


def test_pages_of_results(client: FlaskClient, service: VulnerabilityService) -> None:
    """The service's token is passed on, and sent back."""
    pages = {None: {"next_page_token": "t~2"}, "t~2": FOUND}

    def page(request: Any) -> Response:
        [sent] = service.bodies[-1]["queries"]
        return Response(json.dumps({"results": [pages[sent.get("page_token")]]}))

    service.answer = page
    assert results(batch(client, query())) == [{"next_page_token": "t~2"}]
    assert results(batch(client, query(page_token="t~2"))) == [FOUND]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"queries": {}}',
        b'{"queries": [1]}',
        b'{"queries": [null]}',
        b'{"queries": [{"package": "flask"}]}',
        b'{"queries": [{"package": {"name": 1, "ecosystem": "PyPI"}}]}',
        b'{"queries": [{"package": {"name": "flask", "ecosystem": ["PyPI"]}}]}',
        b'{"queries": [{"package": {"name": "flask", "ecosystem": "PyPI"}, "version": 1.0}]}',
        b'{"queries": [{"package": {"name": "flask", "ecosystem": "PyPI"}, "page_token": {}}]}',
        b'{"queries": [{"package": {"name": "flask", "ecosystem": "PyPI"}, "page_token": "a b"}]}',
        b'{"queries": [{"package": {"name": "flask", "purl": "pkg:pypi/flask"}}]}',
        b'{"queries": [{"package": {"purl": "pkg:pypi/flask@1"}, "version": "1"}]}',
        json.dumps({"queries": [query(version="1" * 300)]}).encode(),
        json.dumps({"queries": [query()] * 1001}).encode(),
    ],
)
def test_wrong_bodies(client: FlaskClient, service: VulnerabilityService, body: bytes) -> None:
    """They are answered with a sentence, and nothing is sent."""
    answer = client.post(f"{INDEX}+osv/v1/querybatch", data=body)
    assert answer.status_code == 400
    assert len(answer.text.splitlines()) == 1
    assert "?" not in answer.text  # it is sent as it was written
    if b"queries" not in body:
        assert client.post(f"{INDEX}+osv/v1/query", data=body).status_code == 400
    assert service.calls == []


def test_bodies_that_are_too_long(client: FlaskClient, service: VulnerabilityService) -> None:
    """Their limit is 1 MiB; a batch of a thousand queries is well below it."""
    answer = client.post(f"{INDEX}+osv/v1/querybatch", data=b" " * (1024 * 1024 + 1))
    assert answer.status_code == 413
    queries = [query(f"secret-{'n' * 90}{number}") for number in range(990)]
    queries += [query(f"{'n' * 90}{number}") for number in range(9)]
    assert results(batch(client, *queries, query())) == [{}] * 999 + [FOUND]
    assert len(service.names()) == 10


def test_off_by_default(make_client: MakeClient) -> None:
    """Then there is no such address, and a sentence names the setting."""
    client = make_client()
    assert "PYOCI_OSV_URL" in batch(client, query()).text
    for answer in (batch(client, query()), client.get(f"{INDEX}+osv/v1/vulns/{BUG}")):
        assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/local/+osv/v1/query", f"{INDEX}+simple/flask/+osv/v1/query"])
def test_only_below_a_package_index(client: FlaskClient, service: VulnerabilityService, path: str) -> None:
    """A registry and a project have no such address."""
    assert client.post(path, json=query()).status_code == 404
    assert service.calls == []


class TestCallers:
    """Each name is judged for the caller who asks, as a page would be."""

    @pytest.fixture
    def friendly(self, tmp_path: Path) -> Iterator[str]:
        """Its namespace `secret` is hidden from all but one."""
        registry = create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False)
        with served(FriendlyRegistry(registry)) as url:
            yield url

    @pytest.mark.parametrize("first", CALLERS)
    def test_each_by_itself(
        self,
        make_client: MakeClient,
        settings: dict[str, str],
        service: VulnerabilityService,
        friendly: str,
        first: str,
    ) -> None:
        """Who may not read gets what a page would give, whoever came before."""
        client = make_client(**settings, PYOCI_REGISTRIES=f"lab={friendly}")
        index = "/lab/secret/"
        assert upload(client, url=index, headers=ME).status_code == 200
        for caller in sorted(CALLERS, key=lambda caller: caller != first):
            answer = batch(client, query(), query("hello-world"), index=index, headers=CALLERS[caller])
            if caller == "stranger":
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic")
            else:
                assert results(answer) == ([FOUND, {}] if caller == "me" else [{}, {}])
        assert service.names() == ["flask"]

    def test_a_registry_that_hides_what_it_has(
        self,
        make_client: MakeClient,
        settings: dict[str, str],
        service: VulnerabilityService,
        tmp_path: Path,
    ) -> None:
        """Callers without credentials are asked for them: a client would take an empty answer for good
        news. Wrong ones are refused.
        """
        registry = HalfOpenRegistry(create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False))
        with served(registry) as url:
            client = make_client(**settings, PYOCI_REGISTRIES=f"lab={url}")
            for headers in ({}, {"Authorization": "Basic bWU6d3Jvbmc="}):
                assert batch(client, query(), index="/lab/acme/", headers=headers).status_code == 401
                one = client.get(f"/lab/acme/+osv/v1/vulns/{BUG}", headers=headers)
                assert one.status_code == 401
            assert service.calls == []
            assert results(batch(client, query(), index="/lab/acme/", headers=ME)) == [FOUND]
            assert client.get(f"/lab/acme/+osv/v1/vulns/{BUG}", headers=ME).status_code == 200

    def test_a_registry_that_is_down(
        self, make_client: MakeClient, settings: dict[str, str], service: VulnerabilityService
    ) -> None:
        """It can't say that it lacks the project, so nothing is sent."""
        client = make_client(**settings, PYOCI_REGISTRIES="lab=http://127.0.0.1:9")
        assert batch(client, query(), index="/lab/acme/").status_code in {503, 504}
        assert service.calls == []

    def test_a_deleted_project(self, client: FlaskClient, service: VulnerabilityService) -> None:
        """The registry had it, so it stays private."""
        assert client.delete(f"{INDEX}hello-world/1.0").status_code == 200
        assert results(batch(client, query("hello-world"), query())) == [{}, FOUND]
        assert service.names() == ["flask"]

    def test_a_project_that_is_published_later(
        self, client: FlaskClient, service: VulnerabilityService
    ) -> None:
        """From then on its name stays here, and the answer of before isn't given."""
        assert results(batch(client, query())) == [FOUND]
        assert upload(client, *make_wheel("flask")).status_code == 200
        assert results(batch(client, query())) == [{}]


class TestWithoutTheService:
    def test_old_answers_say_so(
        self, make_client: MakeClient, settings: dict[str, str], service: VulnerabilityService
    ) -> None:
        """A header has their age."""
        clock = Clock(1_800_000_000.0)
        transport = Transport(sleep=lambda _: None)
        osv = OSV(service.url, transport, MemoryBackend(), clock=clock, now=clock)
        client = make_client(**settings)
        extensions = client.application.extensions
        relay = replace(extensions[EXTENSION].osv, service=osv)
        extensions[EXTENSION] = replace(extensions[EXTENSION], osv=relay)
        requests: list[Callable[[], TestResponse]] = [
            lambda: batch(client, query()),
            lambda: client.post(f"{INDEX}+osv/v1/query", json=query()),
            lambda: client.get(f"{INDEX}+osv/v1/vulns/{BUG}"),
        ]
        before = [ask().data for ask in requests]
        service.answer = lambda _: Response("down", 503)
        clock.now += 7200
        after = [ask() for ask in requests]
        assert [answer.data for answer in after] == before
        assert {answer.headers["X-PyOCI-Upstream"] for answer in after} == {"stale; age=7200"}
        transport.close()

    def test_answers_of_before_are_given(self, client: FlaskClient, service: VulnerabilityService) -> None:
        """While they are fresh without a word."""
        first = batch(client, query())
        service.answer = lambda _: Response("down", 503)
        again = batch(client, query())
        assert again.data == first.data
        assert "X-PyOCI-Upstream" not in again.headers
        assert len(service.calls) == 1

    def test_what_was_never_asked_is_an_error(
        self, client: FlaskClient, service: VulnerabilityService
    ) -> None:
        """And no empty answer, which would mean that all is well."""
        batch(client, query())
        service.answer = lambda _: Response("down", 503)
        answer = batch(client, query(), query("django"))
        assert answer.status_code == 503
        assert "vulnerability service" in answer.text
        assert results(batch(client, query(), query("hello-world"))) == [FOUND, {}]

    @pytest.mark.parametrize(
        "content",
        [
            b"<html>",
            b"[]",
            b"{}",
            b'{"results": []}',
            b'{"results": [1]}',
            b'{"results": [{"vulns": 1}]}',
            b'{"results": [{"vulns": [{"modified": ""}]}]}',
        ],
    )
    def test_nonsense(self, client: FlaskClient, service: VulnerabilityService, content: bytes) -> None:
        """It is a 502, and isn't remembered."""
        service.answer = lambda _: Response(content)
        assert batch(client, query()).status_code == 502
        service.answer = None
        assert results(batch(client, query())) == [FOUND]


def test_the_log(
    make_client: MakeClient, settings: dict[str, str], service: VulnerabilityService, lines: Lines
) -> None:
    """It has every name that was sent, and of the others their number."""
    client = make_client(**settings)
    upload(client)
    lines.truncate(0)
    lines.seek(0)
    batch(client, query("hello-world"), query("secret-tool"), query(), query("django"))
    logged = [line for line in lines.read_lines() if "names" in line]
    assert [line["names"] for line in logged] == [["flask", "django"]]
    text = lines.getvalue()
    assert '"not_asked": 2' in text
    assert "secret" not in text
    assert "hello" not in text
    [line] = [line for line in lines.read_lines() if line.get("method") == "POST"]
    assert "project" not in line
