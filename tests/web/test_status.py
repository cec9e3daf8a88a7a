"""/health and /ready: whether this server lives, and whether requests should be sent to it."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import MakeApp
from tests.web.doubles import Registries


def test_alive_whatever_is_in_the_way(make_app: MakeApp) -> None:
    """A server that is restarted for a full disk would come back to a full disk."""
    client = make_app(not_ready_reason=lambda: "the disk is full").test_client()
    answer = client.get("/health", environ_overrides={"server.stopping": True})
    assert (answer.status_code, answer.text) == (200, "ok")


def test_ready(client: FlaskClient, registries: Registries) -> None:
    """Nobody keeps the answer, and no registry is asked for it."""
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
    """A 503 that says why, for GET and HEAD."""
    client = make_app(not_ready_reason=lambda: reason).test_client()
    answer = client.get("/ready", environ_overrides=environ)
    assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (503, sentence, "no-store")
    assert client.head("/ready", environ_overrides=environ).status_code == 503


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_never_below_the_prefix(make_app: MakeApp, path: str) -> None:
    """Whoever probes need not know PYOCI_PATH; and only reading is a probe."""
    client = make_app(path="/packages").test_client()
    assert client.get(path).status_code == 200
    assert client.get(f"/packages{path}").status_code == 404
    assert client.post(path).status_code == 405
