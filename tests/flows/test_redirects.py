"""Registries that redirect blob downloads: PyOCI follows the redirects, or passes them on if configured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pyoci.embedded import create_registry_app
from tests.flows.conftest import MakeClient
from tests.flows.test_main_job import BYTES, WHEEL, basic, upload
from tests.serving import served

ROOT = "/lab/acme/"
FILE = f"{ROOT}hello-world/{WHEEL}"
DIGEST_FILE = f"{ROOT}hello-world/+{hashlib.sha256(BYTES).hexdigest()[:16]}/{WHEEL}"


@dataclass
class RegistryWithStorage:
    """A registry that answers GET of a blob with a redirect; the storage refuses an Authorization header, as
    Azure's does, and HEAD, as signed URLs often do.
    """

    registry: Callable[..., Any]
    storage_url: str = ""
    locate: Callable[[str], str] | None = None
    seen: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        blob = re.fullmatch(r"/v2/.*/blobs/sha256:[0-9a-f]{64}", environ["PATH_INFO"])
        if environ["REQUEST_METHOD"] != "GET" or not blob:
            return self.registry(environ, start_response)
        url = f"{self.storage_url}{environ['PATH_INFO']}?signature=se%2Fcret"
        location = self.locate(url) if self.locate else url
        start_response("307 Temporary Redirect", [("Location", location), ("Content-Length", "0")])
        return [b""]

    def storage(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.seen.append({key: value for key, value in environ.items() if key.startswith(("HTTP_", "QUERY"))})
        signed = environ.get("QUERY_STRING") == "signature=se%2Fcret"
        if "HTTP_AUTHORIZATION" in environ or environ["REQUEST_METHOD"] != "GET" or not signed:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        return self.registry(environ, start_response)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RegistryWithStorage]:
    registry = create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False)
    made = RegistryWithStorage(registry)
    with served(made.storage, "127.0.0.2") as made.storage_url:
        yield made


@pytest.fixture
def make_published(make_client: MakeClient, remote: RegistryWithStorage) -> Iterator[MakeClient]:
    """Makes clients of an application before that registry, with a wheel in it."""
    with served(remote) as url:

        def make(**environ: str) -> FlaskClient:
            client = make_client(PYOCI_REGISTRIES=f"lab={url}", **environ)
            assert upload(client, url=ROOT, headers=basic("me", "hunter2")).status_code == 200
            return client

        yield make


@pytest.mark.parametrize("path", [FILE, DIGEST_FILE], ids=["plain", "digest"])
def test_a_redirect_is_followed_and_no_credential_goes_along(
    make_published: MakeClient, remote: RegistryWithStorage, path: str
) -> None:
    """The bytes are verified and passed on, also for Range. The signed URL isn't changed."""
    client = make_published()
    for headers, status, content in (({}, 200, BYTES), ({"Range": "bytes=5-9"}, 206, BYTES[5:10])):
        answer = client.get(path, headers={**basic("me", "hunter2"), **headers})
        assert (answer.status_code, answer.data) == (status, content)
    assert client.get(f"{path}.metadata", headers=basic("me", "hunter2")).status_code == 200
    assert len(remote.seen) == 3
    assert all("HTTP_AUTHORIZATION" not in request for request in remote.seen)


@pytest.mark.parametrize("path", [FILE, DIGEST_FILE], ids=["plain", "digest"])
def test_a_redirect_is_passed_on_where_that_is_wanted(
    make_published: MakeClient, remote: RegistryWithStorage, path: str
) -> None:
    """As a 307 that isn't cached. The bytes don't pass through PyOCI."""
    client = make_published(PYOCI_REDIRECT="yes")
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (307, "no-store")
    assert answer.headers["Location"].startswith(f"{remote.storage_url}/v2/acme/hello_world/blobs/sha256:")
    assert answer.headers["Location"].endswith("?signature=se%2Fcret")
    assert remote.seen == []


@pytest.mark.parametrize(
    ("method", "headers"),
    [("HEAD", {}), ("GET", {"Range": "bytes=-10"}), ("GET", {"Range": "bytes=0-"})],
    ids=["HEAD", "tail", "from"],
)
def test_head_and_range_are_always_served_here(
    make_published: MakeClient, method: str, headers: dict[str, str]
) -> None:
    """uv's Range requests and pip's fast-deps don't follow a redirect; HEAD of a signed URL often fails."""
    answer = make_published(PYOCI_REDIRECT="yes").open(FILE, method=method, headers=headers)
    assert answer.status_code in {200, 206}
    assert "Location" not in answer.headers


def test_metadata_is_always_served_here(make_published: MakeClient) -> None:
    """Every client must be able to get it."""
    assert make_published(PYOCI_REDIRECT="yes").get(f"{FILE}.metadata").status_code == 200


@pytest.mark.parametrize(
    "known_by",
    [
        {"wsgi.url_scheme": "https"},
        {"HTTP_X_FORWARDED_PROTO": "https"},
        {"HTTP_HOST": "127.0.0.2:9999"},
        {"HTTP_HOST": "127.0.0.2."},
        {"HTTP_X_FORWARDED_HOST": "example.org, 127.0.0.2"},
    ],
    ids=str,
)
def test_a_client_is_never_sent_where_its_credentials_would_follow(
    make_published: MakeClient, known_by: dict[str, str]
) -> None:
    """Neither from https to http, nor to PyOCI's host name at another port. The bytes then pass through
    PyOCI.
    """
    client = make_published(PYOCI_REDIRECT="yes")
    answer = client.get(FILE, environ_overrides=known_by)
    assert (answer.status_code, answer.data) == (200, BYTES)


@pytest.mark.parametrize("host", ["[", "a]", "[::1", "\xe9", "a b", "", ",,", "a" * 5000])
def test_invalid_forwarded_host(make_published: MakeClient, host: str) -> None:
    """A proxy may send anything."""
    answer = make_published(PYOCI_REDIRECT="yes").get(FILE, headers={"X-Forwarded-Host": host})
    assert answer.status_code in {200, 307}


LIES = [
    ("http://169.254.169.254/latest/", 403),
    ("http://[::ffff:169.254.169.254]/", 403),
    ("http://0.0.0.0/", 403),
    ("embedded://local/v2/acme/hello_world/blobs/x", 502),
    ("file:///etc/passwd", 502),
    ("http://user:pw@127.0.0.2/", 502),
    ("//", 502),
    ("http://127.0.0.1:99999/", 502),
]


@pytest.mark.parametrize(("location", "status"), LIES, ids=[location for location, _ in LIES])
@pytest.mark.parametrize("redirect", ["yes", "no"])
def test_a_redirect_into_the_network_is_refused(
    make_published: MakeClient, remote: RegistryWithStorage, location: str, status: int, redirect: str
) -> None:
    """Because of its address or scheme, or because it is invalid."""
    client = make_published(PYOCI_REDIRECT=redirect)
    remote.locate = lambda _url: location
    answer = client.get(FILE)
    assert answer.status_code == status
    assert "Location" not in answer.headers


def test_a_loop_of_redirects_ends(make_published: MakeClient, remote: RegistryWithStorage) -> None:
    """After five redirects."""
    client = make_published()
    remote.locate = lambda url: url.replace(remote.storage_url, "")
    assert client.get(FILE).status_code == 502


def test_no_internal_address_reaches_a_caller(make_client: MakeClient, remote: RegistryWithStorage) -> None:
    """A registry with an alias is called by it in every message, and so are the hosts that it names."""
    with served(remote) as url:
        client = make_client(PYOCI_REGISTRIES=f"lab={url}, gone=http://127.0.0.1:9")
        upload(client, url=ROOT)
        remote.locate = lambda _url: "http://127.0.0.3:9/blob"
        answers = [
            client.get("/gone/acme/hello-world/"),
            client.get(f"{ROOT}nothing/"),
            client.get(FILE),
            client.get(f"{ROOT}hello-world/", environ_overrides={"HTTP_AUTHORIZATION": "Basic !"}),
        ]
    assert [answer.status_code for answer in answers] == [503, 404, 503, 401]
    for answer in answers:
        assert "127.0.0" not in answer.text + answer.status + str(answer.headers)
