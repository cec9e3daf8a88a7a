"""Every kind of content: pushed, listed, read, referred to and deleted. The order is that of the conformance
suite of OCI distribution, which tests/live runs if Go can fetch it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.embedded.builders import (
    EMPTY,
    IMAGE_INDEX,
    MANIFEST,
    Wire,
    digest_of,
    make_descriptor,
    make_image_index,
    make_manifest,
)

NAME = "conformance/repo"
CONFIG = b'{"architecture": "amd64", "os": "linux"}'
LAYERS = (b"first layer", b"second layer")
IMAGE = make_manifest(CONFIG, *LAYERS)
ARTIFACT = make_manifest(
    b"{}", b"artifact", artifactType="application/x.one", annotations={"greeting": "hello"}
)
SUBJECT = make_descriptor(IMAGE, MANIFEST)


@dataclass(frozen=True, kw_only=True)
class Content:
    """Blobs, then the manifests that need them, in the order of their pushing; the last one is tagged."""

    blobs: tuple[bytes, ...] = (CONFIG, *LAYERS)
    documents: tuple[bytes, ...]
    algorithm: str = "sha256"

    def digest(self, content: bytes) -> str:
        return digest_of(content, self.algorithm)


def by_sha512(content: bytes, media_type: str) -> dict[str, Any]:
    return make_descriptor(content, media_type, digest=digest_of(content, "sha512"))


NESTED = make_image_index(IMAGE, annotations={"number": "1"})
SHA512_IMAGE = make_manifest(config=by_sha512(b"{}", EMPTY), layers=[])
CONTENTS = {
    "image": Content(documents=(IMAGE,)),
    "large manifest": Content(
        documents=(make_manifest(CONFIG, annotations={f"n{n}": "A" * 10_000 for n in range(390)}),)
    ),
    "image index": Content(documents=(IMAGE, make_image_index(IMAGE))),
    "nested image index": Content(
        documents=(
            IMAGE,
            NESTED,
            make_image_index(manifests=[make_descriptor(NESTED, IMAGE_INDEX, platform=None)]),
        )
    ),
    "empty image index": Content(blobs=(), documents=(make_image_index(),)),
    "artifact": Content(blobs=(b"{}", b"artifact"), documents=(ARTIFACT,)),
    "artifact index": Content(
        blobs=(b"{}", b"artifact"), documents=(ARTIFACT, make_image_index(ARTIFACT, artifactType="a/b"))
    ),
    "referrers": Content(
        blobs=(CONFIG, *LAYERS, b"{}"),
        documents=(
            IMAGE,
            make_manifest(b"{}", subject=SUBJECT),
            make_image_index(subject=SUBJECT, artifactType="application/x.two", annotations={"a": "b"}),
        ),
    ),
    "missing subject": Content(blobs=(), documents=(make_image_index(subject=SUBJECT, artifactType="a/b"),)),
    "data in descriptors": Content(
        blobs=(b"{}",),
        documents=(make_manifest(config=make_descriptor(b"{}", EMPTY, data="e30=")),),
    ),
    "layers from elsewhere": Content(
        documents=(
            make_manifest(
                CONFIG,
                layers=[
                    make_descriptor(b"x", "application/vnd.oci.image.layer.nondistributable.v1.tar"),
                    make_descriptor(b"y", urls=["https://store.example.org/y"]),
                    make_descriptor(LAYERS[0]),
                ],
            ),
        )
    ),
    "unknown keys": Content(documents=(make_manifest(CONFIG, *LAYERS, **{"org.example": {"x": [1, None]}}),)),
    "no layers": Content(documents=(make_manifest(CONFIG),)),
    "sha512": Content(
        blobs=(b"{}",),
        documents=(SHA512_IMAGE, make_image_index(manifests=[by_sha512(SHA512_IMAGE, MANIFEST)])),
        algorithm="sha512",
    ),
}


@pytest.mark.parametrize("content", [pytest.param(content, id=kind) for kind, content in CONTENTS.items()])
def test_push_read_and_delete(wire: Wire, content: Content) -> None:
    """Pushed content is in every kind of answer, and deleted content in none."""
    tag = None if content.algorithm == "sha512" else "tagged"  # a tag names its document by sha256
    push(wire, content, tag)
    for document in content.documents:
        assert_document(wire, content.digest(document), document, content)
    if tag is not None:
        assert_document(wire, tag, content.documents[-1], content)
        assert wire.tags(NAME) == [tag]
        assert wire.http.get(f"/v2/{NAME}/tags/list?last={tag}").get_json()["tags"] == []
    for blob in content.blobs:
        assert wire.http.get(f"/v2/{NAME}/blobs/{content.digest(blob)}").data == blob
    assert_referrers(wire, content)
    delete(wire, content, tag)


def push(wire: Wire, content: Content, tag: str | None) -> None:
    """Blobs first, each manifest by its digest, the last one under its tag."""
    for blob in content.blobs:
        response = wire.http.post(f"/v2/{NAME}/blobs/uploads/?digest={content.digest(blob)}", data=blob)
        assert response.status_code == 201
    for document in content.documents:
        response = wire.put(NAME, content.digest(document), document)
        assert (response.status_code, response.text) == (201, "")
        assert wire.http.get(response.location).data == document
    if tag is not None:
        assert wire.put(NAME, tag, content.documents[-1]).status_code == 201


def assert_document(wire: Wire, reference: str, document: bytes, content: Content) -> None:
    """A manifest is there by a reference, for HEAD and for GET."""
    for method in ("HEAD", "GET"):
        response = wire.http.open(f"/v2/{NAME}/manifests/{reference}", method=method)
        assert response.status_code == 200
        assert response.data == (document if method == "GET" else b"")
        assert response.headers["Content-Length"] == str(len(document))
        assert response.headers["Content-Type"] == json.loads(document)["mediaType"]
        assert response.headers["Docker-Content-Digest"] == content.digest(document)


def assert_referrers(wire: Wire, content: Content) -> None:
    """Every manifest with a subject stands in that subject's list."""
    for document in content.documents:
        subject = json.loads(document).get("subject")
        if subject is not None:
            answer = wire.http.get(f"/v2/{NAME}/referrers/{subject['digest']}").get_json()
            assert digest_of(document) in [descriptor["digest"] for descriptor in answer["manifests"]]


def delete(wire: Wire, content: Content, tag: str | None) -> None:
    """The tag, the manifests from the top, the blobs: each is gone at once."""
    paths = [f"manifests/{tag}"] if tag else []
    paths += [f"manifests/{content.digest(document)}" for document in reversed(content.documents)]
    paths += [f"blobs/{content.digest(blob)}" for blob in content.blobs]
    for path in paths:
        assert wire.http.delete(f"/v2/{NAME}/{path}").status_code == 202
        assert wire.http.head(f"/v2/{NAME}/{path}").status_code == 404
    assert wire.tags(NAME) == []
