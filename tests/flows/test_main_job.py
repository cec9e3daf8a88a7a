"""Publish, list, download, yank, delete: whole requests through all packages."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.distributions.filenames import SDIST_ENDINGS
from tests.builders import make_metadata, make_sdist, make_wheel, make_zip
from tests.flows.conftest import Lines, MakeClient

ROOT = "/local/acme/"
WHEEL, BYTES = make_wheel(requires_python=">=3.9")
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


def upload(client: FlaskClient, filename: str = WHEEL, data: bytes = BYTES, **changes: Any) -> TestResponse:
    """Post the form like twine. None leaves a field out."""
    headers = changes.pop("headers", {})
    url = changes.pop("url", ROOT)
    name, version = filename.split("-")[:2]
    fields: dict[str, Any] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": name,
        "version": version.removesuffix(".tar.gz"),
        "sha256_digest": hashlib.sha256(data).hexdigest(),
        "content": [(data, filename)],
        **changes,
    }
    form = {key: value for key, value in fields.items() if value is not None}
    form["content"] = [(io.BytesIO(content), called) for content, called in form.get("content", [])]
    return client.post(url, data=form, headers=headers, content_type="multipart/form-data")


def versions(client: FlaskClient, project: str = "hello-world") -> list[str]:
    return list(client.get(f"{ROOT}{project}/", headers=JSON).get_json()["versions"])


def test_the_main_job(client: FlaskClient) -> None:
    """A wheel is published, listed, downloaded, yanked and deleted."""
    assert upload(client).status_code == 200
    (file,) = client.get(f"{ROOT}hello-world/", headers=JSON).get_json()["files"]
    assert file["filename"] == WHEEL
    assert file["url"] == f"+{file['hashes']['sha256'][:16]}/{WHEEL}"
    assert file["requires-python"] == ">=3.9"
    assert client.get(f"{ROOT}hello-world/{file['url']}").data == BYTES
    metadata = client.get(f"{ROOT}hello-world/{file['url']}.metadata").data
    assert metadata == make_metadata(requires_python=">=3.9")
    assert hashlib.sha256(metadata).hexdigest() == file["core-metadata"]["sha256"]
    assert f'<a href="{file["url"]}#sha256=' in client.get(f"{ROOT}hello-world/").text
    assert 'href="hello-world/"' in client.get(ROOT).text


def test_an_upload_is_read_back_after_a_pause(tmp_path: Path) -> None:
    """Twice, since a writer elsewhere may have overwritten it meanwhile. `sleep` is called for each."""
    slept: list[float] = []
    settings = Settings.from_environ({"PYOCI_EMBEDDED": str(tmp_path), "PYOCI_LOG": "off"})
    assert upload(create_app(settings, sleep=slept.append).test_client()).status_code == 200
    assert len(slept) == 2
    assert min(slept) > 0


def test_head_and_range(client: FlaskClient) -> None:
    """Requests of uv and poetry before they download a wheel."""
    upload(client)
    head = client.head(f"{ROOT}hello-world/{WHEEL}")
    assert (head.status_code, head.content_length, head.headers["Accept-Ranges"]) == (
        200,
        len(BYTES),
        "bytes",
    )
    tail = client.get(f"{ROOT}hello-world/{WHEEL}", headers={"Range": "bytes=-10"})
    assert (tail.status_code, tail.data) == (206, BYTES[-10:])
    assert client.get(f"{ROOT}hello-world/{WHEEL}", headers={"Range": "bytes=999999-"}).status_code == 416


def test_again_and_other(client: FlaskClient) -> None:
    """The same file again is a 200; a different one under its name is a 409 with the sentence in the reason
    phrase.
    """
    upload(client)
    assert upload(client).status_code == 200
    other = upload(client, data=make_wheel(requires=["x"])[1])
    digest = hashlib.sha256(BYTES).hexdigest()
    assert other.status == f"409 File already exists ('{WHEEL}', with sha256 hash '{digest}')."
    assert client.get(f"{ROOT}hello-world/{WHEEL}").data == BYTES


def test_yank_and_delete(client: FlaskClient) -> None:
    """By file and by version."""
    upload(client)
    upload(client, *make_sdist())
    page = f"{ROOT}hello-world/"
    assert client.patch(f"{page}1.0", json={"yanked": "broken"}).status_code == 200
    assert {file["yanked"] for file in client.get(page, headers=JSON).get_json()["files"]} == {"broken"}
    assert client.patch(f"{page}{WHEEL}", json={"yanked": False}).status_code == 200
    assert client.delete(f"{page}{WHEEL}").status_code == 200
    assert client.get(f"{page}{WHEEL}").status_code == 404
    assert client.delete(f"{page}1.0").status_code == 200
    assert versions(client) == []


@pytest.mark.parametrize("ending", SDIST_ENDINGS)
def test_an_sdist(client: FlaskClient, ending: str) -> None:
    """Every kind of sdist is published, listed in all formats, downloaded, yanked and deleted."""
    filename, content = make_sdist(ending=ending)
    assert upload(client, filename, content, version="1.0", filetype="sdist").status_code == 200
    page = f"{ROOT}hello-world/"
    (file,) = client.get(page, headers=JSON).get_json()["files"]
    assert (file["filename"], file["size"]) == (filename, len(content))
    assert f">{filename}</a>" in client.get(page).text
    (release,) = client.get(f"{page}json").get_json()["releases"]["1.0"]
    assert (release["filename"], release["packagetype"]) == (filename, "sdist")
    assert [client.get(f"{page}{path}").data for path in (file["url"], filename)] == [content] * 2
    assert [each["filename"] for each in client.get(f"{page}1.0/", headers=JSON).get_json()["files"]] == [
        filename
    ]
    assert client.patch(f"{page}{filename}", json={"yanked": "broken"}).status_code == 200
    assert client.get(page, headers=JSON).get_json()["files"][0]["yanked"] == "broken"
    assert client.delete(f"{page}{filename}").status_code == 200
    assert client.get(f"{page}{filename}").status_code == 404


def test_legacy_json(client: FlaskClient) -> None:
    """Renovate requests it first."""
    upload(client)
    document = client.get(f"{ROOT}hello-world/json").get_json()
    (release,) = document["releases"]["1.0"]
    below = f"+{release['digests']['sha256'][:16]}/{WHEEL}"
    assert release["url"] == f"http://localhost{ROOT}hello-world/{below}"
    assert document["info"]["version"] == "1.0"


def test_below_a_path(make_client: MakeClient) -> None:
    """PYOCI_PATH is a prefix of the package index. Links are relative, so they work."""
    client = make_client(PYOCI_PATH="/packages")
    assert upload(client, url=f"/packages{ROOT}").status_code == 200
    assert client.get(f"/packages{ROOT}hello-world/").status_code == 200
    assert client.get(f"{ROOT}hello-world/").status_code == 404
    assert client.get("/health").status_code == 200


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("wrong protocol version", {"protocol_version": "2"}, 400, "protocol_version"),
    ("wrong action", {":action": "dance"}, 400, "file_upload"),
    ("old action", {":action": "submit"}, 410, "submit"),
    ("attestations", {"attestations": "{}"}, 400, "JSON array"),
    ("no content", {"content": None}, 400, "content"),
    ("two contents", {"content": [(b"a", WHEEL), (b"b", WHEEL)]}, 400, "content"),
    ("slash", {"content": [(BYTES, f"a/{WHEEL}")]}, 400, "file name"),
    ("dots", {"content": [(BYTES, f"..{WHEEL}")]}, 400, "file name"),
    ("not a zip", {"content": [(b"no", WHEEL)], "sha256_digest": None}, 400, "zip"),
    ("no metadata", {"content": [(make_zip({"a.py": b""}), WHEEL)], "sha256_digest": None}, 400, "METADATA"),
    ("other project", {"name": "other"}, 400, "expected hello-world"),
    ("digest differs", {"sha256_digest": "0" * 64}, 400, "sha256"),
    ("no version of PEP 440", {"version": "one"}, 400, "PEP 440"),
]


@pytest.mark.parametrize(
    ("changes", "status", "sentence"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_gets_a_sentence_and_nothing_is_stored(
    client: FlaskClient, changes: dict[str, Any], status: int, sentence: str
) -> None:
    """In the body and in the reason phrase, which is all that twine prints."""
    answer = upload(client, **changes)
    assert answer.status_code == status
    assert sentence in answer.text
    assert sentence in answer.status
    assert client.get("/v2/_catalog").get_json() == {"repositories": []}


def test_a_long_version_has_no_tag(client: FlaskClient) -> None:
    """A tag has at most 128 characters."""
    answer = upload(client, *make_wheel(version="1.0+" + "a" * 130))
    assert (answer.status_code, "at most 128 characters" in answer.text) == (400, True)


def test_a_body_over_the_limit(make_client: MakeClient) -> None:
    """413 names the limit and its setting."""
    client = make_client(PYOCI_MAX_BODY="1000")
    answer = upload(client, data=b"x" * 2000)
    assert answer.status_code == 413
    assert "PYOCI_MAX_BODY" in answer.text
    assert "1000" in answer.text.replace(",", "")


class TestWhoIsServed:
    """Without passwords the embedded registry is only for programs on this machine."""

    @pytest.mark.parametrize(
        "change",
        [
            {"REMOTE_ADDR": "192.0.2.1"},
            {"HTTP_HOST": "packages.example.com"},
            {"HTTP_X_FORWARDED_FOR": "192.0.2.1"},
            {"HTTP_FORWARDED": "for=192.0.2.1"},
            {"HTTP_ORIGIN": "https://evil.example"},
            {"HTTP_SEC_FETCH_SITE": "cross-site"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_nobody_else(self, client: FlaskClient, change: dict[str, str]) -> None:
        """At the package index and at /v2/. The message names the setting."""
        upload(client)
        for path in (ROOT, f"{ROOT}hello-world/", f"{ROOT}hello-world/{WHEEL}", "/v2/", "/v2/_catalog"):
            answer = client.get(path, environ_overrides=change)
            assert answer.status_code == 403
            assert "PYOCI_EMBEDDED_HTPASSWD" in answer.text

    @pytest.fixture
    def guarded(self, make_client: MakeClient, tmp_path: Path) -> FlaskClient:
        passwords = tmp_path / "htpasswd"
        hashed = bcrypt.hashpw(b"hunter2", bcrypt.gensalt(4)).decode()
        passwords.write_text(f"me:{hashed}\n")
        return make_client(PYOCI_EMBEDDED_HTPASSWD=str(passwords), PYOCI_BEARER_USERNAME="__token__")

    def test_with_passwords(self, guarded: FlaskClient) -> None:
        """From any address."""
        far = {"REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "packages.example.com"}
        guarded.environ_base.update(far)
        assert upload(guarded, headers=basic("me", "hunter2")).status_code == 200
        assert guarded.get(f"{ROOT}hello-world/", headers=basic("me", "hunter2")).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Authorization": "Basic !"}, {"Authorization": "Bearer x"}, {"Authorization": "Digest x"}],
    )
    def test_without_a_password(self, guarded: FlaskClient, headers: dict[str, str]) -> None:
        """401 with a challenge, on every path, whatever is cached."""
        upload(guarded, headers=basic("me", "hunter2"))
        for method, path in (
            ("GET", ROOT),
            ("GET", f"{ROOT}hello-world/"),
            ("GET", f"{ROOT}hello-world/{WHEEL}"),
            ("HEAD", f"{ROOT}hello-world/{WHEEL}"),
            ("GET", f"{ROOT}hello-world/{WHEEL}.metadata"),
            ("DELETE", f"{ROOT}hello-world/{WHEEL}"),
            ("GET", "/v2/"),
        ):
            answer = guarded.open(path, method=method, headers=headers)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="pyoci"')
        assert upload(guarded, headers=headers).status_code == 401
        assert guarded.get(f"{ROOT}hello-world/", headers=basic("me", "hunter2")).status_code == 200


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


class TestRequestLog:
    """One line for each request, without credentials."""

    def test_has_the_request(self, client: FlaskClient, lines: Lines) -> None:
        """Method, path, status, duration, caller, registry, repository."""
        client.get(f"{ROOT}hello-world/?token=secret", headers=basic("me", "hunter2"))
        (line,) = lines.read_lines()
        assert (line["method"], line["path"], line["status"]) == ("GET", f"{ROOT}hello-world/", 404)
        assert (line["registry"], line["repository"]) == ("local", "acme/hello-world")
        assert len(line["caller"]) == 16
        assert line["duration"] >= 0

    def test_callers_differ(self, client: FlaskClient, lines: Lines) -> None:
        """The hash is the same for one caller, and `anonymous` without credentials."""
        for headers in (basic("a", "x"), basic("a", "x"), basic("a", "y"), {}):
            client.get(ROOT, headers=headers)
        callers = [line["caller"] for line in lines.read_lines()]
        assert callers[0] == callers[1]
        assert len(set(callers)) == 3
        assert callers[3] == "anonymous"

    def test_has_no_credentials(self, make_client: MakeClient, lines: Lines) -> None:
        """At any level, in any form, on any path."""
        client = make_client(PYOCI_LOG="debug", PYOCI_BEARER_USERNAME="__token__")
        for headers in (
            basic("spy", "hunter2"),
            basic("__token__", "hunter2"),
            {"Authorization": "Bearer hunter2"},
            {"Authorization": "Basic hunter2"},
        ):
            upload(client, headers=headers)
            client.get(f"{ROOT}hello-world/", headers=headers)
            client.get("/https://spy:hunter2@ghcr.io/acme/x/", headers=headers)
            client.get("/spy:hunter2@ghcr.io/acme/x/?password=hunter2", headers=headers)
        text = lines.getvalue()
        assert text
        for secret in ("hunter2", base64.b64encode(b"spy:hunter2").decode(), "aHVudGVyM"):
            assert secret not in text
