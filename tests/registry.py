"""The embedded registry as tests talk to it: in-process, counting, with the quirks of others switched on."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import werkzeug.test
from werkzeug.wrappers import Response

from pyoci.distributions.names import ProjectName
from pyoci.embedded import create_registry_app
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Document
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.registries import EMBEDDED
from pyoci.oci.session import Gateway, OCISession
from pyoci.store.models import Namespace
from pyoci.store.service import PackageStore
from tests.stores import make_store

Refusal = tuple[int, str]  # status and error code


@dataclass
class TestRegistry:
    """A registry of one test. `refuse` maps a regular expression over `METHOD path` to the answer it gets;
    `before` is called with each `METHOD path` before it is served. An `endless` one
    sends blobs that never end. A `forgetful` one doesn't know a repository without tags: distribution 3 and
    zot are like that. A `strict` one begins its list of repositories after those that it has, as zot does,
    and gives none after another name; one that is `heedless` begins at the start, whatever is asked for.
    `answers` maps like `refuse` to a body and headers that are sent with 200. `takes` are tags outside the
    grammar that it takes, as zot does, each with the tag that stands for it in the directory. One without
    `mounts` wants the bytes of each blob.
    """

    __test__ = False  # pytest: a helper, no test

    directory: Path
    refuse: dict[str, Refusal] = field(default_factory=dict)
    before: Callable[[str], None] | None = None
    endless: bool = False
    forgetful: bool = False
    strict: bool = False
    heedless: bool = False
    takes: dict[str, str] = field(default_factory=dict)
    mounts: bool = True
    answers: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._app = create_registry_app(self.directory, htpasswd=None, local_only=False)
        self.gateway = Gateway(Transport(embedded=self, sleep=lambda _: None), ttl=60)

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].removeprefix('/v2/')}"
        self.calls.append(line)
        if self.before is not None:
            self.before(line)
        for pattern, (status, code) in self.refuse.items():
            if re.search(pattern, line):
                return _refusal(status, code, start_response)
        for pattern, (sent, named) in self.answers.items():
            if re.search(pattern, line):
                start_response("200 OK", [("Content-Length", str(len(sent))), *named.items()])
                return [sent]
        if self.forgetful and line.endswith("/tags/list") and not self._listed(line.removeprefix("GET ")):
            return _refusal(404, "NAME_UNKNOWN", start_response)
        last = parse_qs(environ.get("QUERY_STRING", "")).get("last", [""])[0]
        if line == "GET _catalog" and last and self.strict and last not in self._listed("_catalog"):
            return _json('{"repositories": []}', start_response)
        if (line == "GET _catalog" and self.heedless) or (line.startswith("POST") and not self.mounts):
            environ = {**environ, "QUERY_STRING": ""}
        if self.endless and line.startswith("GET") and "/blobs/" in line:
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return itertools.repeat(b"x" * 65536)
        return self._served(environ, start_response)

    def _served(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if not self.takes:
            return self._app(environ, start_response)
        path, kept = environ["PATH_INFO"], {value: tag for tag, value in self.takes.items()}
        start, _, last = path.rpartition("/")
        environ = {**environ, "PATH_INFO": f"{start}/{self.takes.get(last, last)}"}
        if not path.endswith("/tags/list"):
            return self._app(environ, start_response)
        answer = Response.from_app(self._app, environ)
        listed = answer.get_json()
        listed["tags"] = [kept.get(tag, tag) for tag in listed["tags"]]
        answer.set_data(json.dumps(listed))
        return answer(environ, start_response)

    def _listed(self, path: str) -> Any:
        """The list at `tags/list` of a repository or at `_catalog`."""
        answer = werkzeug.test.Client(self._app).get(f"/v2/{path}").get_json()
        return answer.get("repositories", answer.get("tags"))

    def store(self, events: Events | None = None, **settings: Any) -> PackageStore:
        """A store of its own over this registry, as another process would have."""
        return make_store(self.gateway, events=events, **{"sleep": lambda _: None, **settings})

    def session(self) -> OCISession:
        return self.gateway.session(EMBEDDED, Anonymous(), publishing=True)

    def document(self, reference: str, name: str = "hello-world", namespace: str = "acme") -> Any:
        """The JSON behind a tag or digest of a project."""
        return json.loads(self._pull(reference, name, namespace).body)

    def exists(self, reference: str, name: str = "hello-world", namespace: str = "acme") -> bool:
        """Whether a tag or digest of a project is there."""
        try:
            self._pull(reference, name, namespace)
        except RegistryNotFound:
            return False
        return True

    def put(self, tag: str, document: Any, name: str = "hello-world", namespace: str = "acme") -> Document:
        """Write a hand-made image index or manifest under a tag."""
        made = Document(document["mediaType"], json.dumps(document).encode())
        self.session().push(make_repository(name, namespace), _tag(tag), made)
        return made

    def put_blob(self, content: bytes, name: str = "hello-world", namespace: str = "acme") -> Digest:
        """Write a blob; returns its digest."""
        digest = Digest("sha256", hashlib.sha256(content).hexdigest())
        self.session().push_blob(make_repository(name, namespace), io.BytesIO(content), len(content), digest)
        return digest

    def _pull(self, reference: str, name: str, namespace: str) -> Document:
        parsed = Digest.parse(reference) if ":" in reference else _tag(reference)
        return self.session().pull(make_repository(name, namespace), parsed)


def _refusal(status: int, code: str, start_response: Any) -> list[bytes]:
    text = json.dumps({"errors": [{"code": code, "message": code.lower()}]})
    return _json(text, start_response, f"{status} Refused")


def _json(text: str, start_response: Any, status: str = "200 OK") -> list[bytes]:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
    start_response(status, headers)
    return [text.encode()]


def make_namespace(path: str = "acme") -> Namespace:
    return Namespace.parse(EMBEDDED, path)


def make_repository(name: str = "hello-world", namespace: str = "acme") -> Repository:
    return make_namespace(namespace).repository(ProjectName.parse(name))


def _tag(text: str) -> Tag:
    tag = Tag.listed(text)
    assert tag is not None
    return tag
