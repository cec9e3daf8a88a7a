"""/health and /ready, and the templates of routes."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.routing import BuildError

from pyoci.app import WORKER, create_app
from pyoci.config import Settings
from tests.web.conftest import MakeApp
from tests.web.doubles import Registries


def test_alive_with_a_full_disk(make_app: MakeApp) -> None:
    """A restart would not free the disk."""
    client = make_app(not_ready_reason=lambda: "the disk is full").test_client()
    answer = client.get("/health", environ_overrides={"server.stopping": True})
    assert (answer.status_code, answer.text) == (200, "ok")


def test_no_url_is_built_from_a_rule(app: Flask) -> None:
    """The code for that isn't compiled: it would take most of the time in which an application is made."""
    with app.test_request_context(), pytest.raises(BuildError):
        app.url_for("health.alive")


def test_ready(client: FlaskClient, registries: Registries) -> None:
    """The answer must not be cached, and no registry is asked for it."""
    answer = client.get("/ready")
    assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (200, "ready", "no-store")
    assert registries.asked == []


@pytest.mark.parametrize(
    ("reason", "environ", "sentence"),
    [
        pytest.param("the disk is full", {}, "not ready: the disk is full", id="reason"),
        pytest.param(None, {"server.stopping": True}, "not ready: this server is stopping", id="stopping"),
    ],
)
def test_not_ready(make_app: MakeApp, reason: str | None, environ: dict[str, bool], sentence: str) -> None:
    """A 503 with the reason, for GET and HEAD."""
    client = make_app(not_ready_reason=lambda: reason).test_client()
    answer = client.get("/ready", environ_overrides=environ)
    assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (503, sentence, "no-store")
    assert client.head("/ready", environ_overrides=environ).status_code == 503


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_never_below_the_prefix(make_app: MakeApp, path: str) -> None:
    """Probes don't know PYOCI_PATH. Only GET and HEAD are probes."""
    client = make_app(path="/packages").test_client()
    assert client.get(path).status_code == 200
    assert client.get(f"/packages{path}").status_code == 404
    assert client.post(path).status_code == 405


PROJECT = "/{registry}/{namespace}/{project}"
FILE = "hello_world-1.0-py3-none-any.whl"


@pytest.fixture
def asked() -> tuple[Flask, list[Any]]:
    """An application without telemetry, and the environ of each of its requests."""
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
    """It is the same for every registry, namespace, project, version and file."""
    app, seen = asked
    # No registry is asked: PYOCI_REGISTRIES would have to list this one.
    app.test_client().open(path, method=method, headers={"Authorization": "Basic ?"}).close()
    assert seen[-1].get("pyoci.route") == template


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/packages/lab/acme/hello-world/", "127.0.0.1:5000"),
        ("/packages/other/acme/", "127.0.0.1:5000"),
        ("/packages/127.0.0.1%3A5000/acme/", "127.0.0.1:5000"),
        ("/packages/ghcr.io/acme/hello-world/hello_world-1.0.tar.gz", "ghcr.io"),
        ("/packages/unknown.example/acme/", ""),
        ("/packages/favicon.ico", ""),
        ("/metrics", ""),
        ("/%zz", ""),
    ],
)
def test_the_registry_of_a_request_that_waits(path: str, host: str) -> None:
    """The worker learns it from the path; aliases of one registry are the same."""
    known = "lab=http://127.0.0.1:5000, other=http://127.0.0.1:5000, ghcr.io"
    app = create_app(Settings.from_environ({"PYOCI_REGISTRIES": known, "PYOCI_PATH": "/packages"}))
    assert app.extensions[WORKER].registry_of(path) == host


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/lab/acme/hello-world/", "127.0.0.1:5000"),
        ("/other/acme/", "127.0.0.1:5000"),
        ("/ghcr.io/acme/", ""),
        ("/quay.io/acme/", ""),
        ("/health", ""),
    ],
)
def test_the_group_in_which_a_request_waits(path: str, group: str) -> None:
    """A caller may name any number of registries that aren't listed: together they get one turn."""
    known = "lab=http://127.0.0.1:5000, other=http://127.0.0.1:5000, *"
    app = create_app(Settings.from_environ({"PYOCI_REGISTRIES": known}))
    assert app.extensions[WORKER].group_of(path) == group
