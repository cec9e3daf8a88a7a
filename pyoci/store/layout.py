"""The stored format: tags, platforms, annotations and the config blob, as `docs/storage.rst` specifies them.

The Rust PyOCI uses the same format, and each reads what the other has written. It ignores the annotations
that only we write; their keys begin with `com.pyoci.`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from pyoci.distributions.filenames import Distribution, parse_filename, rebuild_filename
from pyoci.distributions.labels import DESCRIPTION, SUMMARY_LIMIT, TITLE, shown_line
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, ProtocolError
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Descriptor, Document, ImageIndex, Manifest
from pyoci.oci.references import Digest, Tag
from pyoci.store.models import PackageFile

PACKAGE_TYPE = "application/pyoci.package.v1"
CONFIG_TYPE = "application/vnd.pyoci.config.v1+json"

CREATED = "org.opencontainers.image.created"
SHA256 = "com.pyoci.sha256_digest"
PROJECT_URLS = "com.pyoci.project_urls"
FILENAME = "com.pyoci.filename"
SIZE = "com.pyoci.size"
REQUIRES_PYTHON = "com.pyoci.requires_python"
CONFIG_DIGEST = "com.pyoci.config_digest"
CORE_METADATA = "com.pyoci.core_metadata"
YANKED = "com.pyoci.yanked"
PUBLISHER = "com.pyoci.publisher"
UPSTREAM_URL = "com.pyoci.upstream_url"
PROVENANCE = "com.pyoci.provenance"
CHANGED = "com.pyoci.changed"
UPLOAD = "com.pyoci.upload"

OURS = "com.pyoci."
PUBLISHER_LIMIT = 255  # characters
_HEX = re.compile(r"[0-9a-f]{64}")
_NO_URLS: Mapping[str, str] = {}  # one object for all files
_WEB_URL = re.compile(r"https?://[!-~]{1,2048}", re.IGNORECASE)


def tag_of(version: Version) -> Tag:
    """The tag of a version: `1_2.0-cu121` for `1!2.0+cu121`. Raises InvalidRequest if it is too long."""
    return spelled_tag(str(version))


def spelled_tag(text: str) -> Tag:
    """The tag of a version that isn't normalised: the Rust PyOCI stores `1.0RC1` under `1.0RC1`.

    Raises InvalidRequest if the tag has more than 128 characters.
    """
    try:
        return Tag.parse(text.replace("+", "-").replace("!", "_"))
    except InvalidRequest:
        raise InvalidRequest(
            f"the version {text[:40]!a} can't be a tag; expected at most 128 characters"
        ) from None


def version_text_of(tag: str) -> str:
    """The version in a tag, as text: the first `-` becomes `+`, and `_` after the leading digits becomes `!`.

    Any other `_` is kept: the Rust PyOCI writes `1.0-ubuntu_1` for `1.0+ubuntu_1`, which is valid in PEP 440.
    """
    text = re.sub(r"^(v?[0-9]+)_", r"\1!", tag, count=1)
    return text.replace("-", "+", 1)


@lru_cache(maxsize=16384)
def version_of(tag: str) -> Version | None:
    """The version of a tag; None for any tag that isn't a version, such as `latest` or a signature's."""
    if len(tag) > 128:
        return None
    try:
        return Version(version_text_of(tag))
    except (InvalidVersion, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in an image index: its descriptor and its parsed file name."""

    descriptor: Descriptor
    distribution: Distribution

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the file in hex. None for files of the earliest Rust PyOCI, which stored it only in
        the file's manifest.
        """
        digest = blob_digest(self.descriptor)
        return digest.hex if digest is not None else None

    @property
    def config_digest(self) -> Digest | None:
        return config_digest(self.descriptor)

    @property
    def core_metadata(self) -> str | None:
        """The SHA-256 of METADATA in hex; None if METADATA can't be served."""
        return self._hash_in_config(CORE_METADATA)

    def _hash_in_config(self, key: str) -> str | None:
        """The hash of a text in the config blob, from the annotation `key`; None unless the entry has the
        blob's digest, too.
        """
        value = self.descriptor.annotations.get(key, "")
        return value if _HEX.fullmatch(value) and self.config_digest is not None else None

    def file(self, sha256: str) -> PackageFile:
        """The file as the page shows it. Annotations that can't be parsed are ignored."""
        annotations = self.descriptor.annotations
        size = annotations.get(SIZE, "")
        return PackageFile(
            distribution=self.distribution,
            sha256=sha256,
            size=int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None,
            upload_time=parsed_time(annotations.get(CREATED, "")),
            requires_python=annotations.get(REQUIRES_PYTHON) or None,
            core_metadata=self.core_metadata,
            yanked=annotations.get(YANKED),
            publisher=_publisher(annotations.get(PUBLISHER, "")),
            upstream_url=_web_url(annotations.get(UPSTREAM_URL, "")),
            provenance=self._hash_in_config(PROVENANCE),
            project_urls=_project_urls(annotations.get(PROJECT_URLS, "")),
        )


def _publisher(name: str) -> str | None:
    return name if name.isprintable() and 0 < len(name) <= PUBLISHER_LIMIT else None


def is_package(image_index: ImageIndex) -> bool:
    """Whether the image index holds a version of a Python package, and not a foreign image."""
    return image_index.artifact_type == PACKAGE_TYPE


def package_in(image_index: ImageIndex | None, pull: Callable[[Digest], Document]) -> ImageIndex | None:
    """The image index of a version, and None for anything else.

    Older versions of containers/image lose the `artifactType` when they copy. Such an image index is
    recognised by an annotation of ours, or by the manifest of its first entry, which `pull` reads. It is
    returned with the type, so the next write restores the type in the registry.
    """
    if image_index is None or is_package(image_index):
        return image_index
    if image_index.artifact_type is not None or not (
        is_annotated(image_index) or any(_is_file(entry, pull) for entry in image_index.manifests[:1])
    ):
        return None
    return replace(image_index, artifact_type=PACKAGE_TYPE)


def is_annotated(value: ImageIndex | Manifest) -> bool:
    """Whether a document or one of the descriptors in it has an annotation of ours."""
    mappings = [value.annotations, *(entry.annotations for entry in descriptors_of(value))]
    return any(key.startswith(OURS) for annotations in mappings for key in annotations)


def descriptors_of(value: ImageIndex | Manifest) -> tuple[Descriptor, ...]:
    """The descriptors of everything that a document refers to."""
    return value.manifests if isinstance(value, ImageIndex) else (value.config, *value.layers)


def _is_file(entry: Descriptor, pull: Callable[[Digest], Document]) -> bool:
    """Whether an entry's manifest describes a file. The manifests of container images aren't read: their
    entries name an operating system.
    """
    if entry.platform is None or entry.platform.os != "any":
        return False
    try:
        manifest = pull(entry.digest).manifest()
    except (RegistryNotFound, ProtocolError):
        return False
    return manifest is not None and PACKAGE_TYPE in {layer.media_type for layer in manifest.layers}


def entries(image_index: ImageIndex, name: ProjectName, tag: str) -> Iterator[Entry]:
    """The files of the version under `tag`. Entries that aren't files are skipped."""
    version = version_of(tag)
    if version is None or not is_package(image_index):
        return
    for descriptor in image_index.manifests:
        if descriptor.platform is not None:
            distribution = _distribution(descriptor, name, version, tag, descriptor.platform.architecture)
            if distribution is not None:
                yield Entry(descriptor, distribution)


def _distribution(
    descriptor: Descriptor, name: ProjectName, version: Version, tag: str, suffix: str
) -> Distribution | None:
    """The parsed file name of an entry, or None if the entry isn't a file.

    The name comes from our annotation if that agrees with the project, version and platform of the entry.
    Otherwise it is the name that the Rust PyOCI would give the file. The files of a version share `version`.
    """
    with suppress(InvalidRequest):
        named = parse_filename(descriptor.annotations.get(FILENAME, ""), name)
        if (named.name, named.version, named.suffix) == (name, version, suffix):
            return replace(named, version=version)
    with suppress(InvalidRequest):
        return replace(rebuild_filename(name, version_text_of(tag), suffix), version=version)
    return None


def with_entry(
    image_index: ImageIndex | None, descriptor: Descriptor, created: datetime, labels: Mapping[str, str]
) -> ImageIndex:
    """The image index with one more file; a new image index if there is none yet. The `labels` of a version
    are those of its first file.
    """
    if image_index is None:
        return ImageIndex(
            artifact_type=PACKAGE_TYPE,
            manifests=(descriptor,),
            annotations={CREATED: stamp(created), **labels},
        )
    # An emptied version takes the labels of the file that fills it again.
    added = {} if image_index.manifests else labels
    return replace(
        image_index,
        manifests=(*image_index.manifests, descriptor),
        annotations={**image_index.annotations, **added},
    )


def summary_in(image_index: ImageIndex) -> str | None:
    """The summary among the labels of a version; None for a version without labels."""
    annotations = image_index.annotations
    summary = annotations.get(DESCRIPTION, "" if TITLE in annotations else None)
    return None if summary is None else shown_line(summary, SUMMARY_LIMIT)


def rewritten(
    image_index: ImageIndex, manifests: tuple[Descriptor, ...], now: datetime, unique: str
) -> ImageIndex:
    """The image index with other entries, and with an annotation that makes its digest unique.

    Without the annotation, deleting a file could restore the digest from before its upload, and a stale
    answer of a registry would look like the current one. Two empty versions would share a digest, and
    deleting one by its digest would remove both tags.
    """
    annotations = {**image_index.annotations, CHANGED: f"{stamp(now)} {unique}"}
    return replace(image_index, manifests=manifests, annotations=annotations)


def changed_at(image_index: ImageIndex) -> float:
    """When the image index was written, in seconds since the epoch; 0.0 if no annotation has a time."""
    stamps = [image_index.annotations.get(CHANGED, "").partition(" ")[0]]
    stamps += [image_index.annotations.get(CREATED, "")]
    stamps += [entry.annotations.get(CREATED, "") for entry in image_index.manifests]
    return max((moment.timestamp() for moment in map(parsed_time, stamps) if moment is not None), default=0.0)


def core_metadata_of(config: bytes, sha256: str) -> bytes:
    """METADATA from a config blob. Raises ProtocolError if its SHA-256 isn't `sha256`."""
    return _text_in(config, "coreMetadata", "core metadata", sha256)


def provenance_of(config: bytes, sha256: str) -> bytes:
    """The provenance (PEP 740) from a config blob. Raises ProtocolError if its SHA-256 isn't `sha256`."""
    return _text_in(config, "provenance", "provenance", sha256)


def _text_in(config: bytes, key: str, what: str, sha256: str) -> bytes:
    try:
        text = json.loads(config)[key].encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ProtocolError(
            f"the registry's config blob has no {what}, but the image index says that it has"
        ) from exc
    if hashlib.sha256(text).hexdigest() != sha256:
        raise ProtocolError(f"the {what} in the config blob has another hash than the image index says")
    return bytes(text)


def blob_digest(descriptor: Descriptor) -> Digest | None:
    """The digest of an entry's file, from its annotation; None if that is missing or invalid."""
    value = descriptor.annotations.get(SHA256, "")
    return Digest("sha256", value) if _HEX.fullmatch(value) else None


def config_digest(descriptor: Descriptor) -> Digest | None:
    """The digest of an entry's config blob, from its annotation; None if that is missing or invalid."""
    try:
        return Digest.parse(descriptor.annotations.get(CONFIG_DIGEST, ""))
    except InvalidRequest:
        return None


def layer_sha256(manifest: Manifest | None) -> str | None:
    """The SHA-256 in hex of a manifest's only layer, which is the file; None if it isn't for one file."""
    if manifest is None or len(manifest.layers) != 1 or manifest.layers[0].digest.algorithm != "sha256":
        return None
    return manifest.layers[0].digest.hex


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def stamp(moment: datetime) -> str:
    """A time as annotations have it, `2026-11-20T20:23:36Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=1024)
def parsed_time(text: str) -> datetime | None:
    """The time in an annotation, with a zone; None if it can't be read."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _project_urls(text: str) -> Mapping[str, str]:
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return _NO_URLS
    if not isinstance(found, dict):
        return _NO_URLS
    return {label: url for label, url in found.items() if isinstance(url, str) and is_web_url(url)}


def _web_url(text: str) -> str | None:
    return text if is_web_url(text) else None


def is_web_url(text: str) -> bool:
    """Whether a project URL may be shown as a link: a `javascript:` URL may not. It is checked again on
    reading, because other writers of the format don't check.
    """
    return _WEB_URL.fullmatch(text) is not None
