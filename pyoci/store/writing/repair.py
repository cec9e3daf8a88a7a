"""Repair: what a registry's clean-up has removed from a version is pushed again, so that it can be changed.

Some registries check the manifests that an image index refers to. If one of them is gone, they refuse every
change: nobody could add, yank or delete a file of the version. So a new manifest is pushed for the file,
which is found by the digest in its entry. If the file is gone, too, the manifest is a placeholder: the file
stays listed, and can be uploaded again.
"""

from __future__ import annotations

from dataclasses import replace

from pyoci.errors import ProtocolError
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import EMPTY_BLOB, EMPTY_DESCRIPTOR, Descriptor, Document, ImageIndex, Manifest
from pyoci.oci.references import Digest, Repository
from pyoci.oci.session import OCISession
from pyoci.store import layout
from pyoci.store.project import StoredProject
from pyoci.store.writing.incoming import IncomingFile
from pyoci.store.writing.steps import push_config


def with_manifests(session: OCISession, repository: Repository, image_index: ImageIndex) -> ImageIndex:
    """Push a new manifest for each that is gone, and return the image index that refers to them."""
    manifests = (
        entry if _pulled(session, repository, entry) else with_new_manifest(session, repository, entry)
        for entry in image_index.manifests
    )
    return replace(image_index, manifests=tuple(manifests))


def restored(project: StoredProject, entry: layout.Entry, incoming: IncomingFile) -> Descriptor:
    """Push again what the registry has lost of a file, from an upload of the same file. Returns the file's
    descriptor, which has a new manifest if the old one is gone or is a placeholder.
    """
    session, repository, descriptor = project.session, project.repository, entry.descriptor
    new = incoming.file()  # this verifies that it is the same file: so far only the form said so
    session.push_blob(repository, incoming.content, new.size, new.digest)
    config = new.config()
    if entry.config_digest == layout.digest_of(config):
        push_config(session, repository, config)
    file, document = layout.blob_digest(descriptor), _pulled(session, repository, descriptor)
    if document is not None and (file is None or _layer(document) == file.hex):
        return descriptor
    return with_new_manifest(session, repository, descriptor)


def _pulled(session: OCISession, repository: Repository, entry: Descriptor) -> Document | None:
    try:
        return session.pull(repository, entry.digest)
    except RegistryNotFound:
        return None


def _layer(document: Document) -> str | None:
    try:
        return layout.layer_sha256(document.manifest())
    except ProtocolError:
        return None


def with_new_manifest(session: OCISession, repository: Repository, entry: Descriptor) -> Descriptor:
    """Push a manifest for a file. It refers to the file's config blob if the registry has that; otherwise to
    an empty one, like the manifests of the Rust PyOCI.
    """
    file = _blob(session, repository, layout.PACKAGE_TYPE, layout.blob_digest(entry))
    config = file and _blob(session, repository, layout.CONFIG_TYPE, layout.config_digest(entry))
    if config is None:
        push_config(session, repository, EMPTY_BLOB)
        config = EMPTY_DESCRIPTOR
    # A placeholder has two layers, because a manifest with one layer would be read as that of a file.
    layers = (file,) if file else (config, config)
    manifest = Document.of(Manifest(artifact_type=layout.PACKAGE_TYPE, config=config, layers=layers))
    session.push(repository, manifest.digest, manifest)
    return replace(entry, digest=manifest.digest, size=len(manifest.body))


def _blob(
    session: OCISession, repository: Repository, media_type: str, digest: Digest | None
) -> Descriptor | None:
    """The descriptor of a blob, None if the registry doesn't have it."""
    size = None if digest is None else session.blob_size(repository, digest)
    if digest is None or size is None:
        return None
    return Descriptor(media_type=media_type, digest=digest, size=size)
