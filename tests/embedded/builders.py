"""Manifests to push, and a client that pushes them."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def make_descriptor(content: bytes, media_type: str = LAYER, /, **overrides: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)} | overrides


def make_manifest(config: bytes = b"{}", /, *layers: bytes, **overrides: Any) -> bytes:
    """An image manifest; a key whose override is None is left out."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": make_descriptor(config, EMPTY),
        "layers": [make_descriptor(layer) for layer in layers],
    } | overrides
    return json.dumps({key: value for key, value in manifest.items() if value is not None}).encode()


def make_image_index(*manifests: bytes, **overrides: Any) -> bytes:
    descriptors = [make_descriptor(manifest, MANIFEST) for manifest in manifests]
    index = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": descriptors} | overrides
    return json.dumps({key: value for key, value in index.items() if value is not None}).encode()


def code_of(response: TestResponse) -> str:
    """The code of a standard error body, whose form is checked."""
    assert response.content_type == "application/json"
    (error,) = response.get_json()["errors"]
    assert set(error) == {"code", "message", "detail"}
    assert "\n" not in error["message"]
    assert error["message"].encode("latin-1")
    return str(error["code"])


@dataclass(frozen=True, slots=True)
class Wire:
    """What clients say to the registry over HTTP."""

    http: FlaskClient

    def push_blob(self, name: str, content: bytes) -> str:
        digest = digest_of(content)
        opened = self.http.post(f"/v2/{name}/blobs/uploads/")
        assert opened.status_code == 202
        response = self.http.put(f"{opened.location}?digest={digest}", data=content)
        assert response.status_code == 201, response.text
        return digest

    def push(self, name: str, reference: str | None, document: bytes, content_type: str | None = None) -> str:
        """Push a manifest that needs nothing, or nothing that isn't there; None: by its digest."""
        digest = digest_of(document)
        response = self.put(name, reference or digest, document, content_type)
        assert response.status_code == 201, response.text
        return digest

    def put(
        self, name: str, reference: str, document: bytes, content_type: str | None = None
    ) -> TestResponse:
        try:
            guessed = json.loads(document)["mediaType"]
        except (ValueError, KeyError, TypeError):
            guessed = MANIFEST
        return self.http.put(
            f"/v2/{name}/manifests/{reference}", data=document, content_type=content_type or guessed
        )

    def push_image(
        self, name: str, tag: str | None = None, content: bytes = b"layer", **overrides: Any
    ) -> bytes:
        """Push an image of one layer, with its blobs; returns its manifest."""
        self.push_blob(name, b"{}")
        self.push_blob(name, content)
        manifest = make_manifest(b"{}", content, **overrides)
        self.push(name, tag, manifest)
        return manifest

    def stream(
        self, method: str, url: str, body: io.IOBase, length: int | None = None, **headers: str
    ) -> TestResponse:
        """A request whose body comes from a stream as it is: with a Content-Length, or in chunks."""
        told = {"wsgi.input_terminated": True} if length is None else {"CONTENT_LENGTH": str(length)}
        return self.http.open(
            url, method=method, environ_overrides={"wsgi.input": body} | told, headers=dict(headers)
        )

    def tags(self, name: str) -> list[str]:
        answer = self.http.get(f"/v2/{name}/tags/list").get_json()
        assert answer["name"] == name
        return list(answer["tags"])
