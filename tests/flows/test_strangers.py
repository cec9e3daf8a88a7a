"""A registry that lets strangers read what is public, and hides the rest from them with a 404."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pyoci.embedded import create_registry_app
from tests.flows.conftest import MakeClient
from tests.flows.test_main_job import WHEEL, basic, upload
from tests.serving import served

ROOT = "/lab/acme/"
PAGE = f"{ROOT}hello-world/"
ME = basic("me", "hunter2")


@dataclass
class HalfOpenRegistry:
    """Writes need credentials; reads are answered to everybody, with 404 where a stranger may not look."""

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
    """A client of PyOCI that has asked that registry nothing yet; a wheel is in it."""
    with served(half_open) as url:
        settings = {"PYOCI_REGISTRIES": f"lab={url}"}
        assert upload(make_client(**settings), url=ROOT, headers=ME).status_code == 200
        half_open.seen.clear()
        yield make_client(**settings)


def test_who_has_credentials_is_no_stranger(published: FlaskClient, half_open: HalfOpenRegistry) -> None:
    """Page, root and file are found; the door is asked once, and then credentials come at once."""
    for path in (PAGE, ROOT, f"{PAGE}{WHEEL}", f"{PAGE}{WHEEL}.metadata"):
        answer = published.get(path, headers=ME)
        assert answer.status_code == 200
    assert "hello-world" in published.get(ROOT, headers=ME).text
    assert len([path for _, path, _ in half_open.seen if path == "/v2/"]) == 1
    half_open.seen.clear()
    published.get(PAGE, headers={**ME, "Cache-Control": "no-cache"})
    assert half_open.seen[0] == ("GET", "/v2/acme/hello_world/tags/list", True)


def test_who_has_wrong_ones_is_told_so(published: FlaskClient) -> None:
    """Not that the project is absent: a client would go on to the next package index."""
    assert published.get(PAGE, headers=basic("me", "wrong")).status_code == 401


def test_who_has_none_is_a_stranger(published: FlaskClient) -> None:
    """And is told what the registry tells strangers."""
    assert published.get(PAGE).status_code == 404
