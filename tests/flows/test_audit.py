"""The audit log: one line for each write, whatever becomes of it."""

from __future__ import annotations

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import bcrypt
import pytest
from flask.testing import FlaskClient

from tests.builders import make_sdist, make_wheel
from tests.docs.pages import source
from tests.flows.conftest import Lines, MakeClient
from tests.flows.test_request_log import basic

ROOT = "/local/acme/"
WHEEL, BYTES = make_wheel()
SHA256 = hashlib.sha256(BYTES).hexdigest()
DIFFERS = {"timestamp", "caller"}  # from run to run
REGISTRY = {"level": "info", "room": "pyoci.audit", "event": "audit", "registry": "local"}


def upload(
    client: FlaskClient, file: tuple[str, bytes] = (WHEEL, BYTES), url: str = ROOT, **settings: Any
) -> int:
    form: dict[str, Any] = {"name": "Hello.World", "content": (io.BytesIO(file[1]), file[0])}
    return client.post(url, data=form, **settings).status_code


def audited(lines: Lines) -> list[dict[str, Any]]:
    return [line for line in lines.read_lines() if line["event"] == "audit"]


def last(lines: Lines) -> dict[str, Any]:
    """The newest line, without what differs from run to run, and what all lines have."""
    line = audited(lines)[-1]
    assert line.items() >= REGISTRY.items()
    return {key: value for key, value in line.items() if key not in {*DIFFERS, *REGISTRY}}


def test_the_documented_example(client: FlaskClient, lines: Lines) -> None:
    """What docs/operations.rst shows is what is written, key by key and in the same order."""
    headers = {**basic("alice:secret"), "User-Agent": "twine/7.0.0 CPython/3.13"}
    assert upload(client, headers=headers) == 200
    text = source("docs/operations").read_text()
    start = text.index('   {"level": "info", "room": "pyoci.audit"')
    example = json.loads(text[start : text.index("}", start) + 1])
    (line,) = audited(lines)
    assert list(line) == list(example)
    shown = {key: value for key, value in line.items() if key not in {*DIFFERS, "sha256"}}
    assert shown == {key: value for key, value in example.items() if key not in {*DIFFERS, "sha256"}}
    assert line["sha256"] == [SHA256]
    assert [len(line[key]) for key in sorted(DIFFERS)] == [len(example[key]) for key in sorted(DIFFERS)]


def test_each_action(client: FlaskClient, lines: Lines) -> None:
    """With what it changes. A request that reads has no line."""
    files = {"repository": "acme/hello_world", "result": "done", "client": "pip/26.3"}
    headers = {"User-Agent": "pip/26.3 {}"}
    sdist, sdist_bytes = make_sdist()
    both = sorted([SHA256, hashlib.sha256(sdist_bytes).hexdigest()])
    page = f"{ROOT}hello-world/"
    upload(client, headers=headers)
    assert last(lines) == {"action": "publish", "file": WHEEL, "sha256": [SHA256], **files}
    upload(client, (sdist, sdist_bytes), headers=headers)
    client.patch(f"{page}1.0", json={"yanked": 'a "b"\u2603'}, headers=headers)
    yank = {"action": "yank", "file": "1.0", "sha256": both, "reason": 'a "b"\u2603'}
    assert last(lines) == {**yank, **files}
    client.patch(f"{page}{WHEEL}", json={"yanked": False}, headers=headers)
    assert last(lines) == {"action": "unyank", "file": WHEEL, "sha256": [SHA256], **files}
    for address in (page, page.rstrip("/")):
        client.patch(address, json={"status": "deprecated", "reason": "why"}, headers=headers)
        assert last(lines) == {"action": "status", "status": "deprecated", "reason": "why", **files}
    client.delete(f"{page}1.0", headers=headers)
    assert last(lines) == {"action": "delete", "file": "1.0", "sha256": both, **files}
    count = len(audited(lines))
    client.get(page), client.get(ROOT), client.head(page)
    assert len(audited(lines)) == count == 7


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("DELETE", "hello-world/9.0", None, {"action": "delete", "file": "9.0", "result": "NotFound"}),
        (
            "PATCH",
            "hello-world/9.0",
            {"yanked": True},
            {"action": "yank", "file": "9.0", "result": "NotFound"},
        ),
        (
            "PATCH",
            "hello-world/",
            {"status": "gone"},
            {"action": "status", "status": "gone", "result": "InvalidRequest"},
        ),
        ("PATCH", "hello-world/1.0", [], {"action": "yank", "file": "1.0", "result": "InvalidRequest"}),
    ],
)
def test_refused_changes(
    client: FlaskClient, lines: Lines, method: str, path: str, body: object, expected: dict[str, str]
) -> None:
    """The kind of error is the result."""
    client.open(ROOT + path, method=method, json=body, headers={"User-Agent": ""})
    assert last(lines) == {"repository": "acme/hello_world", **expected}
    assert len(audited(lines)) == 1


def test_refused_uploads(make_client: MakeClient, lines: Lines, tmp_path: Path) -> None:
    """By the form, by the file that is there, by the status, and by this server."""
    client = make_client()
    ours = {"action": "publish", "repository": "acme/hello_world", "file": WHEEL, "client": "uv/0.13"}
    agent = {"User-Agent": "uv/0.13 {}"}
    upload(client, (WHEEL, b"no zip"), headers=agent)
    assert last(lines) == {**ours, "result": "InvalidRequest"}
    upload(client, headers=agent)
    upload(client, make_wheel(files={"other.py": b""}), headers=agent)
    assert last(lines) == {**ours, "result": "AlreadyExists"}
    client.patch(f"{ROOT}hello-world/", json={"status": "archived"})
    upload(client, headers=agent)
    assert last(lines) == {**ours, "result": "Denied"}
    upload(client, headers={**agent, "Origin": "https://elsewhere.example"})
    line = audited(lines)[-1]
    assert (line["action"], line["result"], line["client"]) == ("publish", "Denied", "uv/0.13")
    assert len(audited(lines)) == 6


def test_uploads_that_are_written_together(client: FlaskClient, lines: Lines) -> None:
    """Each has a line, though one update of the image index has several."""
    wheels = [make_wheel(tag=f"cp3{minor}-none-any") for minor in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda wheel: upload(client, wheel), wheels)) == {200}
    found = sorted(line["file"] for line in audited(lines) if line["result"] == "done")
    assert found == sorted(name for name, _ in wheels)


def test_a_client_that_leaves(client: FlaskClient, lines: Lines) -> None:
    """It has sent everything and closes the connection before it reads the answer."""
    answer = client.post(
        ROOT, data={"name": "hello-world", "content": (io.BytesIO(BYTES), WHEEL)}, buffered=False
    )
    answer.close()
    assert [line["result"] for line in audited(lines)] == ["done"]


@pytest.mark.parametrize("level", ["error", "warning", "pyoci.web=off,warning", "pyoci.audit=info,error"])
def test_it_is_written_at_any_level(make_client: MakeClient, lines: Lines, level: str) -> None:
    """Of the other lines."""
    upload(make_client(PYOCI_LOG=level))
    assert [line["event"] for line in lines.read_lines()] == ["audit"]


@pytest.mark.parametrize("level", ["off", "pyoci.audit=off,info"])
def test_it_can_be_turned_off(make_client: MakeClient, lines: Lines, level: str) -> None:
    """With the whole log, or alone."""
    upload(make_client(PYOCI_LOG=level))
    assert audited(lines) == []


def test_no_credentials(make_client: MakeClient, lines: Lines) -> None:
    """Neither a password nor a token, wherever a client puts it."""
    client = make_client(PYOCI_LOG="pyoci.audit=info,error", PYOCI_BEARER_USERNAME="bearer")
    for headers in (
        basic("alice:planted-secret"),
        basic("planted-secret:"),
        basic("planted-secret:x-oauth-basic"),
        basic("bearer:planted-secret"),
        {"Authorization": "Bearer planted-secret"},
        {"User-Agent": "twine/7.0 planted-secret"},
        {"User-Agent": "https://me:planted-secret@host/"},
    ):
        upload(client, headers=headers)
        client.delete(f"{ROOT}hello-world/{WHEEL}?token=planted-secret", headers=headers)
    assert len(audited(lines)) == 14
    assert "planted-secret" not in lines.getvalue()


def test_the_user_name_can_be_hidden(make_client: MakeClient, lines: Lines) -> None:
    """PYOCI_LOG_USER=no; the hash of the caller stays."""
    upload(make_client(PYOCI_LOG_USER="no"), headers=basic("alice:secret"))
    (line,) = audited(lines)
    assert "user" not in line
    assert len(line["caller"]) == 16


@pytest.mark.parametrize("agent", ["a\x1b[31mb/1", "x" * 500, "<script>", "\u00fc/1"])
def test_odd_clients(client: FlaskClient, lines: Lines, agent: str) -> None:
    """What a header says can't break a line."""
    upload(client, headers={"User-Agent": agent})
    (line,) = audited(lines)
    assert len(line.get("client", "")) <= 121
    assert line.get("client", "").isascii()


class TestOCIAPI:
    """What other programs write through the OCI API of the embedded registry."""

    CONFIG = b"{}"
    MANIFEST: ClassVar[dict[str, Any]] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/x-test",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}",
            "size": len(CONFIG),
        },
        "layers": [],
    }
    URL = "/v2/acme/image"

    def push(self, client: FlaskClient, **settings: Any) -> tuple[str, str]:
        """Returns the digests of the blob and the manifest."""
        blob = self.MANIFEST["config"]["digest"]
        opened = client.post(f"{self.URL}/blobs/uploads/", **settings)
        client.patch(opened.location, data=self.CONFIG, **settings)
        client.put(f"{opened.location}?digest={blob}", **settings)
        content, media_type = json.dumps(self.MANIFEST).encode(), self.MANIFEST["mediaType"]
        client.put(f"{self.URL}/manifests/1.0", data=content, content_type=media_type, **settings)
        return blob, f"sha256:{hashlib.sha256(content).hexdigest()}"

    def test_each_write_has_a_line(self, client: FlaskClient, lines: Lines) -> None:
        """With who, what, digest and result. What only reads, or opens an upload session, has none."""
        headers = {**basic("alice:secret"), "User-Agent": "skopeo/1.18 (linux)"}
        blob, manifest = self.push(client, headers=headers)
        client.head(f"{self.URL}/manifests/1.0", headers=headers)
        client.post(f"/v2/acme/other/blobs/uploads/?mount={blob}&from=acme/image", headers=headers)
        client.post(f"/v2/acme/other/blobs/uploads/?digest={blob}", data=self.CONFIG, headers=headers)
        client.delete(f"/v2/acme/other/blobs/{blob}", headers=headers)
        client.delete(f"{self.URL}/manifests/1.0", headers=headers)
        client.delete(f"{self.URL}/manifests/{manifest}", headers=headers)
        who = {"result": "done", "user": "alice", "client": "skopeo/1.18"}
        image, other = {"repository": "acme/image", **who}, {"repository": "acme/other", **who}
        assert [
            {key: value for key, value in line.items() if key not in {*DIFFERS, *REGISTRY}}
            for line in audited(lines)
        ] == [
            {"action": "push", "kind": "blob", "digest": blob, **image},
            {"action": "push", "kind": "manifest", "tag": "1.0", "digest": manifest, **image},
            {"action": "push", "kind": "blob", "digest": blob, **other},
            {"action": "push", "kind": "blob", "digest": blob, **other},
            {"action": "delete", "kind": "blob", "digest": blob, **other},
            {"action": "delete", "kind": "manifest", "tag": "1.0", "digest": manifest, **image},
            {"action": "delete", "kind": "manifest", "digest": manifest, **image},
        ]
        assert {len(line["caller"]) for line in audited(lines)} == {16}
        assert {line["registry"] for line in audited(lines)} == {"local"}

    @pytest.mark.parametrize(
        ("method", "path", "expected"),
        [
            ("POST", "blobs/uploads/", {"action": "push", "kind": "blob"}),
            ("PUT", "manifests/1.0", {"action": "push", "kind": "manifest", "tag": "1.0"}),
            ("DELETE", "manifests/1.0", {"action": "delete", "kind": "manifest", "tag": "1.0"}),
            ("DELETE", "blobs/sha256:0", {"action": "delete", "kind": "blob", "digest": "sha256:0"}),
        ],
    )
    def test_refused_writes(
        self,
        make_client: MakeClient,
        lines: Lines,
        tmp_path: Path,
        method: str,
        path: str,
        expected: dict[str, str],
    ) -> None:
        """By a wrong password. The result is the code of the OCI API."""
        htpasswd = tmp_path / "htpasswd"
        htpasswd.write_text(f"alice:{bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}\n")
        client = make_client(PYOCI_EMBEDDED_HTPASSWD=str(htpasswd))
        headers = {**basic("alice:planted-secret"), "User-Agent": ""}
        client.open(f"{self.URL}/{path}", method=method, headers=headers)
        who = {"repository": "acme/image", "result": "UNAUTHORIZED", "user": "alice"}
        assert last(lines) == {**expected, **who}
        assert "planted-secret" not in lines.getvalue()

    def test_what_cannot_be_stored(self, client: FlaskClient, lines: Lines) -> None:
        """Each with its code, such as an absent tag or a connection from elsewhere. Names are cut off."""
        client.put(f"{self.URL}/manifests/1.0", data=b"no manifest")
        client.delete(f"{self.URL}/manifests/1.0")
        client.delete(f"{self.URL}/manifests/1.0", environ_base={"REMOTE_ADDR": "192.0.2.1"})
        client.delete(f"/v2/{'a' * 1000}/manifests/{'b' * 1000}")
        found = audited(lines)
        assert [line["result"] for line in found] == [
            "MANIFEST_INVALID",
            "NAME_UNKNOWN",
            "DENIED",
            "NAME_INVALID",
        ]
        assert (len(found[-1]["repository"]), len(found[-1]["tag"])) == (255, 255)

    def test_the_user_name_can_be_hidden(self, make_client: MakeClient, lines: Lines) -> None:
        """As in the other lines."""
        self.push(make_client(PYOCI_LOG_USER="no"), headers=basic("alice:secret"))
        assert "alice" not in lines.getvalue()
        assert [len(line["caller"]) for line in audited(lines)] == [16, 16]


class TestPublisher:
    """PYOCI_RECORD_PUBLISHER=yes keeps the user name with the file."""

    @staticmethod
    def shown(client: FlaskClient) -> list[str | None]:
        page = client.get(f"{ROOT}hello-world/", query_string={"format": "json"}).get_json()
        return [file.get("_publisher") for file in page["files"]]

    def test_is_recorded(self, make_client: MakeClient, tmp_path: Path) -> None:
        """In the annotation that docs/storage.rst names. HTML and the legacy JSON are as before."""
        client = make_client(PYOCI_RECORD_PUBLISHER="yes", PYOCI_LOG_USER="no")
        upload(client, headers=basic("alice:secret"))
        assert self.shown(client) == ["alice"]
        index = client.get("/v2/acme/hello_world/manifests/1.0").get_json()
        assert index["manifests"][0]["annotations"]["com.pyoci.publisher"] == "alice"
        for path in ("", "json"):
            assert "alice" not in client.get(f"{ROOT}hello-world/{path}?format=html").text

    def test_is_not_recorded_by_default(self, client: FlaskClient) -> None:
        """A name may be personal data."""
        upload(client, headers=basic("alice:secret"))
        assert self.shown(client) == [None]

    @pytest.mark.parametrize("pair", ["token:", "token:x-oauth-basic", ":secret", "a\x1bb:secret"])
    def test_names_that_may_be_tokens_or_cannot_be_shown(self, make_client: MakeClient, pair: str) -> None:
        """They are left out."""
        client = make_client(PYOCI_RECORD_PUBLISHER="yes")
        assert upload(client, headers=basic(pair)) in {200, 400, 401}
        if upload(client) == 200:
            assert self.shown(client) == [None]

    def test_nobody_sets_it_by_a_form(self, make_client: MakeClient) -> None:
        """It is the caller's name."""
        client = make_client(PYOCI_RECORD_PUBLISHER="yes")
        form = {"name": "hello-world", "publisher": "mallory", "content": (io.BytesIO(BYTES), WHEEL)}
        assert client.post(ROOT, data=form, headers=basic("alice:secret")).status_code == 200
        assert self.shown(client) == ["alice"]
