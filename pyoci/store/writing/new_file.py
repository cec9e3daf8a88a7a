"""NewFile: the documents of a file that is being published: its config blob, its manifest and its entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pyoci.distributions.filenames import Distribution
from pyoci.distributions.labels import TITLE
from pyoci.distributions.metadata import CoreMetadata
from pyoci.oci.models import IMAGE_MANIFEST, Descriptor, Document, Manifest, Platform
from pyoci.oci.references import Digest
from pyoci.store.layout import (
    CONFIG_DIGEST,
    CONFIG_TYPE,
    CORE_METADATA,
    CREATED,
    FILENAME,
    PACKAGE_TYPE,
    PROJECT_URLS,
    PROVENANCE,
    PUBLISHER,
    REQUIRES_PYTHON,
    SHA256,
    SIZE,
    UPLOAD,
    UPSTREAM_URL,
    YANKED,
    digest_of,
    stamp,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """An uploaded file, with all that its manifest, config blob and descriptor are made from."""

    distribution: Distribution
    sha256: str
    size: int
    metadata: CoreMetadata
    project_urls: Mapping[str, str]
    labels: Mapping[str, str]
    attestations: str  # as they were sent; "" if there are none
    created: datetime
    yanked: str | None = None
    imported: datetime | None = None  # when it was imported; `created` is then that of another package index
    upstream_url: str = ""  # where it was imported from; "" if that isn't kept
    provenance: str = ""  # the document that another package index has for it; "" if there is none
    publisher: str = ""  # the user who has published it; "" if that isn't kept
    unique: str  # makes the manifest unique: two uploads that shared one would be deleted together

    @property
    def digest(self) -> Digest:
        return Digest("sha256", self.sha256)

    @property
    def has_core_metadata(self) -> bool:
        """Whether METADATA is stored. That of an sdist may change when it is built, and the config blob is
        JSON, which has to be UTF-8.
        """
        return self.distribution.filetype == "bdist_wheel" and self.metadata.is_utf8

    @property
    def _created(self) -> str:
        """The upload time. If it comes from another package index, it has microseconds, as in lock files."""
        if self.imported is None or not self.created.microsecond:
            return stamp(self.created)
        return f"{stamp(self.created)[:-1]}.{self.created.microsecond:06}Z"

    def config(self) -> bytes:
        """The config blob."""
        document = {
            "filename": self.distribution.filename,
            "size": self.size,
            "sha256": self.sha256,
            "filetype": self.distribution.filetype,
        }
        if self.has_core_metadata:
            document["coreMetadata"] = self.metadata.text.decode()
        if self.attestations:
            document["attestations"] = self.attestations
        if self.provenance:
            document["provenance"] = self.provenance
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    def manifest(self, config: bytes) -> Document:
        """The manifest. It has one layer, because the Rust PyOCI fails on more; labels are annotations. The
        layer has the file's name, under which `oras pull` writes it.
        """
        layer = Descriptor(
            media_type=PACKAGE_TYPE,
            digest=self.digest,
            size=self.size,
            annotations={TITLE: self.distribution.filename},
        )
        annotations = {**self.labels, CREATED: self._created, UPLOAD: self.unique}
        return Document.of(
            Manifest(
                artifact_type=PACKAGE_TYPE,
                config=Descriptor(media_type=CONFIG_TYPE, digest=digest_of(config), size=len(config)),
                layers=(layer,),
                annotations=annotations,
            )
        )

    def descriptor(self, config: bytes, manifest: Document) -> Descriptor:
        """The file's entry in the image index. Its annotations have everything that a page shows."""
        annotations = {
            CREATED: self._created,
            SHA256: self.sha256,
            PROJECT_URLS: json.dumps(dict(self.project_urls), separators=(",", ":")),
            FILENAME: self.distribution.filename,
            SIZE: str(self.size),
            CONFIG_DIGEST: str(digest_of(config)),
        }
        if self.metadata.requires_python:
            annotations[REQUIRES_PYTHON] = self.metadata.requires_python
        if self.publisher:
            annotations[PUBLISHER] = self.publisher
        if self.yanked is not None:
            annotations[YANKED] = self.yanked
        if self.upstream_url:
            annotations[UPSTREAM_URL] = self.upstream_url
        if self.provenance:
            annotations[PROVENANCE] = hashlib.sha256(self.provenance.encode()).hexdigest()
        if self.has_core_metadata:
            annotations[CORE_METADATA] = hashlib.sha256(self.metadata.text).hexdigest()
        return Descriptor(
            media_type=IMAGE_MANIFEST,
            digest=manifest.digest,
            size=len(manifest.body),
            platform=Platform(self.distribution.suffix, "any"),
            annotations=annotations,
        )
