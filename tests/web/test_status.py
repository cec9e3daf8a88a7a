"""The status of a project through HTTP (PEP 792)."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from tests.web.doubles import MemoryStore

WHEEL = "hello_world-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _stored(store: MemoryStore) -> None:
    store.put(WHEEL)


@pytest.mark.parametrize(
    "path",
    [
        "/ghcr.io/acme/hello-world/",
        "/ghcr.io/acme/hello-world",
        "/ghcr.io/acme/Hello.World/",
        "/ghcr.io/acme/+simple/hello-world/",
        "/ghcr.io/acme/+simple/hello-world",
    ],
)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "archived"}, ""),
        ({"status": "archived", "reason": ""}, ""),
        ({"status": "archived", "reason": " use ☃ "}, "use ☃"),
    ],
)
def test_set(client: FlaskClient, store: MemoryStore, path: str, change: object, reason: str) -> None:
    """At the project's address, with its last slash or without, by any spelling of its name."""
    answer = client.patch(path, data=json.dumps(change))
    assert (answer.status_code, answer.text) == (200, "hello-world is archived")
    assert answer.headers["Cache-Control"] == "no-store"
    call, namespace, name, *values = store.calls[-1]
    assert (call, namespace, str(name), values) == (
        "set_status",
        "ghcr.io/acme",
        "hello-world",
        ["archived", reason],
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"archived",
        b"\xff",
        b"[]",
        b"{}",
        b'{"status": null}',
        b'{"status": true}',
        b'{"status": "archived", "reason": null}',
        b'{"status": "archived", "reason": 1}',
        b'{"status": "archived", "why": "x"}',
        b'{"status": "gone"}',
        b'{"status": ""}',
        b'{"status": "archived", "reason": "a\\nb"}',
        b'{"status": "archived", "reason": "\\ud800"}',
        json.dumps({"status": "archived", "reason": "x" * 1001}).encode(),
        b'{"yanked": true}',
        b"[" * 60_000,
    ],
)
def test_bad_bodies(client: FlaskClient, store: MemoryStore, body: bytes) -> None:
    """They are refused with one sentence that says what was expected."""
    answer = client.patch("/ghcr.io/acme/hello-world/", data=body)
    assert answer.status_code == 400
    assert "expected" in answer.text
    assert "\n" not in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ghcr.io/acme/other/", 404),
        ("/ghcr.io/acme/hello-world/1.0/", 404),
        (f"/ghcr.io/acme/hello-world/{WHEEL}", 404),
        ("/ghcr.io/acme/", 404),
        ("/ghcr.io/acme/hello-world/+0123456789abcdef/1.0", 405),
    ],
)
def test_other_addresses(client: FlaskClient, store: MemoryStore, path: str, status: int) -> None:
    """Only projects have a status."""
    answer = client.patch(path, json={"status": "archived"})
    assert answer.status_code == status
    assert [call for call in store.calls if call[0] == "yank"] == []


def test_wrong_password(client: FlaskClient, store: MemoryStore) -> None:
    """The registry decides."""
    store.password = "secret"
    answer = client.patch("/ghcr.io/acme/hello-world/", json={"status": "archived"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="pyoci"'
