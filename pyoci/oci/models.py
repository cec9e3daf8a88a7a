"""Documents of a registry (OCI image specification 1.1): Descriptor, ImageIndex, Manifest, Document.

They are parsed leniently, because other clients write them, and written with all keys, including unknown
ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pyoci.errors import InvalidRequest, ProtocolError
from pyoci.oci.references import Digest
from pyoci.pauses import Pauses, json_hook

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# Schema 1, which docker-registry 2.8 sends whatever Accept says.
DOCKER_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

_Json = dict[str, Any]
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Platform:
    """`architecture` and `os`, and other keys."""

    architecture: str
    os: str
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to a document or blob, with its type, size and annotations."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ProtocolError if a required key is missing or of the wrong type."""
        document = _object(value)
        known = {"mediaType", "digest", "size", "platform", "annotations"}
        return cls(
            media_type=_text(document, "mediaType"),
            digest=_digest(_text(document, "digest")),
            size=_size(document),
            platform=_platform(document.get("platform")),
            annotations=_annotations(document),
            other={key: value for key, value in document.items() if key not in known},
        )

    def to_json(self) -> _Json:
        document: _Json = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.platform is not None:
            document["platform"] = {
                "architecture": self.platform.architecture,
                "os": self.platform.os,
                **self.platform.other,
            }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document | dict(self.other)

    def annotated(self, changes: Mapping[str, str | None]) -> Self:
        """A copy with annotations set, or removed where the value is None."""
        merged = {**self.annotations, **changes}
        return replace(self, annotations={key: value for key, value in merged.items() if value is not None})


# The blob that a manifest refers to if it has no config, or no layers ("Guidance for an Empty Descriptor").
EMPTY_BLOB = b"{}"
EMPTY_DESCRIPTOR = Descriptor(
    media_type="application/vnd.oci.empty.v1+json",
    digest=Digest("sha256", hashlib.sha256(EMPTY_BLOB).hexdigest()),
    size=len(EMPTY_BLOB),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """The document of a tag: one descriptor for each manifest."""

    manifests: tuple[Descriptor, ...] = ()
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ProtocolError if a required key is missing or of the wrong type."""
        document = _object(value)
        known = {"schemaVersion", "mediaType", "artifactType", "manifests", "annotations"}
        artifact_type = document.get("artifactType")
        return cls(
            manifests=_descriptors(document, "manifests"),
            artifact_type=artifact_type if isinstance(artifact_type, str) else None,
            annotations=_annotations(document),
            other={key: value for key, value in document.items() if key not in known},
        )

    def to_json(self) -> _Json:
        document: _Json = {"schemaVersion": 2, "mediaType": IMAGE_INDEX}
        if self.artifact_type is not None:
            document["artifactType"] = self.artifact_type
        document["manifests"] = [descriptor.to_json() for descriptor in self.manifests]
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document | dict(self.other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The document of one artifact: a config and its layers."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ProtocolError if a required key is missing or of the wrong type."""
        document = _object(value)
        known = {"schemaVersion", "mediaType", "artifactType", "config", "layers", "annotations"}
        artifact_type = document.get("artifactType")
        return cls(
            config=Descriptor.from_json(document.get("config")),
            layers=_descriptors(document, "layers"),
            artifact_type=artifact_type if isinstance(artifact_type, str) else None,
            annotations=_annotations(document),
            other={key: value for key, value in document.items() if key not in known},
        )

    def to_json(self) -> _Json:
        document: _Json = {"schemaVersion": 2, "mediaType": IMAGE_MANIFEST}
        if self.artifact_type is not None:
            document["artifactType"] = self.artifact_type
        document["config"] = self.config.to_json()
        document["layers"] = [descriptor.to_json() for descriptor in self.layers]
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document | dict(self.other)


@dataclass(frozen=True, slots=True)
class Document:
    """The exact bytes of a manifest or image index, and their media type without parameters."""

    media_type: str
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, value: ImageIndex | Manifest) -> Self:
        """`value` as a document. Equal values give equal bytes."""
        document = value.to_json()
        return cls(document["mediaType"], json.dumps(document, separators=(",", ":")).encode())

    @property
    def digest(self) -> Digest:
        return Digest("sha256", hashlib.sha256(self.body).hexdigest())

    def image_index(self) -> ImageIndex | None:
        """The parsed document; None if it is of another type, such as a container image's manifest."""
        return ImageIndex.from_json(self._json()) if self.media_type == IMAGE_INDEX else None

    def manifest(self) -> Manifest | None:
        """The parsed document; None if it is of another type."""
        return Manifest.from_json(self._json()) if self.media_type == IMAGE_MANIFEST else None

    def parsed(self) -> ImageIndex | Manifest | None:
        """The parsed document of the OCI's or of Docker's types; None if it is of another type."""
        if self.media_type in {IMAGE_INDEX, DOCKER_LIST}:
            return ImageIndex.from_json(self._json())
        if self.media_type in {IMAGE_MANIFEST, DOCKER_MANIFEST}:
            return Manifest.from_json(self._json())
        return None

    def _json(self) -> object:
        return parse_json(self.body, "a document")


def parse_json(body: bytes, what: str) -> Any:
    """`body` as JSON. Raises ProtocolError if it isn't JSON."""
    try:
        # Decoding first refuses lone surrogates in the bytes, which json.loads(bytes) accepts.
        text, hook = body.decode("utf-8-sig"), json_hook(len(body))
        document = json.loads(text, parse_constant=_no_constant, object_hook=hook)
        if _SURROGATE.search(body):
            # An escaped lone surrogate passes as well, and would fail when the text is encoded.
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"the registry sent {what} that is not JSON") from exc
    return document


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python parses but JSON doesn't have: no registry would accept them."""
    raise ValueError(name)


def _object(value: object) -> _Json:
    if not isinstance(value, dict):
        raise ProtocolError("the registry sent a document of the wrong shape; expected a JSON object")
    return value


def _text(document: _Json, key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise ProtocolError(f"the registry sent a document of the wrong shape; expected a text as {key}")
    return value


def _list(document: _Json, key: str) -> list[object]:
    value = document.get(key)
    if not isinstance(value, list):
        raise ProtocolError(f"the registry sent a document of the wrong shape; expected a list as {key}")
    return value


def _descriptors(document: _Json, key: str) -> tuple[Descriptor, ...]:
    pause = Pauses()
    return tuple(Descriptor.from_json(pause.after(entry)) for entry in _list(document, key))


def _size(document: _Json) -> int:
    value = document.get("size")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ProtocolError("the registry sent a document of the wrong shape; expected a number as size")
    return value


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidRequest as exc:
        raise ProtocolError(f"the registry sent a document with a bad digest: {exc.message}") from exc


def _platform(value: object) -> Platform | None:
    if value is None:
        return None
    document = _object(value)
    other = {key: value for key, value in document.items() if key not in {"architecture", "os"}}
    return Platform(_text(document, "architecture"), _text(document, "os"), other)


def _annotations(document: _Json) -> dict[str, str]:
    value = document.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ProtocolError("the registry sent a document of the wrong shape; expected texts as annotations")
    return value
