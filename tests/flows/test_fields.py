"""Hostile text in every field of a form and of a registry's documents: it is shown only as text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pyoci.oci.models import IMAGE_INDEX, IMAGE_MANIFEST
from pyoci.store.layout import (
    CONFIG_DIGEST,
    CONFIG_TYPE,
    CORE_METADATA,
    CREATED,
    FILENAME,
    PACKAGE_TYPE,
    PROJECT_URLS,
    REQUIRES_PYTHON,
    SHA256,
    SIZE,
    YANKED,
)
from tests.builders import make_metadata, make_zip
from tests.flows.conftest import Lines, MakeClient
from tests.flows.test_main_job import BYTES, JSON, ROOT, WHEEL, upload
from tests.registry import TestRegistry

pytestmark = pytest.mark.long

HEADERS_LIMIT = 3000  # bytes of one answer's headers; a redirect repeats the address
BODY_LIMIT = 100_000  # bytes of a page with one file

HARM = {
    "lines": "x\r\nPlanted: y\r\n\r\n<h1>z",
    "line": "x\nPlanted: y",
    "return": "x\rPlanted: y",
    "encoded lines": "x%0d%0aPlanted: y",
    "unicode lines": "x\u2028Planted: y\u2029\u0085z",
    "low byte is a line": "x\u560d\u560aPlanted: y",
    "NUL": "x\0y",
    "quotes": "\"'`",
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "attribute": "' onmouseover='alert(1)",
    "end of a comment": "--><svg onload=alert(1)>",
    "template": "{{ 7*7 }}{% raw %}",
    "entity": "&lt;script&gt;&#60;b&#62;",
    "javascript": "javascript:alert(1)",
    "data": "data:text/html,<script>alert(1)</script>",
    "right to left": "a\u202egnp.exe",
    "zero width": "a\u200b\u200d\ufeffb",
    "half a pair": "a\ud800b",
    "escape": "\x1b[2J\x07\x9b31m",
    "long": "x" * 10_000,
    "long marks": "<" * 10_000,
    "format": "%s%n{0}${x}",
    "path": "../../../etc/passwd",
    "URL": "https://evil.example/?a=1&b=<c>\"d'",
    "nothing": "",
}  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page, with the names of their attributes and the targets of their links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[tuple[str, ...]] = set()
        self.links: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {(tag, name) for name, _ in attrs} or {(tag,)}
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "action"}]

    def handle_comment(self, data: str) -> None:
        self.found.add(("comment", data))


_LINK = ("href", "data-requires-python", "data-core-metadata", "data-dist-info-metadata", "data-yanked")
EXPECTED = {
    ("html", "lang"),
    ("head",),
    ("meta", "charset"),
    ("meta", "name"),
    ("meta", "content"),
    ("title",),
}
EXPECTED |= {("body",), ("h1",), ("br",)} | {
    ("a", name) for name in (*_LINK, "data-size", "data-upload-time")
}
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def check(answer: TestResponse) -> None:
    """Check that an answer shows a foreign text only as text."""
    assert answer.status_code < 500, answer.text
    assert re.fullmatch(r"[\x20-\x7e\xa0-\xff]*", answer.status)
    raw = "\n".join(f"{name}: {value}" for name, value in answer.headers)
    assert re.search("(?im)^planted|[\x00-\x09\x0b-\x1f\x7f-\x9f]", raw) is None
    assert len(raw) < HEADERS_LIMIT
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    kind = answer.headers["Content-Type"].partition(";")[0]
    if kind.endswith("html"):
        _check_html(answer)
    elif kind.endswith("json"):
        json.loads(answer.data)
        assert answer.data.isascii()
    elif answer.status_code >= 400 or answer.request.method in {"POST", "PATCH", "DELETE"}:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.text.isprintable()
        assert len(answer.text) <= 500


def _check_html(answer: TestResponse) -> None:
    page = Elements(answer.text)
    assert page.found <= EXPECTED
    for link in page.links:
        assert re.fullmatch(r"[A-Za-z0-9._%-]+/|\+[0-9a-f]{16}/[A-Za-z0-9._%-]+#sha256=[0-9a-f]{64}", link)
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Frame-Options"] == "DENY"


def check_log(lines: Lines) -> None:
    """Each line is JSON in ASCII, of limited length."""
    text = lines.getvalue()
    assert text.isascii()
    for line in text.splitlines():
        json.loads(line)
        assert len(line) < 5000


def look(client: FlaskClient, root: str) -> Iterator[TestResponse]:
    """Every answer that shows something of a project."""
    page = f"{root}hello-world/"
    for accepted in (JSON, {"Accept": "text/html"}):
        yield client.get(page, headers=accepted)
        yield client.get(root, headers=accepted)
    yield client.get(f"{page}json")
    yield client.get(f"{page}{WHEEL}")
    yield client.head(f"{page}{WHEEL}")
    yield client.get(f"{page}{WHEEL}.metadata")


def check_all(client: FlaskClient, root: str, answer: TestResponse) -> None:
    """Check an upload's answer, and everything that shows the file if it was accepted."""
    check(answer)
    if answer.status_code == 200:
        for shown in look(client, root):
            # What isn't UTF-8 is published, but not shown apart.
            assert shown.status_code == 200 or shown.request.path.endswith(".metadata")
            check(shown)


def harms() -> Iterator[tuple[str, bytes, str]]:
    """Each hostile text, also as bytes, with a namespace for it."""
    for number, text in enumerate(HARM.values()):
        yield text, text.encode("utf-8", "surrogatepass"), f"/local/n{number}/"


UNKEPT = [
    "pyversion", "metadata_version", "summary", "description", "description_content_type", "author",
    "author_email", "keywords", "license", "home_page", "platform", "requires_dist", "comment",
    "gpg_signature", "anything",
]  # fmt: skip
FIELDS = [
    [":action"], ["protocol_version"], ["name"], ["version"], ["filetype"], ["classifiers"], ["project_urls"],
    ["requires_python"], ["md5_digest"], ["sha256_digest"], ["blake2_256_digest"], ["attestations"], UNKEPT,
]  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: fields[0])
def test_a_field_of_the_form(client: FlaskClient, lines: Lines, fields: list[str]) -> None:
    """It is accepted or refused with one line. Pages, headers and log lines are valid."""
    for text, raw, root in harms():
        values: dict[str, Any] = dict.fromkeys(fields, raw)
        if fields == ["classifiers"]:
            values = {"classifiers": b"PyOCI :: Label :: a :: " + raw}
        if fields == ["project_urls"]:
            values = {"project_urls": [raw, b"Homepage, " + raw, raw + b", https://example.org"]}
        check_all(client, root, upload(client, url=root, **values))
        check_links(client, root)
        assert fields != UNKEPT or client.get(f"{root}hello-world/").status_code == 200, text
    check_log(lines)


@pytest.mark.parametrize(
    "spelled", ["{}", "{}.whl", "hello_world-{}-py3-none-any.whl", "hello_world-1.0-{}.whl"]
)
def test_the_name_of_the_file(client: FlaskClient, lines: Lines, spelled: str) -> None:
    """It is refused in the form and in the address."""
    for text, _, root in harms():
        name = spelled.format(text.replace("\ud800", "?"))
        answer = upload(client, url=root, content=[(BYTES, name)])
        check(answer)
        assert answer.status_code == 400
        for method in ("GET", "HEAD", "DELETE", "PATCH"):
            path = f"{root}hello-world/{quote(name[:500])}"
            check(client.open(path, method=method, json={"yanked": True}))
    check_log(lines)


HEADERS = [
    ["Name"], ["Version"], ["Requires-Python"], ["Project-URL"],
    ["Summary", "Author", "Home-page", "Classifier", "Description-Content-Type", "License", "Keywords", "X",
     "Content-Type", "Requires-Dist"],
]  # fmt: skip


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: headers[0])
def test_a_header_of_the_metadata(client: FlaskClient, lines: Lines, headers: list[str]) -> None:
    """METADATA is served unchanged. Elsewhere its values are shown as text."""
    base = [line for line in make_metadata().splitlines() if not line.startswith(headers[0].encode())]
    for _, raw, root in harms():
        value = b"Homepage, " + raw if headers == ["Project-URL"] else raw
        text = b"\n".join(
            [*filter(None, base), *(header.encode() + b": " + value for header in headers), b""]
        )
        wheel = make_zip({"hello_world-1.0.dist-info/METADATA": text})
        check_all(client, root, upload(client, data=wheel, url=root))
        check_links(client, root)
    check_log(lines)


def test_the_reason_of_a_yank(client: FlaskClient, lines: Lines) -> None:
    """It is shown only as text."""
    upload(client)
    for text, _, _ in harms():
        answer = client.patch(f"{ROOT}hello-world/{WHEEL}", json={"yanked": text})
        check_all(client, ROOT, answer)
        if answer.status_code == 200:
            (file,) = client.get(f"{ROOT}hello-world/", headers=JSON).get_json()["files"]
            assert file["yanked"] == text.strip()
    check_log(lines)


PLACES = [
    CREATED, SHA256, PROJECT_URLS, FILENAME, SIZE, REQUIRES_PYTHON, CONFIG_DIGEST, CORE_METADATA, YANKED,
    "URL", "label", "architecture", "os",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_an_annotation(make_client: MakeClient, tmp_path: Path, lines: Lines, place: str) -> None:
    """Any value in an image index is shown as text, or left out."""
    registry, client = TestRegistry(tmp_path / "registry"), make_client(PYOCI_LOG="debug")
    for text, _, root in harms():
        plant(registry, root.split("/")[2], place, text)
        for answer in look(client, root):
            check(answer)
        assert client.get(f"{root}hello-world/").status_code == 200
        check_links(client, root)
    check_log(lines)


def plant(registry: TestRegistry, namespace: str, place: str, text: str) -> None:
    """Write an image index with `text` at this place, like a hostile registry."""
    put_blob, put = (
        partial(registry.put_blob, namespace=namespace),
        partial(registry.put, namespace=namespace),
    )
    blob, metadata = put_blob(BYTES), make_metadata().decode()
    config = json.dumps({"coreMetadata": metadata}).encode()
    annotations = {
        CREATED: "2026-11-20T20:23:36Z",
        SHA256: blob.hex,
        PROJECT_URLS: json.dumps({"Homepage": "https://example.org"}),
        FILENAME: WHEEL,
        SIZE: str(len(BYTES)),
        CONFIG_DIGEST: str(put_blob(config)),
        CORE_METADATA: hashlib.sha256(metadata.encode()).hexdigest(),
    }
    platform = {"architecture": "py3-none-any.whl", "os": "any"}
    if place in platform:
        platform[place] = text
    else:
        urls = {"URL": {"Homepage": text}, "label": {text: "https://example.org"}}
        key, value = (PROJECT_URLS, json.dumps(urls[place])) if place in urls else (place, text)
        annotations[key] = value
    layer = {"mediaType": PACKAGE_TYPE, "digest": str(blob), "size": len(BYTES)}
    settings = {"mediaType": CONFIG_TYPE, "digest": annotations[CONFIG_DIGEST], "size": len(config)}
    settings = settings if place != CONFIG_DIGEST else layer
    manifest = {"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": PACKAGE_TYPE}
    child = put("temporary", manifest | {"config": settings, "layers": [layer]})
    entry = {"mediaType": IMAGE_MANIFEST, "digest": str(child.digest), "size": len(child.body)}
    entry |= {"platform": platform, "annotations": annotations}
    image_index = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "artifactType": PACKAGE_TYPE}
    put("1.0", image_index | {"manifests": [entry], "annotations": {CREATED: text}})


def check_links(client: FlaskClient, root: str) -> None:
    """Check the project's links in its legacy JSON."""
    answer = client.get(f"{root}hello-world/json")
    if answer.status_code != 200:
        return
    info = answer.get_json()["info"]
    for url in (*info["project_urls"].values(), info.get("home_page", "https://example.org")):
        assert re.fullmatch(r"https?://[!-~]+", url)
