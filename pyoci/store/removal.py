"""Deleting tags and documents, by whatever way the registry knows."""

from __future__ import annotations

from pyoci.oci.errors import RegistryError, RegistryNotFound, RegistryNotSupported, RegistryRefused
from pyoci.oci.references import Digest, Reference, Repository, Tag
from pyoci.oci.session import OCISession


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
