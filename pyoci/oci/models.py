"""Documents of a registry (OCI image specification 1.1): Descriptor, ImageIndex, Manifest, Document.

They are parsed leniently where others write them and given back whole: keys that we don't know survive.
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

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# The first version, which docker-registry 2.8 gives whatever was asked for.
DOCKER_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
# docker-registry answers 404 for an image index unless Accept names its type, so all are always named.
ACCEPT = ", ".join((IMAGE_INDEX, IMAGE_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
DOCUMENT_LIMIT = 4 * 1024 * 1024  # bytes

_Json = dict[str, Any]
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Platform:
    """`architecture` and `os`, and whatever else stood there."""

    architecture: str
    os: str
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to a document or blob, with what is known of it."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ProtocolError where a required key is missing or of the wrong type."""
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
        """The same with annotations set, or removed where None is given."""
        merged = {**self.annotations, **changes}
        kept = {key: value for key, value in merged.items() if value is not None}
        return replace(self, annotations=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """The document behind a tag: one descriptor for each manifest."""

    manifests: tuple[Descriptor, ...] = ()
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ProtocolError where a required key is missing or of the wrong type."""
        document = _object(value)
        known = {"schemaVersion", "mediaType", "artifactType", "manifests", "annotations"}
        artifact_type = document.get("artifactType")
        return cls(
            manifests=tuple(Descriptor.from_json(entry) for entry in _list(document, "manifests")),
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
        """Raises ProtocolError where a required key is missing or of the wrong type."""
        document = _object(value)
        known = {"schemaVersion", "mediaType", "artifactType", "config", "layers", "annotations"}
        artifact_type = document.get("artifactType")
        return cls(
            config=Descriptor.from_json(document.get("config")),
            layers=tuple(Descriptor.from_json(entry) for entry in _list(document, "layers")),
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
        """`value` written down. Equal values give equal bytes."""
        document = value.to_json()
        return cls(document["mediaType"], json.dumps(document, separators=(",", ":")).encode())

    @property
    def digest(self) -> Digest:
        return Digest("sha256", hashlib.sha256(self.body).hexdigest())

    def image_index(self) -> ImageIndex | None:
        """The document read, or None where it is something else (a foreign image's manifest, say)."""
        return ImageIndex.from_json(self._json()) if self.media_type == IMAGE_INDEX else None

    def manifest(self) -> Manifest | None:
        """The document read, or None where it is something else."""
        return Manifest.from_json(self._json()) if self.media_type == IMAGE_MANIFEST else None

    def _json(self) -> object:
        return parse_json(self.body, "a document")


def parse_json(body: bytes, what: str) -> Any:
    """`body` as JSON. Raises ProtocolError where it isn't."""
    try:
        # Given bytes, json would let half a character pass that stands there as it is.
        document = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
        if _SURROGATE.search(body):
            # Escaped, it passes all the same, and then nothing that writes text.
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"the registry sent {what} that is not JSON") from exc
    return document


def _no_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's: no registry would take them back."""
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
