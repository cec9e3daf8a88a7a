"""Registries that anyone may name, and that are slow by design, or have huge documents; and an upstream.

As a program, `python -m tests.hostile_registries <port>`, all of them: the first part of a namespace chooses.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from werkzeug.serving import make_server

from pyoci.oci.models import IMAGE_INDEX, IMAGE_MANIFEST
from pyoci.store.layout import PACKAGE_TYPE, SHA256
from tests.serving import QuietHandler

VERSIONS, FILES = 11, 11_500  # of each project of a LargeRegistry
_MANIFESTS = 1200  # of a version without hashes; more than one page asks for
_MANIFEST_SECONDS = 2.0  # until each is answered
_SLOW_SECONDS = 9.0  # until a slow registry answers; PyOCI waits for ten
_HUNG_SECONDS = 600.0  # for which an upload isn't answered
WRITERS = {b"me", b"somebody"}  # the users that `slow_upload` and a PackageIndex have
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="roles"')
_DENIED = b'{"errors": [{"code": "DENIED", "message": "you may not write here"}]}'
_PATIENCE = 60.0  # seconds


def make_index(version: int, files: int = FILES) -> bytes:
    """An image index; nearly 4 MiB with FILES files, the most that is read of one."""
    entries = [
        {
            "mediaType": IMAGE_MANIFEST,
            "digest": f"sha256:{version:032x}{number:032x}",
            "size": 1,
            "platform": {"architecture": f"cp3-none-l{number}.whl", "os": "any"},
            "annotations": {SHA256: f"{version:032x}{number:032x}"},
        }
        for number in range(files)
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE_INDEX,
        "artifactType": PACKAGE_TYPE,
        "manifests": entries,
    }
    return json.dumps(document, separators=(",", ":")).encode()


class LargeRegistry:
    """Every repository has so many versions of so many files each. `during` is called with the path of each
    request for a document after the first byte of its answer.
    """

    def __init__(
        self, versions: int = VERSIONS, files: int = FILES, during: Callable[[str], object] = lambda _: None
    ) -> None:
        self._during = during
        self._documents = {f"{number}.0": make_index(number, files) for number in range(1, versions + 1)}
        assert max(map(len, self._documents.values())) < 4 * 1024 * 1024
        self._tags = json.dumps({"tags": list(self._documents)}).encode()
        self._documents |= {
            f"sha256:{hashlib.sha256(body).hexdigest()}": body for body in self._documents.values()
        }

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        path = environ["PATH_INFO"]
        body = self._documents.get(path.rpartition("/")[2])
        kind, body = (IMAGE_INDEX, body) if body is not None else ("application/json", self._tags)
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        yield body[:1]
        if kind == IMAGE_INDEX:
            self._during(path)
        yield body[1:]


@dataclass
class ChildrenRegistry:
    """One version with many files, whose hashes are in their manifests alone. `before` is called before the
    answer to each request for a manifest by its digest.
    """

    count: int
    before: Callable[[], object] = lambda: None
    asked: int = 0
    children: dict[str, bytes] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        entries = []
        for number in range(self.count):
            layer = {"mediaType": PACKAGE_TYPE, "size": 1, "digest": f"sha256:{number:064x}"}
            child = _json(
                {"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": layer, "layers": [layer]}
            )
            digest = f"sha256:{hashlib.sha256(child).hexdigest()}"
            self.children[digest] = child
            platform = {"architecture": f"cp3-none-manylinux_2_{number}_x86_64.whl", "os": "any"}
            entries.append(
                {"mediaType": IMAGE_MANIFEST, "digest": digest, "size": len(child), "platform": platform}
            )
        self.index = _json(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE_INDEX,
                "artifactType": PACKAGE_TYPE,
                "manifests": entries,
            }
        )

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        reference = environ["PATH_INFO"].rpartition("/")[2]
        kind, body = "application/json", b'{"name": "acme/hello_world", "tags": ["1.0"]}'
        if reference == "1.0":
            kind, body = IMAGE_INDEX, self.index
        elif "/blobs/" in environ["PATH_INFO"]:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        elif reference.startswith("sha256:"):
            with self.guard:
                self.asked += 1
            self.before()
            kind, body = IMAGE_MANIFEST, self.children[reference]
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]


class SlowRegistry:
    """Answers each request after nine seconds: no repository is there. An upload may be sent, and its last
    request isn't answered.
    """

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        headers, status = [("Content-Length", "0")], "404 Not Found"
        if method == "POST":
            status = "202 Accepted"
            headers.append(("Location", f"{path}1"))
        else:
            time.sleep(_SLOW_SECONDS if method in {"GET", "HEAD"} else _HUNG_SECONDS)
        start_response(status, headers)
        return []


@dataclass
class RolesRegistry:
    """A registry in which WRITERS may write, and everybody else may only read. A reader who tries to write
    gets the refusal after `go_on` is set.
    """

    registry: Any
    refused: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme != "Basic":
            start_response("401 Unauthorized", [("Content-Length", "0"), _CHALLENGE])
            return []
        user = b64decode(credentials).partition(b":")[0]
        if environ["REQUEST_METHOD"] in {"GET", "HEAD"} or user in WRITERS:
            return self.registry(environ, start_response)
        self.refused.release()
        self.go_on.wait(_PATIENCE)
        start_response("403 Forbidden", [("Content-Length", str(len(_DENIED)))])
        return [_DENIED]


class HostilePackageIndex:
    """An upstream whose pages become large once they are unpacked, or parsed."""

    def __init__(self) -> None:
        bomb = gzip.compress(b'{"files":[' + b"{}," * 10_000_000 + b"{}]}", 1)
        values = gzip.compress(b'{"files":[' + b'{"url":1},' * 3_000_000 + b"{}]}", 1)
        links = gzip.compress(b"<a href=x>" * 1_500_000, 1)
        self._pages = {
            "bomb": ("application/vnd.pypi.simple.v1+json", bomb),
            "values": ("application/vnd.pypi.simple.v1+json", values),
            "links": ("application/vnd.pypi.simple.v1+html", links),
        }

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        name = environ["PATH_INFO"].strip("/").rpartition("/")[2]
        page = self._pages.get(name.partition("-")[0])
        if page is None:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        kind, body = page
        headers = [("Content-Type", kind), ("Content-Encoding", "gzip"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]


class HostileRegistry:
    """All of them: `large`, `children` and `slow` are the first parts of namespaces. The package index is at
    `/simple/`.
    """

    def __init__(self) -> None:
        self._registries: dict[str, Callable[[Any, Any], Iterable[bytes]]] = {
            "large": LargeRegistry(),
            "children": ChildrenRegistry(_MANIFESTS, before=lambda: time.sleep(_MANIFEST_SECONDS)),
            "slow": SlowRegistry(),
        }
        self._index = HostilePackageIndex()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/simple/"):
            return self._index(environ, start_response)
        registry = self._registries.get(path.split("/")[2])
        if registry is None:
            start_response("200 OK", [("Content-Length", "0")])
            return []
        return registry(environ, start_response)


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


if __name__ == "__main__":
    make_server(
        "0.0.0.0",  # a test names it by several addresses of this machine
        int(sys.argv[1]),
        HostileRegistry(),
        threaded=True,
        request_handler=QuietHandler,
    ).serve_forever()
