"""A page is served again without Flask only if the store allows it, and to the same caller."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pyoci.cache.backend import Position
from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import Registry
from pyoci.oci.registries import ShortUrl, ShortUrls
from pyoci.store.models import Namespace, ProjectPage, Validity
from tests.web.conftest import MakeApp
from tests.web.doubles import MemoryStore

PAGE = "/ghcr.io/acme/hello-world/"
WHEEL = "hello_world-1.0-py3-none-any.whl"
JSON = "application/vnd.pypi.simple.v1+json"
ME = {"Authorization": "Basic bWU6c2VjcmV0"}


class ValidityStore(MemoryStore):
    """Its pages are valid until the test ends that."""

    torn = False
    fingerprint = "one"

    def page(
        self, namespace: Namespace, name: ProjectName, caller: Credentials, *, fresh: bool = False
    ) -> ProjectPage:
        page = super().page(namespace, name, caller, fresh=fresh)
        return replace(
            page, fingerprint=self.fingerprint, validity=Validity("me", "journal", Position("epoch", 1), 10.0)
        )

    def is_valid(self, validity: Validity) -> bool:
        return not self.torn


@pytest.fixture
def store() -> ValidityStore:
    store = ValidityStore()
    for version in range(20):
        store.put(f"hello_world-{version}.0-py3-none-any.whl")
    return store


def get(client: FlaskClient, **headers: str) -> Any:
    return client.get(PAGE, headers=headers)


def test_same_answer_is_served_again(client: FlaskClient, store: ValidityStore) -> None:
    """With the same bytes and headers, without asking the store for the page."""
    first = get(client, **ME)
    assert len(store.calls) == 1
    again = get(client, **ME)
    assert len(store.calls) == 1
    assert (again.status, again.data, again.headers) == (first.status, first.data, first.headers)


def test_head_has_no_body(client: FlaskClient, store: ValidityStore) -> None:
    """It has the same headers."""
    first = get(client)
    again = client.head(PAGE)
    assert (len(store.calls), again.data, again.headers) == (1, b"", first.headers)


def test_who_has_it_gets_a_304(client: FlaskClient, store: ValidityStore) -> None:
    """With the headers of a 304, and no others."""
    etag = get(client).headers["ETag"]
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = get(client, **{"If-None-Match": condition})
        assert (again.status_code, again.data) == (304, b"")
        assert "Content-Length" not in again.headers
        assert again.headers["ETag"] == etag
        assert again.headers["Cache-Control"] == "private, no-cache"
    assert get(client, **{"If-None-Match": '"other"'}).status_code == 200
    assert len(store.calls) == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": "Basic bWU6b3RoZXI="}, id="another password"),
        pytest.param({"Authorization": "Bearer secret"}, id="a token"),
        pytest.param({}, id="nobody"),
        pytest.param({**ME, "Cache-Control": "no-cache"}, id="uv --refresh"),
        pytest.param({**ME, "Cache-Control": "max-age=0, No-Cache"}, id="no-cache among others"),
        pytest.param({**ME, "Accept": JSON}, id="another representation"),
        pytest.param({**ME, "Accept-Encoding": "gzip"}, id="another encoding"),
    ],
)
def test_another_request_is_asked_of_the_store(
    client: FlaskClient, store: ValidityStore, headers: dict[str, str]
) -> None:
    """The answer depends on each of these."""
    get(client, **ME)
    get(client, **headers)
    assert len(store.calls) == 2


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
def test_other_methods_pass(client: FlaskClient, store: ValidityStore, method: str) -> None:
    """Writes are never answered from the cache."""
    get(client)
    assert client.open(PAGE, method=method).status_code != 200


def test_a_page_with_a_body_passes(client: FlaskClient, store: ValidityStore) -> None:
    """The body has to be read to its end."""
    get(client)
    client.get(PAGE, data=b"x")
    assert len(store.calls) == 2


def test_expired_page_is_not_served_again(client: FlaskClient, store: ValidityStore) -> None:
    """A proof has expired, or something was written."""
    get(client)
    store.torn = True
    get(client)
    assert len(store.calls) == 2


def test_a_new_state_is_a_new_page(client: FlaskClient, store: ValidityStore) -> None:
    """A page of the old state is rendered once for all callers."""
    before = get(client)
    store.torn, store.fingerprint = True, "two"
    store.put("hello_world-99.0-py3-none-any.whl")
    assert b"99.0" in get(client).data
    assert get(client).headers["ETag"] != before.headers["ETag"]


def test_gzip_comes_again(client: FlaskClient, store: ValidityStore) -> None:
    """If the client accepts it."""
    for _ in range(2):
        answer = client.get(PAGE, headers={"Accept-Encoding": "gzip"})
        assert b"hello_world" in gzip.decompress(answer.data)
    assert len(store.calls) == 1


def test_admit_is_called_each_time(make_app: Any, store: ValidityStore) -> None:
    """The same page may be refused to another connection."""
    closed: list[bool] = []

    def admit(registry: Registry, environ: dict[str, Any]) -> None:
        if closed:
            raise Denied("not from there")

    client = make_app(admit=admit).test_client()
    assert client.get(PAGE).status_code == 200
    closed.append(True)
    assert client.get(PAGE).status_code == 403


def test_what_is_logged_of_it_is_the_same(app: Flask, store: ValidityStore) -> None:
    """Caller, registry and path; the caller as a keyed hash."""
    seen: list[list[Any]] = []

    def watch(environ: Any, start_response: Any) -> Any:
        body = inner(environ, start_response)
        seen.append([environ.get(name) for name in ("pyoci.caller", "pyoci.registry", "pyoci.path")])
        return body

    inner = app.wsgi_app
    app.wsgi_app = watch  # type: ignore[method-assign]
    for _ in range(2):
        app.test_client().get(PAGE, headers=ME)
    assert len(store.calls) == 1
    assert seen[0] == seen[1]
    assert seen[0][2] == "acme/hello-world"
    assert len(seen[0][0]) == 16


def test_a_long_address_is_not_remembered(client: FlaskClient, store: ValidityStore) -> None:
    """Thousands of invented addresses don't fill the memory."""
    for _ in range(2):
        client.get(f"{PAGE}?{'x' * 1000}", headers=ME)
    assert len(store.calls) == 2


def test_a_short_url_has_answers_of_its_own(make_app: MakeApp, store: ValidityStore) -> None:
    """They are cached like all others, with the same bytes as at the long URL."""
    client = make_app(short_urls=ShortUrls({"simple": ShortUrl("ghcr.io", ("acme",))})).test_client()
    long = get(client)
    short = [client.get("/simple/hello-world/") for _ in range(2)]
    assert len(store.calls) == 2
    assert [(again.data, again.headers) for again in short] == [(long.data, long.headers)] * 2


def test_version_page_is_cached_if_its_address_is_unambiguous(
    make_app: MakeApp, store: ValidityStore
) -> None:
    """Below a namespace, a project of that name may be published, which takes precedence: so the store is
    asked.
    """
    client = make_app(short_urls=ShortUrls({"simple": ShortUrl("ghcr.io", ("acme",))})).test_client()
    first, again, other = (client.get(f"/simple/hello-world/{v}.0/") for v in (3, 3, 4))
    assert (again.data, again.headers) == (first.data, first.headers)
    assert other.data != first.data
    assert len(store.calls) == 2
    unclear = [client.get(f"{PAGE}3.0/") for _ in range(2)]
    assert [answer.data for answer in unclear] == [first.data] * 2
    store.put("3_0-1.0.zip", namespace="ghcr.io/acme/hello-world")
    assert client.get(f"{PAGE}3.0/").headers["Location"] == "../3-0/"
