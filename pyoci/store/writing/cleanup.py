"""Manifests that a registry's clean-up has taken are written anew: their version can be changed again.

A registry that checks what an image index refers to refuses every change of one whose children are gone:
nobody could add a file, yank or delete one. The file itself is found by the digest in its entry. Where it is
gone too, its entry gets a placeholder: it stays listed, and the same file can be uploaded again.
"""

from __future__ import annotations

import io
from dataclasses import replace

from pyoci.errors import ProtocolError
from pyoci.oci.errors import RegistryError, RegistryNotFound, RegistryNotSupported, RegistryRefused
from pyoci.oci.models import Descriptor, Document, ImageIndex, Manifest
from pyoci.oci.references import Digest, Reference, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import (
    CONFIG_TYPE,
    PACKAGE_TYPE,
    blob_digest,
    config_digest,
    digest_of,
    layer_sha256,
)

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def repaired(session: OCISession, repository: Repository, image_index: ImageIndex) -> ImageIndex:
    """The image index with a new manifest for each that is gone."""
    manifests = tuple(_repaired(session, repository, entry) for entry in image_index.manifests)
    return replace(image_index, manifests=manifests)


def with_manifest(session: OCISession, repository: Repository, entry: Descriptor) -> Descriptor:
    """The entry of a file that is there; with a new manifest where its own is gone, or is a placeholder."""
    file, document = blob_digest(entry), _pulled(session, repository, entry)
    if document is not None and (file is None or _layer(document) == file.hex):
        return entry
    return _rewritten(session, repository, entry)


def _repaired(session: OCISession, repository: Repository, entry: Descriptor) -> Descriptor:
    return entry if _pulled(session, repository, entry) else _rewritten(session, repository, entry)


def _pulled(session: OCISession, repository: Repository, entry: Descriptor) -> Document | None:
    try:
        return session.pull(repository, entry.digest)
    except RegistryNotFound:
        return None


def _layer(document: Document) -> str | None:
    try:
        return layer_sha256(document.manifest())
    except ProtocolError:
        return None


def _rewritten(session: OCISession, repository: Repository, entry: Descriptor) -> Descriptor:
    file = blob_digest(entry)
    size = None if file is None else session.blob_size(repository, file)
    if file is not None and size is not None:
        config = _config(session, repository, entry)
        layers: tuple[Descriptor, ...] = (Descriptor(media_type=PACKAGE_TYPE, digest=file, size=size),)
    else:
        # Two layers, so that nobody takes either for the file.
        config = _empty(session, repository)
        layers = (config, config)
    manifest = Document.of(Manifest(artifact_type=PACKAGE_TYPE, config=config, layers=layers))
    session.push(repository, manifest.digest, manifest)
    return replace(entry, digest=manifest.digest, size=len(manifest.body))


def _config(session: OCISession, repository: Repository, entry: Descriptor) -> Descriptor:
    """Our config blob where it is still there; else an empty one, as the Rust PyOCI has it."""
    known = config_digest(entry)
    size = None if known is None else session.blob_size(repository, known)
    if known is not None and size is not None:
        return Descriptor(media_type=CONFIG_TYPE, digest=known, size=size)
    return _empty(session, repository)


def _empty(session: OCISession, repository: Repository) -> Descriptor:
    empty: Digest = digest_of(_EMPTY)
    session.push_blob(repository, io.BytesIO(_EMPTY), len(_EMPTY), empty)
    return Descriptor(media_type=_EMPTY_TYPE, digest=empty, size=len(_EMPTY))


def removed(session: OCISession, repository: Repository, tag: Tag, digest: Digest) -> bool:
    """Remove the tag of a version that has lost its last file, and tell whether it went; `digest` is that of
    its image index. There is no way at ghcr.io and Docker Hub.
    """
    untagged = attempted(session, repository, tag, RegistryNotSupported, RegistryRefused)
    accepted = (RegistryError,) if untagged else (RegistryNotSupported, RegistryRefused)
    return attempted(session, repository, digest, *accepted) or untagged


def attempted(
    session: OCISession, repository: Repository, reference: Reference, *accepted: type[RegistryError]
) -> bool:
    """Delete and tell whether it went: a refusal of an accepted kind is no, being gone already is yes."""
    try:
        session.delete(repository, reference)
    except RegistryNotFound:
        return True
    except accepted:
        return False
    return True
