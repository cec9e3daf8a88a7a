"""The list of a repository's documents and tags: the `index.json` of an image layout, as values. Pure.

Each tag is an entry with the annotation `org.opencontainers.image.ref.name`; a document without a tag is an
entry without it. A document that names a subject carries that in an annotation of our own, so that referrers
are found without reading every document. Whatever else stands there survives a rewrite.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pyoci.embedded.errors import Damaged
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest, Tag

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
_TAG = "org.opencontainers.image.ref.name"
_SUBJECT = "com.pyoci.subject"


@dataclass(frozen=True, slots=True)
class Entry:
    """One document, under one tag or none. `raw` is the descriptor as it is stored."""

    digest: Digest
    media_type: str
    size: int
    tag: str | None
    subject: str | None
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, raw: Any) -> Self:
        """Raises Damaged where `raw` is no descriptor."""
        try:
            annotations = raw.get("annotations") or {}
            digest, media_type, size = Digest.parse(raw["digest"]), raw["mediaType"], raw["size"]
            tag, subject = annotations.get(_TAG), annotations.get(_SUBJECT)
        except (InvalidRequest, AttributeError, KeyError, TypeError) as error:
            raise Damaged(
                "the list of this repository's documents has an entry that is no descriptor"
            ) from error
        if not isinstance(media_type, str) or not isinstance(size, int):
            raise Damaged("the list of this repository's documents has an entry without type or size")
        return cls(digest, media_type, size, _tag_or_none(tag), subject, raw)

    @classmethod
    def make(cls, digest: Digest, media_type: str, size: int, tag: str | None, subject: str | None) -> Self:
        """The entry of a document that was just pushed."""
        annotations = {name: value for name, value in ((_TAG, tag), (_SUBJECT, subject)) if value is not None}
        raw: dict[str, Any] = {"mediaType": media_type, "digest": str(digest), "size": size}
        return cls(
            digest,
            media_type,
            size,
            tag,
            subject,
            raw | ({"annotations": annotations} if annotations else {}),
        )

    def untagged(self) -> Self:
        """The same document, without its tag."""
        annotations = {
            name: value for name, value in (self.raw.get("annotations") or {}).items() if name != _TAG
        }
        raw = {name: value for name, value in self.raw.items() if name != "annotations"}
        raw |= {"annotations": annotations} if annotations else {}
        return type(self)(self.digest, self.media_type, self.size, None, self.subject, raw)


@dataclass(frozen=True, slots=True)
class Contents:
    """The documents and tags of a repository. `rest` is what else stands in the file."""

    entries: tuple[Entry, ...] = ()
    rest: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Entry] = field(init=False, repr=False)
    documents: Mapping[str, Entry] = field(init=False, repr=False)  # by digest

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "tags", {entry.tag: entry for entry in self.entries if entry.tag is not None}
        )
        object.__setattr__(self, "documents", {str(entry.digest): entry for entry in self.entries})

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Raises Damaged where `text` isn't an image index."""
        try:
            raw = json.loads(text)
            entries = raw.pop("manifests")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
            raise Damaged("the list of this repository's documents can't be read") from error
        if not isinstance(raw, dict) or not isinstance(entries, list):
            raise Damaged("the list of this repository's documents is no image index")
        return cls(tuple(Entry.parse(entry) for entry in entries), raw)

    def serialise(self) -> bytes:
        head = {"schemaVersion": 2, "mediaType": IMAGE_INDEX} | dict(self.rest)
        return json.dumps(head | {"manifests": [entry.raw for entry in self.entries]}).encode()

    def with_document(self, entry: Entry) -> Self:
        """The same with `entry`, under its tag if it has one; what bore the tag before stays, untagged."""
        digest = str(entry.digest)
        if entry.tag is None and digest in self.documents:
            return self
        before = self if entry.tag is None else self.without_tag(entry.tag)
        others = (other for other in before.entries if other.tag is not None or str(other.digest) != digest)
        return self._with((*others, entry))

    def without_tag(self, tag: str) -> Self:
        """The same without a tag; its document stays."""
        gone = self.tags.get(tag)
        if gone is None:
            return self
        others = tuple(entry for entry in self.entries if entry is not gone)
        if any(entry.digest == gone.digest for entry in others):
            return self._with(others)
        return self._with((*others, gone.untagged()))

    def without_documents(self, digests: frozenset[str]) -> Self:
        """The same without these documents and all their tags."""
        return self._with(tuple(entry for entry in self.entries if str(entry.digest) not in digests))

    def _with(self, entries: tuple[Entry, ...]) -> Self:
        return type(self)(entries, self.rest)


def _tag_or_none(text: Any) -> str | None:
    """A name that another program gave may be no tag (`docker.io/library/busybox:1`): it counts as none."""
    try:
        return Tag.parse(text).value
    except (InvalidRequest, TypeError):
        return None
