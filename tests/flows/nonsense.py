"""A registry whose answers are nearly correct, and clients whose requests are nearly correct."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from flask import Flask
from hypothesis import strategies as st

from pyoci.errors import PyOCIError
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.oci.models import IMAGE_INDEX
from pyoci.oci.registries import Registries
from pyoci.oci.session import Gateway
from pyoci.store.layout import PACKAGE_TYPE
from pyoci.web import Site, register
from pyoci.web.errors import STATUS
from tests.builders import make_wheel
from tests.net.servers import Connection, Server, answer
from tests.stores import make_store
from tests.web.uploads import BOUNDARY, make_form

KNOWN = {200, 206, 301, 304, *STATUS.values()}
FILENAME, CONTENT = make_wheel()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DIGEST = f"sha256:{SHA256}"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
INDEX = {
    "schemaVersion": 2,
    "mediaType": IMAGE_INDEX,
    "artifactType": PACKAGE_TYPE,
    "manifests": [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": DIGEST,
            "size": 496,
            "platform": {"architecture": "py3-none-any.whl", "os": "any"},
            "annotations": {
                "org.opencontainers.image.created": "2026-11-20T20:23:36Z",
                "com.pyoci.sha256_digest": SHA256,
                "com.pyoci.project_urls": '{"Homepage":"https://example.org"}',
                "com.pyoci.filename": FILENAME,
                "com.pyoci.size": str(len(CONTENT)),
                "com.pyoci.requires_python": ">=3.9",
                "com.pyoci.config_digest": DIGEST,
                "com.pyoci.core_metadata": SHA256,
                "com.pyoci.yanked": "",
            },
        }
    ],
    "annotations": {"org.opencontainers.image.created": "2026-11-20T20:23:36Z"},
}
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "artifactType": PACKAGE_TYPE,
    "config": {"mediaType": "application/vnd.pyoci.config.v1+json", "digest": DIGEST, "size": 2},
    "layers": [{"mediaType": PACKAGE_TYPE, "digest": DIGEST, "size": len(CONTENT)}],
}
TAGS = {"name": "acme/hello_world", "tags": ["1.0", "2.0", "1_1.0-local", "latest"]}
CONFIG = {"filename": FILENAME, "size": 1, "sha256": SHA256, "coreMetadata": "Name: hello-world\n"}
ERRORS = {"errors": [{"code": "UNKNOWN", "message": "no"}]}
TOKEN = {"token": "abc", "expires_in": 300}
CATALOG = {"repositories": ["acme/hello_world", "acme/hello_world/sub"]}
STATE = {
    "position": ["epoch", 1],
    "listed": 1.0,
    "tags": ["1.0", "2.0"],
    "seen": {"1.0": [DIGEST, 1.0, 1.0], "2.0": [DIGEST, 1.0, 1.0]},
}


@st.composite
def nearly(draw: st.DrawFn, document: Any, depth: int = 0) -> Any:
    """The document, perhaps with a part replaced, left out or added."""
    if draw(st.integers(0, 5)) == 0:
        return draw(json_values)
    if isinstance(document, dict) and document:
        key = draw(st.sampled_from(sorted(document)))
        changed = dict(document)
        if draw(st.integers(0, 6)) == 0:
            del changed[key]
        else:
            changed[key] = draw(nearly(document[key], depth + 1))
        return changed
    if isinstance(document, list) and document:
        place = draw(st.integers(0, len(document) - 1))
        return [*document[:place], draw(nearly(document[place], depth + 1)), *document[place + 1 :]]
    if isinstance(document, str):
        return draw(
            st.sampled_from([document, document.upper(), document + "\n", "", document * 50]) | st.text()
        )
    return document


def as_bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


def bodies(document: Any) -> st.SearchStrategy[bytes]:
    """What a registry may send instead of the document."""
    return st.one_of(
        st.just(as_bytes(document)),
        nearly(document).map(as_bytes),
        nearly(document).map(as_bytes),
        st.binary(max_size=60),
        st.just(as_bytes(ERRORS)),
        nearly(ERRORS).map(as_bytes),
    )


_VISIBLE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
_CHALLENGES = st.builds(
    '{}realm="{}",service={},scope="{}"'.format,
    st.sampled_from(["Bearer ", "Basic ", "bearer ", "Negotiate ", ""]),
    st.sampled_from(["/token", "http://127.0.0.1:1/", "https://[x", "", "http://169.254.169.254/"]),
    _VISIBLE,
    st.sampled_from(["repository:acme/hello_world:pull", "", "registry:catalog:*", "::::"]),
)
HEADERS = {
    "Content-Type": st.sampled_from([IMAGE_INDEX, "application/json; charset=x", "text/html", ""]) | _VISIBLE,
    "Docker-Content-Digest": st.sampled_from([DIGEST, "sha256:0", "md5:" + "0" * 32, "sha512:" + "0" * 128])
    | _VISIBLE,
    "WWW-Authenticate": _CHALLENGES | _VISIBLE,
    "Link": st.sampled_from(['</v2/acme/hello_world/tags/list?last=1>; rel="next"', "<>; rel=next"])
    | _VISIBLE,
    "Location": st.sampled_from(["/v2/acme/hello_world/blobs/uploads/1?x=y", "//", "http://[", "?"])
    | _VISIBLE,
    "Retry-After": st.sampled_from(["1", "-1", "9" * 30, "Fri, 31 Dec 1999 23:59:59 GMT", "1e9"]) | _VISIBLE,
    "Content-Range": st.sampled_from(["bytes 0-1/2", "bytes */5", "bytes 5-1/x"]) | _VISIBLE,
    "Content-Encoding": st.sampled_from(["gzip", "identity", "br, gzip"]),
    "X-RateLimit": _VISIBLE,
}
_STATUSES = st.sampled_from(
    [200] * 12 + [201, 202, 204, 206, 301, 307, 400, 401, 401, 403, 404, 405, 416, 429, 500]
)
PLACES = {
    r"/tags/list": TAGS,
    r"/manifests/sha256:": MANIFEST,
    r"/manifests/": INDEX,
    r"/blobs/": CONFIG,
    r"/_catalog": CATALOG,
    r"/token": TOKEN,
    r"": ERRORS,
}


@st.composite
def replies(draw: st.DrawFn, document: Any) -> bytes:
    """A whole answer of a registry."""
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3, unique=True))
    kind = document.get("mediaType", "application/json")
    headers = {"Content-Type": kind} | {name: draw(HEADERS[name]) for name in names}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return answer(draw(bodies(document)), f"{draw(_STATUSES)} So", *lines)


SCRIPTS = st.fixed_dictionaries({pattern: replies(document) for pattern, document in PLACES.items()})

Asked = list[tuple[str, dict[str, str]]]
ROOT = "/lab/acme/"
PAGE = f"{ROOT}hello-world/"
ASKED: dict[str, dict[str, Any]] = {
    "page": {"path": PAGE},
    "page as JSON": {"path": f"{PAGE}?format=json"},
    "legacy": {"path": f"{PAGE}json"},
    "root": {"path": ROOT},
    "download": {"path": f"{PAGE}{FILENAME}"},
    "HEAD": {"path": f"{PAGE}{FILENAME}", "method": "HEAD"},
    "metadata": {"path": f"{PAGE}{FILENAME}.metadata"},
    "yank": {"path": f"{PAGE}{FILENAME}", "method": "PATCH", "json": {"yanked": "broken"}},
    "yank a version": {"path": f"{PAGE}1.0", "method": "PATCH", "json": {"yanked": True}},
    "delete": {"path": f"{PAGE}{FILENAME}", "method": "DELETE"},
    "delete a version": {"path": f"{PAGE}1.0", "method": "DELETE"},
    "upload": {
        "path": ROOT,
        "method": "POST",
        "data": make_form(),
        "content_type": f"multipart/form-data; boundary={BOUNDARY}",
    },
}
REQUEST_HEADERS = {
    "Accept": st.sampled_from(["*/*", "application/vnd.pypi.simple.v1+json", "text/html;q=x", ";;q=1,"])
    | _VISIBLE,
    "Accept-Encoding": st.sampled_from(["gzip", "gzip;q=0", "*;q=nan"]) | _VISIBLE,
    "Range": st.from_regex(r"bytes ?= ?[0-9]{0,20}-[0-9]{0,20}(,.*)?", fullmatch=True).filter(str.isascii)
    | _VISIBLE,
    "If-None-Match": st.sampled_from(["*", '""', 'W/"x"', '"x', f'"{SHA256}"']) | _VISIBLE,
    "If-Range": _VISIBLE,
    "Authorization": st.sampled_from(["Basic YTpi", "Basic ====", "Bearer x", "Basic"]) | _VISIBLE,
    "Cache-Control": st.sampled_from(["no-cache", "max-age=0"]) | _VISIBLE,
}


def asked_with() -> st.SearchStrategy[dict[str, str]]:
    """Headers of a client, some of them invalid."""
    plain = st.just({"Authorization": "Basic YTpi"})
    odd = st.fixed_dictionaries({}, optional=REQUEST_HEADERS)
    return (plain | odd).map(
        lambda headers: {n: v for n, v in headers.items() if not re.search(r"[\r\n]", v)}
    )


QUESTIONS = st.lists(st.tuples(st.sampled_from(sorted(ASKED)), asked_with()), min_size=1, max_size=3)


class Script:
    """The registry's answers, by path."""

    replies: dict[str, bytes]

    def play(self, connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            path = head.split(b" ")[1].decode("latin-1")
            reply = next(reply for pattern, reply in self.replies.items() if re.search(pattern, path))
            if head.startswith(b"HEAD"):
                reply = reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            connection.send(reply)


def make_app(transport: Transport, registries: Registries, told: list[Any]) -> Flask:
    """An application with an empty cache."""
    events = Events(lambda event, **facts: told.append((event, facts)))
    store = make_store(Gateway(transport, ttl=60), sleep=lambda _: None)
    app = Flask("tests")
    register(app, Site(store=store, registries=registries, max_body=50_000_000, events=events))
    return app


@contextmanager
def playing() -> Iterator[tuple[Script, Registries, Transport]]:
    """A registry called `lab` that plays a script, and the transport to it."""
    script = Script()
    transport = Transport(document_seconds=2, stall_seconds=2, answer_seconds=2, sleep=lambda _: None)
    with closing(transport), Server(script.play) as server:
        yield script, Registries.read(f"lab={server.url}"), transport


def ask(application: Flask, told: list[Any], asked: Asked) -> list[int]:
    """Send some requests, and return the statuses. Each answer has one line of text, or a download breaks
    off.
    """
    client, statuses = application.test_client(), []
    for name, headers in asked:
        with suppress(PyOCIError):  # in the middle of a body
            answer = client.open(**ASKED[name], headers=headers, buffered=True)
            assert answer.status_code in KNOWN, (name, answer.status, told)
            statuses.append(answer.status_code)
            if answer.status_code >= 400:
                assert len(answer.text.splitlines()) <= 1
                assert answer.status.encode("latin-1").decode("latin-1").isprintable()
    return statuses
