"""The template of a route is left for whoever counts requests."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request

from pyoci.app import create_app
from pyoci.config import Settings

PROJECT = "/{registry}/{namespace}/{project}"
FILE = "hello_world-1.0-py3-none-any.whl"


@pytest.fixture
def asked() -> tuple[Flask, list[Any]]:
    """PyOCI that nobody watches, and the environ of each request."""
    app = create_app(Settings.from_environ({"PYOCI_LOG": "off"}))
    seen: list[Any] = []
    app.before_request(lambda: seen.append(request.environ))
    return app, seen


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/health", "/health"),
        ("GET", "/", "/"),
        ("GET", "/ghcr.io/acme/", "/{registry}/{namespace}/"),
        ("GET", "/ghcr.io/acme/hello-world/", f"{PROJECT}/"),
        ("GET", "/ghcr.io/acme/deep/hello-world/", f"{PROJECT}/"),
        ("GET", "/http://localhost:5000/acme/", "/{registry}/{namespace}/"),
        ("GET", "/ghcr.io/acme/hello-world/json", f"{PROJECT}/json"),
        ("GET", f"/ghcr.io/acme/hello-world/{FILE}", f"{PROJECT}/{{filename}}"),
        ("GET", f"/ghcr.io/acme/hello-world/{FILE}.metadata", f"{PROJECT}/{{filename}}.metadata"),
        ("PATCH", "/ghcr.io/acme/hello-world/1.0", f"{PROJECT}/{{target}}"),
        ("POST", "/ghcr.io/acme/", "/{registry}/{namespace}/"),
        ("GET", "/ghcr.io/acme/+simple/hello-world/1.0/", f"{PROJECT}/{{version}}/"),
        ("GET", "/ghcr.io/acme/+simple/hello-world/1.0/json", f"{PROJECT}/{{version}}/json"),
        ("GET", f"/ghcr.io/acme/hello-world/+0123456789abcdef/{FILE}", f"{PROJECT}/{{digest}}/{{filename}}"),
        ("GET", "/nobody/acme/", "/{registry}/"),
        ("BREW", "/ghcr.io/acme/", None),
    ],
)
def test_template(asked: tuple[Flask, list[Any]], method: str, path: str, template: str | None) -> None:
    """The same for every registry, namespace, project, version and file."""
    app, seen = asked
    # No registry is asked: PYOCI_REGISTRIES would have to list this one.
    app.test_client().open(path, method=method, headers={"Authorization": "Basic ?"}).close()
    assert seen[-1].get("pyoci.route") == template
