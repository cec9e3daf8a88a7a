"""Registries that let anonymous callers read public content: one hides the rest with a 404, one never sends a
challenge.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pyoci.embedded import create_registry_app
from tests.builders import make_wheel
from tests.flows.conftest import MakeClient
from tests.flows.test_main_job import JSON, WHEEL, basic, upload
from tests.serving import served

ROOT = "/lab/acme/"
PAGE = f"{ROOT}hello-world/"
ME = basic("me", "hunter2")


@dataclass
class HalfOpenRegistry:
    """Writes need credentials. Reads are answered for everybody, with 404 if an anonymous caller has no
    access.
    """

    registry: Any
    seen: list[tuple[str, str, bool]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        known = environ.get("HTTP_AUTHORIZATION") == ME["Authorization"]
        self.seen.append((method, path, known))
        given = "HTTP_AUTHORIZATION" in environ
        if known:
            return self.registry(environ, start_response)
        if given or path == "/v2/" or method not in {"GET", "HEAD"}:
            return _refused(start_response, "401 Unauthorized", "UNAUTHORIZED")
        if path == "/v2/_catalog":
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "19")])
            return [b'{"repositories":[]}']
        return _refused(start_response, "404 Not Found", "NAME_UNKNOWN")


def _refused(start_response: Any, status: str, code: str) -> list[bytes]:
    body = json.dumps({"errors": [{"code": code}]}).encode()
    headers = [("Content-Length", str(len(body))), ("WWW-Authenticate", 'Basic realm="half-open"')]
    start_response(status, headers)
    return [body]


@pytest.fixture
def half_open(tmp_path: Path) -> HalfOpenRegistry:
    return HalfOpenRegistry(create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False))


@pytest.fixture
def published(make_client: MakeClient, half_open: HalfOpenRegistry) -> Iterator[FlaskClient]:
    """A client of PyOCI with an empty cache, before that registry with a wheel."""
    with served(half_open) as url:
        settings = {"PYOCI_REGISTRIES": f"lab={url}"}
        assert upload(make_client(**settings), url=ROOT, headers=ME).status_code == 200
        half_open.seen.clear()
        yield make_client(**settings)


def test_caller_with_credentials(published: FlaskClient, half_open: HalfOpenRegistry) -> None:
    """Page, root and file are found. The registry is pinged once; after that the credentials are sent at
    once.
    """
    for path in (PAGE, ROOT, f"{PAGE}{WHEEL}", f"{PAGE}{WHEEL}.metadata"):
        answer = published.get(path, headers=ME)
        assert answer.status_code == 200
    assert "hello-world" in published.get(ROOT, headers=ME).text
    assert len([path for _, path, _ in half_open.seen if path == "/v2/"]) == 1
    half_open.seen.clear()
    published.get(PAGE, headers={**ME, "Cache-Control": "no-cache"})
    assert half_open.seen[0] == ("GET", "/v2/acme/hello_world/tags/list", True)


def test_caller_with_wrong_credentials(published: FlaskClient) -> None:
    """A 401 and not a 404, after which a client would go on to the next package index."""
    assert published.get(PAGE, headers=basic("me", "wrong")).status_code == 401


def test_anonymous_caller(published: FlaskClient) -> None:
    """Gets the registry's answer."""
    assert published.get(PAGE).status_code == 404


YOU = basic("you", "hunter3")
CALLERS: dict[str, dict[str, str]] = {"stranger": {}, "you": YOU, "me": ME}
READABLE = {"stranger": {"open"}, "you": {"open", "team"}, "me": {"open", "team", "secret"}}


@dataclass
class FriendlyRegistry:
    """Like zot with a policy for anonymous callers: it answers them 200 at `/v2/`, with a challenge, and its
    list of repositories has what each caller may read.
    """

    registry: Any
    listed_for: list[str | None] = field(
        default_factory=list
    )  # the Authorization of each request for the list

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path, header = environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION")
        caller = next((name for name, sent in CALLERS.items() if sent.get("Authorization") == header), None)
        if caller is None:
            return _refused(start_response, "401 Unauthorized", "UNAUTHORIZED")
        if path == "/v2/":
            return _sent(start_response, {}, ("WWW-Authenticate", "basic realm="))
        if path == "/v2/_catalog":
            self.listed_for.append(header)
            names = [f"{top}/inner/{top}_project" for top in sorted(READABLE[caller])]
            return _sent(start_response, {"repositories": names})
        if path.split("/")[2] in READABLE[caller]:
            return self.registry(environ, start_response)
        return _refused(start_response, "401 Unauthorized" if header is None else "403 Forbidden", "DENIED")


def _sent(start_response: Any, document: dict[str, Any], *more: tuple[str, str]) -> list[bytes]:
    body = json.dumps(document).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *more]
    )
    return [body]


@pytest.mark.parametrize("order", list(itertools.permutations(CALLERS)), ids=" ".join)
def test_registry_that_lists_less_to_anonymous_callers(
    make_client: MakeClient, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """Each caller sees the projects that the registry lists to them, whoever came before. Upstream is never
    asked for the name of a namespace.
    """
    registry = FriendlyRegistry(create_registry_app(tmp_path / "remote", htpasswd=None, local_only=False))
    upstream = OtherIndex()
    with served(registry) as url, served(upstream) as other:
        client = make_client(PYOCI_REGISTRIES=f"lab={url}", PYOCI_UPSTREAM_INDEX=f"{other}/simple/")
        for namespace in READABLE["me"]:
            file = make_wheel(f"{namespace}-project")
            assert upload(client, *file, url=f"/lab/{namespace}/inner/", headers=ME).status_code == 200
        registry.listed_for.clear()
        seen = {
            (caller, namespace): _projects(client, f"/lab/{namespace}/inner/", CALLERS[caller])
            for _ in range(2)
            for caller in order
            for namespace in READABLE["me"]
        }
    assert seen == {
        (caller, namespace): [f"{namespace}-project"] if namespace in readable else None
        for caller, readable in READABLE.items()
        for namespace in READABLE["me"]
    }
    assert upstream.asked == []
    assert set(registry.listed_for) == {sent.get("Authorization") for sent in CALLERS.values()}


def _projects(client: FlaskClient, root: str, headers: dict[str, str]) -> list[str] | None:
    """The projects of a root; None if the caller is refused."""
    answer = client.get(root, headers={**headers, **JSON})
    if answer.status_code in {401, 403}:
        return None
    return [project["name"] for project in answer.get_json()["projects"]]


@dataclass
class OtherIndex:
    """An upstream without any project."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.asked.append(environ["PATH_INFO"])
        return _refused(start_response, "404 Not Found", "")
