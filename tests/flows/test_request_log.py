"""The log line of a request: what went wrong, with which file, and for whom."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pyoci.errors import Exhausted
from tests.builders import make_wheel
from tests.flows.conftest import Lines, MakeClient

ROOT = "/local/acme/"
WHEEL, BYTES = make_wheel()


def basic(pair: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def upload(client: FlaskClient, **fields: str) -> int:
    form: dict[str, Any] = {"name": "Hello.World", "content": (io.BytesIO(BYTES), WHEEL)}
    return client.post(ROOT, data=form | fields).status_code


def last(lines: Lines) -> dict[str, Any]:
    return [line for line in lines.read_lines() if line["event"] == "request"][-1]


def test_an_upload(client: FlaskClient, lines: Lines) -> None:
    """The project as the form spells it, and the file. There is no error field."""
    assert upload(client) == 200
    line = last(lines)
    assert (line["level"], line["project"], line["file"]) == ("info", "Hello.World", WHEEL)
    assert "error" not in line


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"version": "2.0"}, 400, "InvalidRequest: the form's version is '2.0'; expected 1.0, as the file"),
        ({":action": "submit"}, 410, "Withdrawn: "),
    ],
)
def test_a_refused_upload(
    client: FlaskClient, lines: Lines, fields: dict[str, str], status: int, error: str
) -> None:
    """The kind of error, and the sentence that the client got."""
    assert upload(client, **fields) == status
    line = last(lines)
    assert line["error"].startswith(error)
    assert (line["status"], line["level"], line["file"]) == (status, "info", WHEEL)


@pytest.mark.parametrize(
    ("method", "path", "project", "file", "error"),
    [
        ("GET", "hello-world/", "hello-world", None, "NotFound: there is no project hello-world here"),
        ("GET", f"hello-world/{WHEEL}", "hello-world", WHEEL, f"NotFound: hello-world has no file {WHEEL}"),
        ("DELETE", "hello-world/1.0", "hello-world", "1.0", "NotFound: "),
        ("GET", "", None, None, None),
        ("PUT", "hello-world/", None, None, "MethodNotAllowed: PUT is not allowed at this address"),
    ],
)
def test_other_requests(
    client: FlaskClient,
    lines: Lines,
    method: str,
    path: str,
    project: str | None,
    file: str | None,
    error: str | None,
) -> None:
    """The project and file of the request, whether they exist or not."""
    client.open(f"{ROOT}{path}", method=method)
    line = last(lines)
    assert (line.get("project"), line.get("file"), line["level"]) == (project, file, "info")
    assert line.get("error", "").startswith(error or "")
    assert ("error" in line) is (error is not None)


@pytest.mark.parametrize(
    ("pair", "user"),
    [
        ("me:secret", "me"),
        ("me@example.com:secret", "me@example.com"),
        ("\u00fcser:secret", "\u00fcser"),
        ("u" * 300 + ":secret", "u" * 255),
        ("token-in-its-place:", None),
        ("token-in-its-place:x-oauth-basic", None),
    ],
)
def test_the_user(client: FlaskClient, lines: Lines, pair: str, user: str | None) -> None:
    """The Basic user name, unless it may be a token. Also for a cached page."""
    upload(client)
    for _ in range(2):
        client.get(f"{ROOT}hello-world/", headers=basic(pair))
        assert last(lines).get("user") == user
    assert "secret" not in lines.getvalue()
    assert "token-in-its-place" not in lines.getvalue()


def test_no_user(make_client: MakeClient, lines: Lines) -> None:
    """PYOCI_LOG_USER=no leaves it out."""
    client = make_client(PYOCI_LOG_USER="no")
    client.get(f"{ROOT}hello-world/", headers=basic("me:secret"))
    assert "user" not in last(lines)
    assert "caller" in last(lines)


def test_an_outage_is_an_error(make_client: MakeClient, lines: Lines, tmp_path: Path) -> None:
    """PYOCI_LOG=warning shows it, and no successful request. The audit line of a write has no level."""
    client = make_client(PYOCI_LOG="warning")
    upload(client)
    assert [line["room"] for line in lines.read_lines()] == ["pyoci.audit"]
    (tmp_path / "registry").rename(tmp_path / "gone")
    (tmp_path / "registry").write_text("no directory")
    answer = client.get(f"{ROOT}other/")
    assert answer.status_code >= 500
    line = last(lines)
    assert (line["level"], line["status"]) == ("error", answer.status_code)
    assert line["error"].partition(": ")[2] == answer.text
    assert line["project"] == "other"


def test_an_error_of_another_package_counts_as_its_kind() -> None:
    """RegistryDenied is Denied."""

    class Local(Exhausted):
        pass

    assert Local("no memory").kind == "Exhausted"
