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


def is_last(session: OCISession, repository: Repository, tag: Tag) -> bool:
    """Whether the repository has no other tag. distribution 3 and others forget a repository with its last
    one, and nobody could tell then that it ever had the name. Where the tags can't be listed, it may be.
    """
    try:
        return set(session.tags(repository)) <= {tag.value}
    except RegistryError:
        return True


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
