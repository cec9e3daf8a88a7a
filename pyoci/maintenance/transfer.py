"""Transfer: the blobs and documents of one repository, copied to another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace

from pyoci.errors import NotFound, ProtocolError, PyOCIError, Unreachable
from pyoci.maintenance.remote import Remote
from pyoci.net.messages import Body
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Descriptor, Document, ImageIndex, Manifest
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import blob_digest, config_digest, descriptors_of
from pyoci.store.writing.repair import with_new_manifest

_ATTEMPTS = 3  # of one blob
_DEPTH = 4  # of image indexes in image indexes, and of signatures of signatures

Advance = Callable[[int], None]  # called with each number of bytes that were sent


class _SourceFailed(Exception):
    """The source of a blob has failed, and not the target that it is sent to."""

    def __init__(self, cause: PyOCIError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Stopped(BaseException):
    """The work was interrupted. It ends the upload of a blob, of which the registry then stores nothing."""


class Transfer:
    """Copies within one pair of repositories. What the target has already isn't sent again."""

    def __init__(
        self,
        source: Remote,
        target: Remote,
        here: Repository,
        there: Repository,
        *,
        advance: Advance,
        stopped: threading.Event,
    ) -> None:
        self._source, self._target = source, target
        self.here, self.there = here, there
        self._advance, self._stopped = advance, stopped
        self._mounts = source.is_beside(target)
        self._has_referrers = True  # of the source, until it says otherwise
        self._copied: set[Digest] = set()  # blobs and documents
        self._counting = threading.Lock()
        self.sent = 0  # bytes
        self.mounted = 0  # blobs

    def begin(self) -> None:
        """Take nothing for copied: an attempt may have failed because something isn't there after all."""
        self._copied.clear()

    @property
    def reader(self) -> OCISession:
        """A new session: that of a long transfer would be over the deadline for reading."""
        return self._source.session()

    @property
    def writer(self) -> OCISession:
        return self._target.session(writing=True)

    def blob(self, digest: Digest, size: int | None = None) -> None:
        """Copy a blob of `size` bytes. Raises RegistryNotFound if the source has lost it."""
        if digest in self._copied:
            return
        if self._mounts:
            self._mounts = self.writer.mount_blob(self.there, digest, self.here)
        if self._mounts:
            with self._counting:
                self.mounted += 1
        else:
            self._send(digest, size)
        self._copied.add(digest)

    def contents(self, document: Document, depth: int = _DEPTH) -> None:
        """Copy everything that a document refers to. Raises RegistryNotFound for what the source has lost."""
        found = document.parsed()
        for entry in descriptors_of(found) if found is not None else ():
            if isinstance(found, ImageIndex):
                self.document(entry.digest, depth - 1)
            else:
                self.blob(entry.digest, entry.size)

    def document(self, digest: Digest, depth: int = _DEPTH) -> None:
        """Copy a document by its digest, with all that it refers to, once."""
        if digest in self._copied:
            return
        if depth < 0:
            raise ProtocolError(
                f"{self.here} has image indexes in image indexes; expected at most {_DEPTH} levels of them"
            )
        document = self.reader.pull(self.here, digest)
        self.contents(document, depth)
        self.writer.push(self.there, digest, document)
        self._copied.add(digest)

    def file(self, entry: Descriptor) -> Descriptor:
        """Copy the file of a version. Returns its descriptor, which is another one if a clean-up took its
        manifest from the source: it gets a new one. Raises RegistryNotFound if the file is lost.
        """
        try:
            self.document(entry.digest)
        except RegistryNotFound:
            digest, config = blob_digest(entry), config_digest(entry)
            if digest is None:
                raise
            self.blob(digest)
            if config is not None and self.reader.blob_size(self.here, config) is not None:
                self.blob(config)
            return with_new_manifest(self.writer, self.there, entry)
        return entry

    def referrers(self, digest: Digest, seen: set[Digest], depth: int = _DEPTH) -> int:
        """Copy the documents that have this one as their subject, and theirs. Returns how many there are.
        Those of a digest in `seen` are copied already.

        A source without a list of referrers has a tag for them, which is copied like any other.
        """
        if not self._has_referrers or depth == 0 or digest in seen:
            return 0
        seen.add(digest)
        found = self.reader.referrers(self.here, digest)
        if found is None:
            self._has_referrers = False
            return 0
        count = len(found)
        for entry in found:
            self.document(entry.digest)
            count += self.referrers(entry.digest, seen, depth - 1)
        if found and self.writer.referrers(self.there, digest) is None:
            self._tag_referrers(digest, found)
        return count

    def _tag_referrers(self, digest: Digest, found: tuple[Descriptor, ...]) -> None:
        """Write the tag that stands for a list of referrers (distribution specification 1.1, "Referrers Tag
        Schema").
        """
        tag, before = Tag.parse(f"{digest.algorithm}-{digest.hex}"[:128]), ImageIndex()
        with suppress(NotFound):
            before = self.writer.pull(self.there, tag).image_index() or before
        wanted = with_referrers(before, found)
        if wanted is not before:
            self.writer.push(self.there, tag, Document.of(wanted))

    def _send(self, digest: Digest, size: int | None) -> None:
        if size is None:
            size = self.reader.blob_size(self.here, digest)
            if size is None:
                raise RegistryNotFound(f"{self.here} has lost the blob {digest}")
        body = _Pieces(lambda: self._pieces(digest, size), size)
        try:
            for _ in range(_ATTEMPTS):
                if self.writer.stream_blob(self.there, body, digest):
                    return
        except _SourceFailed as failed:
            raise failed.cause from failed
        raise Unreachable(f"{self._target} did not take the blob {digest}")

    def _pieces(self, digest: Digest, size: int) -> Iterator[bytes]:
        try:
            stream = self.reader.open_blob(self.here, digest, size=size)
            with closing(stream):
                for piece in stream.pieces:
                    if self._stopped.is_set():
                        raise Stopped
                    with self._counting:
                        self.sent += len(piece)
                    self._advance(len(piece))
                    yield piece
        except PyOCIError as exc:
            raise _SourceFailed(exc) from exc


class _Pieces(Body):
    """A body that opens its source when its first piece is asked for: that is, if the target lacks it."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], size: int) -> None:
        self._open, self._size = pieces, size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return self._open()


def with_referrers(listed: ImageIndex, found: tuple[Descriptor, ...]) -> ImageIndex:
    """A list of referrers with those of `found` that it lacks; the same object if it lacks none."""
    known = {entry.digest for entry in listed.manifests}
    new = tuple(entry for entry in found if entry.digest not in known)
    return replace(listed, manifests=(*listed.manifests, *new)) if new else listed


def layers_of(document: Document) -> frozenset[tuple[Digest, tuple[tuple[str, str], ...]]]:
    """The layers of a manifest; the document itself where it is none. The signatures of one image have the
    same bytes, and differ in their annotations.
    """
    found = document.parsed()
    layers = found.layers if isinstance(found, Manifest) else ()
    known = frozenset((layer.digest, tuple(sorted(layer.annotations.items()))) for layer in layers)
    return known or frozenset({(document.digest, ())})
