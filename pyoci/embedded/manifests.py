"""A document that somebody pushes: its type, what it needs to be there, what it refers to. Pure.

OCI image specification 1.1 (image manifest, image index), and Docker's two of schema 2, which skopeo and
docker push. Unknown keys are nobody's business: documents are kept byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pyoci.embedded.contents import IMAGE_INDEX
from pyoci.embedded.errors import Refusal
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest

DOCUMENT_LIMIT = 4 * 1024 * 1024  # bytes; the least that OCI distribution 1.1 asks a registry to take
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_IMAGES = frozenset({MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"})
_LISTS = frozenset({IMAGE_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})


@dataclass(frozen=True, slots=True)
class Child:
    """A blob or document that another one needs."""

    digest: Digest
    size: int
    is_document: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An image manifest or an image index."""

    media_type: str
    children: tuple[Child, ...]
    subject: Digest | None
    artifact_type: str | None
    annotations: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, body: bytes, content_type: str = "") -> Self:
        """Read a document; `content_type` is its type as the client, or our list, has it. Raises Refusal."""
        try:
            raw = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _invalid("the document is not JSON") from error
        if not isinstance(raw, dict):
            raise _invalid("the document is not a JSON object")
        media_type = _media_type(raw, content_type)
        config = raw.get("config") if media_type in _IMAGES else None
        return cls(
            media_type=media_type,
            children=_blobs(raw) if media_type in _IMAGES else _documents(raw),
            subject=_subject(raw),
            artifact_type=_text(raw.get("artifactType")) or (_text(config["mediaType"]) if config else None),
            annotations=_annotations(raw),
        )


def _media_type(raw: Mapping[str, Any], content_type: str) -> str:
    own = raw.get("mediaType") or ""
    given = content_type.partition(";")[0].strip().lower()
    if not isinstance(own, str) or (own and given and own.lower() != given):
        raise _invalid(f"the document's mediaType {own!r:.100} differs from the Content-Type {given!r:.100}")
    media_type = own.lower() or given
    if media_type not in _IMAGES | _LISTS:
        raise _invalid(f"{media_type!r:.100} is not a type of document; expected {MANIFEST} or {IMAGE_INDEX}")
    foreign = ("layers", "config") if media_type in _LISTS else ("manifests",)
    if any(key in raw for key in foreign):
        raise _invalid(
            "the document has the keys of an image manifest and of an image index; expected one of them"
        )
    return media_type


def _blobs(raw: Mapping[str, Any]) -> tuple[Child, ...]:
    layers = raw.get("layers")
    if not isinstance(raw.get("config"), dict) or not isinstance(layers, list):
        raise _invalid("the image manifest lacks config or layers")
    needed = [raw["config"], *(layer for layer in layers if not _is_foreign(layer))]
    return tuple(_child(descriptor, is_document=False) for descriptor in needed)


def _documents(raw: Mapping[str, Any]) -> tuple[Child, ...]:
    manifests = raw.get("manifests")
    if not isinstance(manifests, list):
        raise _invalid("the image index lacks manifests")
    found = (_child(descriptor, is_document=True) for descriptor in manifests)
    # An image index may also list what is neither manifest nor image index: that lies here as a blob.
    return tuple(
        child
        if descriptor["mediaType"] in _IMAGES | _LISTS
        else Child(child.digest, child.size, is_document=False)
        for child, descriptor in zip(found, manifests, strict=True)
    )


def _is_foreign(layer: Any) -> bool:
    """Layers that are fetched from elsewhere (image specification, "Non-Distributable Layers")."""
    if not isinstance(layer, dict):
        raise _invalid("a layer is not a descriptor")
    media_type = str(layer.get("mediaType"))
    return bool(layer.get("urls")) or "nondistributable" in media_type or "rootfs.foreign" in media_type


def _child(raw: Any, *, is_document: bool) -> Child:
    digest, size = _digest(raw), raw.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _invalid("a descriptor lacks its size")
    if not _text(raw.get("mediaType")):
        raise _invalid("a descriptor lacks its mediaType")
    return Child(digest, size, is_document)


def _digest(raw: Any) -> Digest:
    try:
        return Digest.parse(raw["digest"])
    except (KeyError, TypeError) as error:
        raise _invalid("a descriptor lacks its digest") from error
    except InvalidRequest as error:
        raise _invalid(error.message) from error


def _subject(raw: Mapping[str, Any]) -> Digest | None:
    subject = raw.get("subject")
    return None if subject is None else _digest(subject)


def _annotations(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations = raw.get("annotations")
    return annotations if isinstance(annotations, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _invalid(message: str) -> Refusal:
    return Refusal("MANIFEST_INVALID", message)
