"""Manifests, and the index.json that lists those of one repository: parsed and serialised, without I/O.

OCI image specification 1.1 (image manifest, image index), and Docker's two formats of schema 2, which skopeo
and docker push. Manifests are stored byte by byte, so unknown keys are accepted.

In index.json the annotation `org.opencontainers.image.ref.name` of an entry is its tag; an untagged manifest
has an entry without it. An annotation of our own holds the subject, so that referrers are found without
reading every manifest. The keys and annotations of other programs are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pyoci.embedded.errors import Damaged, Refusal
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest, Tag

IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
_IMAGE_MANIFESTS = frozenset({IMAGE_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"})
_IMAGE_INDEXES = frozenset({IMAGE_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})
_TAG = "org.opencontainers.image.ref.name"
_SUBJECT = "com.pyoci.subject"


@dataclass(frozen=True, slots=True)
class Child:
    """A blob or manifest that a manifest needs."""

    digest: Digest
    size: int
    is_manifest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image manifest or an image index."""

    media_type: str
    children: tuple[Child, ...]
    subject: Digest | None
    artifact_type: str | None
    annotations: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, body: bytes, content_type: str) -> Self:
        """Read a manifest; `content_type` is its type by the client or by index.json. Raises Refusal."""
        try:
            raw = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _invalid("the manifest is not JSON") from error
        if not isinstance(raw, dict):
            raise _invalid("the manifest is not a JSON object")
        media_type = _media_type(raw, content_type)
        config = raw.get("config") if media_type in _IMAGE_MANIFESTS else None
        annotations, subject = raw.get("annotations"), raw.get("subject")
        return cls(
            media_type=media_type,
            children=_blobs(raw) if media_type in _IMAGE_MANIFESTS else _manifests(raw),
            subject=None if subject is None else _digest(subject),
            artifact_type=_text(raw.get("artifactType")) or (_text(config["mediaType"]) if config else None),
            annotations=annotations if isinstance(annotations, dict) else {},
        )


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One manifest, under one tag or none. `raw` is the descriptor as it is stored."""

    digest: Digest
    media_type: str
    size: int
    tag: str | None
    subject: str | None
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, raw: Any) -> Self:
        """Raises Damaged if `raw` is not a descriptor."""
        try:
            annotations = raw.get("annotations") or {}
            digest, media_type, size = Digest.parse(raw["digest"]), raw["mediaType"], raw["size"]
            tag, subject = annotations.get(_TAG), annotations.get(_SUBJECT)
        except (InvalidRequest, AttributeError, KeyError, TypeError) as error:
            raise Damaged("the repository's index.json has an entry that is not a descriptor") from error
        if not isinstance(media_type, str) or not isinstance(size, int):
            raise Damaged("the repository's index.json has an entry without a type or size")
        return cls(digest, media_type, size, _tag_or_none(tag), subject, raw)

    @classmethod
    def of(cls, manifest: Manifest, digest: Digest, size: int, tag: str | None) -> Self:
        """The entry of a manifest that was just pushed."""
        subject = None if manifest.subject is None else str(manifest.subject)
        annotations = {name: value for name, value in ((_TAG, tag), (_SUBJECT, subject)) if value is not None}
        raw = {"mediaType": manifest.media_type, "digest": str(digest), "size": size}
        raw |= {"annotations": annotations} if annotations else {}
        return cls(digest, manifest.media_type, size, tag, subject, raw)

    def untagged(self) -> Self:
        """The same manifest, without its tag."""
        annotations = {key: value for key, value in self.raw["annotations"].items() if key != _TAG}
        raw = {key: value for key, value in self.raw.items() if key != "annotations"}
        raw |= {"annotations": annotations} if annotations else {}
        return type(self)(self.digest, self.media_type, self.size, None, self.subject, raw)


@dataclass(frozen=True, slots=True)
class RepositoryIndex:
    """The manifests and tags of a repository: its index.json. `rest` holds the file's other keys."""

    entries: tuple[IndexEntry, ...] = ()
    rest: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, IndexEntry] = field(init=False, repr=False)
    manifests: Mapping[str, IndexEntry] = field(init=False, repr=False)  # by digest

    def __post_init__(self) -> None:
        tags = {entry.tag: entry for entry in self.entries if entry.tag is not None}
        object.__setattr__(self, "tags", tags)
        object.__setattr__(self, "manifests", {str(entry.digest): entry for entry in self.entries})

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Raises Damaged if `text` isn't an image index."""
        try:
            raw = json.loads(text)
            entries = raw.pop("manifests")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
            raise Damaged("the repository's index.json can't be parsed") from error
        if not isinstance(raw, dict) or not isinstance(entries, list):
            raise Damaged("the repository's index.json is not an image index")
        return cls(tuple(IndexEntry.parse(entry) for entry in entries), raw)

    def serialise(self) -> bytes:
        head = {"schemaVersion": 2, "mediaType": IMAGE_INDEX} | dict(self.rest)
        return json.dumps(head | {"manifests": [entry.raw for entry in self.entries]}).encode()

    def with_manifest(self, entry: IndexEntry) -> Self:
        """This index with `entry`. The manifest that had its tag before stays, untagged."""
        digest = str(entry.digest)
        if entry.tag is None and digest in self.manifests:
            return self
        before = self if entry.tag is None else self.without_tag(entry.tag)
        others = (other for other in before.entries if other.tag is not None or str(other.digest) != digest)
        return self._with((*others, entry))

    def without_tag(self, tag: str) -> Self:
        """This index without a tag; the manifest stays."""
        removed = self.tags.get(tag)
        if removed is None:
            return self
        others = tuple(entry for entry in self.entries if entry is not removed)
        if any(entry.digest == removed.digest for entry in others):
            return self._with(others)
        return self._with((*others, removed.untagged()))

    def without_manifests(self, digests: frozenset[str]) -> Self:
        """This index without these manifests and all their tags."""
        return self._with(tuple(entry for entry in self.entries if str(entry.digest) not in digests))

    def _with(self, entries: tuple[IndexEntry, ...]) -> Self:
        return type(self)(entries, self.rest)


def _tag_or_none(text: Any) -> str | None:
    """Another program's name may be no valid tag (`docker.io/library/busybox:1`) and then counts as none."""
    try:
        return Tag.parse(text).value
    except (InvalidRequest, TypeError):
        return None


def _media_type(raw: Mapping[str, Any], content_type: str) -> str:
    own = raw.get("mediaType") or ""
    given = content_type.partition(";")[0].strip().lower()
    if not isinstance(own, str) or (own and given and own.lower() != given):
        raise _invalid(f"the manifest's mediaType {own!r:.100} differs from the Content-Type {given!r:.100}")
    media_type = own.lower() or given
    if media_type not in _IMAGE_MANIFESTS | _IMAGE_INDEXES:
        raise _invalid(
            f"{media_type!r:.100} is not a manifest's type; expected {IMAGE_MANIFEST} or {IMAGE_INDEX}"
        )
    if any(key in raw for key in (("layers", "config") if media_type in _IMAGE_INDEXES else ("manifests",))):
        raise _invalid(
            "the manifest has the keys of an image manifest and of an image index; expected one of them"
        )
    return media_type


def _blobs(raw: Mapping[str, Any]) -> tuple[Child, ...]:
    layers = raw.get("layers")
    if not isinstance(raw.get("config"), dict) or not isinstance(layers, list):
        raise _invalid("the image manifest lacks config or layers")
    needed = [raw["config"], *(layer for layer in layers if not _is_foreign(layer))]
    return tuple(_child(descriptor, is_manifest=False) for descriptor in needed)


def _manifests(raw: Mapping[str, Any]) -> tuple[Child, ...]:
    descriptors = raw.get("manifests")
    if not isinstance(descriptors, list):
        raise _invalid("the image index lacks manifests")
    return tuple(_child(descriptor, is_manifest=True) for descriptor in descriptors)


def _is_foreign(layer: Any) -> bool:
    """Layers that clients fetch from elsewhere (image specification, "Non-Distributable Layers")."""
    if not isinstance(layer, dict):
        raise _invalid("a layer is not a descriptor")
    media_type = str(layer.get("mediaType"))
    return bool(layer.get("urls")) or "nondistributable" in media_type or "rootfs.foreign" in media_type


def _child(raw: Any, *, is_manifest: bool) -> Child:
    """An image index may list other types than manifests; the registry stores those as blobs."""
    digest, size, media_type = _digest(raw), raw.get("size"), _text(raw.get("mediaType"))
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _invalid("a descriptor lacks its size")
    if media_type is None:
        raise _invalid("a descriptor lacks its mediaType")
    return Child(digest, size, is_manifest and media_type in _IMAGE_MANIFESTS | _IMAGE_INDEXES)


def _digest(raw: Any) -> Digest:
    try:
        return Digest.parse(raw["digest"])
    except (KeyError, TypeError) as error:
        raise _invalid("a descriptor lacks its digest") from error
    except InvalidRequest as error:
        raise _invalid(error.message) from error


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _invalid(message: str) -> Refusal:
    return Refusal("MANIFEST_INVALID", message)
