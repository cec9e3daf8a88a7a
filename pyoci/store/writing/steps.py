"""The steps of a write, in the order that is safe.

A reader must never find a reference to something that isn't there. A project must never lose its last tag,
because registries forget a repository without tags. The types enforce the order: each step needs a value
that only the step before it returns.

    upload   `push_file` (file blob, config blob, manifest) -> StoredFile -> `TagWriter.write`
    delete   `TagWriter.ensure_marker` -> MarkerPresent -> `TagWriter.remove`, then `delete_manifests`
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from pyoci.oci import errors
from pyoci.oci.models import Descriptor, Document, ImageIndex, Manifest
from pyoci.oci.references import Digest, Reference, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import digest_of
from pyoci.store.marker import MARKER_TAG, marker
from pyoci.store.project import StoredProject
from pyoci.store.writing.incoming import IncomingFile, SizeMismatch
from pyoci.store.writing.lag import RecentWrites, current_document
from pyoci.store.writing.new_file import NewFile
from pyoci.store.writing.queue import TagLocks

_DELETES = 4  # attempts to delete one tag


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that the registry has: its blob, its config blob and its manifest."""

    new: NewFile
    descriptor: Descriptor  # as the image index has it


@dataclass(frozen=True, slots=True)
class MarkerPresent:
    """The registry has the project's marker."""

    is_new: bool  # it was just written, which took some time


def push_file(project: StoredProject, incoming: IncomingFile) -> StoredFile:
    """Push an uploaded file, while it arrives if it can be streamed. Raises InvalidRequest."""
    session, repository = project.session, project.repository
    streamed = incoming.can_stream and _stream(session, repository, incoming)
    new = incoming.file()
    if not streamed:
        session.push_blob(repository, incoming.content, new.size, new.digest)
    config = new.config()
    push_config(session, repository, config)
    manifest = new.manifest(config)
    session.push(repository, manifest.digest, manifest)
    return StoredFile(new, new.descriptor(config, manifest))


def _stream(session: OCISession, repository: Repository, incoming: IncomingFile) -> bool:
    """Push the blob of a file while it arrives. False if it has to be pushed from the temporary file."""
    try:
        stored = session.stream_blob(repository, incoming, Digest("sha256", incoming.sha256))
    except SizeMismatch:
        return False
    return stored and incoming.is_streamed


def push_config(session: OCISession, repository: Repository, config: bytes) -> None:
    """Push a config blob unless the registry has it."""
    session.push_blob(repository, io.BytesIO(config), len(config), digest_of(config))


class TagWriter:
    """Reads, writes and removes tags. One for the server, made before its workers are forked.

    The caller holds the lock of the tag. `changed` records a change in the journal, which all users of the
    cache read.
    """

    def __init__(
        self,
        changed: Callable[[Repository, Tag], None],
        writes: RecentWrites,
        locks: TagLocks,
        now: Callable[[], datetime],
    ) -> None:
        self._changed = changed
        self._writes = writes
        self._locks = locks
        self._now = now

    def read(self, session: OCISession, repository: Repository, tag: Tag) -> Document | None:
        """The document under a tag that is about to be changed."""
        self._writes.sync(repository, tag)
        return current_document(session, repository, tag, self._writes)

    def write(
        self,
        session: OCISession,
        repository: Repository,
        tag: Tag,
        old: Document | None,
        new: ImageIndex | Manifest,
    ) -> None:
        """Put a document under a tag, in place of what `read` returned."""
        self._recorded(repository, tag, old, lambda: _push(session, repository, tag, new))

    def remove(
        self,
        session: OCISession,
        repository: Repository,
        tag: Tag,
        old: Document,
        empty: ImageIndex,
        _marker: MarkerPresent,
    ) -> None:
        """Remove the tag of a version that has lost its last file. At ghcr.io and Docker Hub it can't be
        removed: there it gets the image index `empty`.
        """
        self.remove_unmarked(session, repository, tag, old, empty)

    def remove_unmarked(
        self,
        session: OCISession,
        repository: Repository,
        tag: Tag,
        old: Document,
        empty: ImageIndex | Manifest,
    ) -> None:
        """Remove a tag of a repository that may be forgotten without it, as `remove` does."""

        def delete() -> Digest | None:
            is_gone = _delete_tag(session, repository, tag, old.digest, empty)
            return None if is_gone else _push(session, repository, tag, empty)

        self._recorded(repository, tag, old, delete)

    def ensure_marker(self, session: OCISession, repository: Repository) -> MarkerPresent:
        """Write the project's marker unless it is there. It isn't read back: whoever overwrites it writes a
        marker, too.

        It is written before a tag is removed, even if there are other tags. Otherwise two simultaneous
        deletes could each rely on the tag that the other one removes.
        """
        try:
            session.digest(repository, MARKER_TAG)
        except errors.RegistryNotFound:
            pass
        else:
            return MarkerPresent(is_new=False)
        with self._locks.held(repository, MARKER_TAG):
            if self.read(session, repository, MARKER_TAG) is None:
                self.write(session, repository, MARKER_TAG, None, marker(self._now()))
        return MarkerPresent(is_new=True)

    def _recorded(
        self, repository: Repository, tag: Tag, old: Document | None, act: Callable[[], Digest | None]
    ) -> None:
        """Write to the registry, then record the write. If it were recorded first, a page that is read in
        between would not show the write, and yet count as current.
        """
        try:
            written = act()
            self._writes.record(repository, tag, old.digest if old else None, written)
        finally:
            # Also after a failure: the registry may have made the write, and only its answer was lost.
            self._changed(repository, tag)
        self._writes.journaled(repository, tag)


def delete_manifests(project: StoredProject, digests: Iterable[Digest]) -> None:
    """Delete the manifests of files that no tag has any more.

    Google's registry requires that this is done last; others do it by themselves, or refuse.
    """
    for digest in digests:
        _delete(project.session, project.repository, digest, errors.RegistryError)


def _push(session: OCISession, repository: Repository, tag: Tag, new: ImageIndex | Manifest) -> Digest:
    document = Document.of(new)
    session.push(repository, tag, document)
    return document.digest


def _delete_tag(
    session: OCISession, repository: Repository, tag: Tag, digest: Digest, empty: ImageIndex | Manifest
) -> bool:
    """Delete a tag and the image index under it. Some registries can delete only by tag, others only by
    digest. Returns whether the tag is gone.
    """
    if _delete(session, repository, tag, errors.RegistryNotSupported, errors.RegistryRefused):
        _delete(session, repository, digest, errors.RegistryError)
        return True
    for _ in range(_DELETES):
        try:
            session.delete(repository, digest)
        except (errors.RegistryNotFound, errors.RegistryFailed) as exc:
            if not _dangles(session, repository, tag):
                if isinstance(exc, errors.RegistryNotFound):
                    return True
                raise
            # With a new manifest under it, the tag can be deleted by the manifest's digest.
            digest = _push(session, repository, tag, empty)
        except (errors.RegistryNotSupported, errors.RegistryRefused):
            return False
        else:
            return True
    return False


def _dangles(session: OCISession, repository: Repository, tag: Tag) -> bool:
    """Whether the registry lists a tag and has no manifest for it.

    docker-registry 2.8 deletes a manifest first and its tags afterwards. In between it reads all tags, and
    fails if one of them is being written.
    """
    try:
        is_listed = str(tag) in session.tags(repository)
    except errors.RegistryError:
        return False
    if not is_listed:
        return False
    try:
        session.digest(repository, tag)
    except errors.RegistryError as exc:
        return isinstance(exc, errors.RegistryNotFound)
    return False


def _delete(
    session: OCISession, repository: Repository, reference: Reference, *accepted: type[errors.RegistryError]
) -> bool:
    """Delete, and return whether it is gone; True also if it wasn't there. A refusal of an `accepted` kind
    isn't raised: it returns False.
    """
    try:
        session.delete(repository, reference)
    except errors.RegistryNotFound:
        return True
    except accepted:
        return False
    return True
