"""Manifests that a registry's clean-up has taken are written anew: their version can be changed again.

A registry that checks what an image index refers to refuses every change of one whose children are gone:
nobody could add a file, yank or delete one. The file itself is found by the digest in its entry.
"""

from __future__ import annotations

import io
from dataclasses import replace

from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Descriptor, Document, ImageIndex, Manifest
from pyoci.oci.references import Digest, Repository
from pyoci.oci.session import OCISession
from pyoci.store.layout import CONFIG_TYPE, PACKAGE_TYPE, blob_digest, config_digest, digest_of

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def repaired(session: OCISession, repository: Repository, image_index: ImageIndex) -> ImageIndex:
    """The image index with a new manifest for each that is gone and whose file is still there."""
    manifests = tuple(_repaired(session, repository, entry) for entry in image_index.manifests)
    return replace(image_index, manifests=manifests)


def _repaired(session: OCISession, repository: Repository, entry: Descriptor) -> Descriptor:
    try:
        session.pull(repository, entry.digest)
    except RegistryNotFound:
        pass
    else:
        return entry
    file = blob_digest(entry)
    size = None if file is None else session.blob_size(repository, file)
    if file is None or size is None:
        return entry
    manifest = Document.of(
        Manifest(
            artifact_type=PACKAGE_TYPE,
            config=_config(session, repository, entry),
            layers=(Descriptor(media_type=PACKAGE_TYPE, digest=file, size=size),),
        )
    )
    session.push(repository, manifest.digest, manifest)
    return replace(entry, digest=manifest.digest, size=len(manifest.body))


def _config(session: OCISession, repository: Repository, entry: Descriptor) -> Descriptor:
    """Our config blob where it is still there; else an empty one, as the Rust PyOCI has it."""
    known = config_digest(entry)
    size = None if known is None else session.blob_size(repository, known)
    if known is not None and size is not None:
        return Descriptor(media_type=CONFIG_TYPE, digest=known, size=size)
    empty: Digest = digest_of(_EMPTY)
    session.push_blob(repository, io.BytesIO(_EMPTY), len(_EMPTY), empty)
    return Descriptor(media_type=_EMPTY_TYPE, digest=empty, size=len(_EMPTY))
