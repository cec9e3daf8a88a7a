"""StoredProject: one project in a registry, as one caller may read it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from packaging.version import Version

from pyoci.dist.filenames import Distribution, filename_version_text
from pyoci.dist.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound, ProtocolError
from pyoci.events import Events
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import Entry, entries, is_package, layer_sha256, spelled_tag, tag_of, version_of
from pyoci.store.memory import Memory
from pyoci.store.models import PackageFile
from pyoci.store.writes import Writes, present_document


class Allowance:
    """How many bytes of documents one request may still read; a hostile registry has no end of them."""

    def __init__(self, size: int = 48 * 1024 * 1024) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Raises ProtocolError where nothing is left."""
        with self._lock:
            self._left -= size
            if self._left < 0:
                raise ProtocolError("the registry's documents of this project are too long to be read")


@dataclass(frozen=True, slots=True)
class StoredProject:
    """The repository of a project, and the session of the caller who asks."""

    session: OCISession
    repository: Repository
    name: ProjectName
    events: Events
    memory: Memory
    writes: Writes
    allowance: Allowance = field(default_factory=Allowance)

    def versions(self) -> list[tuple[Version, Tag]]:
        """Version and tag of everything that may be a version, oldest first. Raises NotFound."""
        try:
            tags = self.session.tags(self.repository)
        except RegistryNotFound as exc:
            raise NotFound(f"there is no project {self.name} here") from exc
        parsed = ((version_of(tag), tag) for tag in tags)
        found = [(version, Tag.parse(tag)) for version, tag in parsed if version is not None]
        # A tag that another implementation spelled un-normalised comes after its normalised twin.
        return sorted(found, key=lambda pair: (pair[0], pair[1] != tag_of(pair[0])))

    def files(self, tag: Tag, *, fresh: bool = False) -> tuple[PackageFile, ...]:
        """The files of the version under `tag`; none where it is something else, or gone by now.

        What is remembered will do unless `fresh`: the caller was let in by the registry to list the tags.
        """
        return tuple(self.complete(entry) for entry in self._entries(tag, fresh=fresh))

    def find(self, distribution: Distribution) -> Entry:
        """A file's entry, by the registry's word to this caller. Raises NotFound."""
        found = self._find(distribution, fresh=True)
        if found is None:
            raise NotFound(f"{self.name} has no file {distribution.filename}")
        return found

    def recall(self, distribution: Distribution) -> Entry:
        """A file's entry, remembered or asked for. Raises NotFound by the registry's word alone.

        Only for those who will ask the registry for the file itself with this caller's credentials: that it
        is remembered doesn't mean that this caller may know of it.
        """
        return self._find(distribution, fresh=False) or self.find(distribution)

    def _find(self, distribution: Distribution, *, fresh: bool) -> Entry | None:
        """The entry that bears the file's name; or the one in its place, which may be spelled otherwise."""
        if distribution.name != self.name:
            return None
        close: Entry | None = None
        for tag in file_tags(distribution):
            for entry in self._entries(tag, fresh=fresh):
                if entry.distribution.filename == distribution.filename:
                    return entry
                if close is None and entry.distribution.suffix == distribution.suffix:
                    close = entry
        return close

    def _entries(self, tag: Tag, *, fresh: bool) -> tuple[Entry, ...]:
        """The entries of the version under `tag`; none where it is something else."""
        known = None if fresh else self.memory.recall(self.repository, tag)
        image_index = self._image_index(tag) if known is None else known.image_index
        return () if image_index is None else tuple(entries(image_index, self.name, str(tag)))

    def complete(self, entry: Entry) -> PackageFile:
        """The file behind an entry. Its hash may stand in the child manifest only."""
        sha256 = entry.sha256
        if sha256 is None:
            sha256 = layer_sha256(self.session.pull(self.repository, entry.descriptor.digest).manifest())
        if sha256 is None:
            raise ProtocolError(f"the registry has no hash for {entry.distribution.filename}")
        return entry.file(sha256)

    def _image_index(self, tag: Tag) -> ImageIndex | None:
        generation = self.memory.generation(self.repository, tag)
        document = present_document(self.session, self.repository, tag, self.writes)
        if document is None:
            return None
        self.allowance.take(len(document.body))
        image_index = self._read(document)
        self.memory.keep(self.repository, tag, generation, image_index, len(document.body))
        return image_index

    def _read(self, document: Document) -> ImageIndex | None:
        """The image index of a version; None for whatever else stands under a tag that looks like one."""
        try:
            image_index = document.image_index()
        except ProtocolError as exc:
            # Its digest is right and its shape is not: somebody's oddity, no fault on the way.
            self.events.warning(
                "store", "unreadable image index", repository=str(self.repository), why=exc.message
            )
            return None
        return image_index if image_index is not None and is_package(image_index) else None


def file_tags(distribution: Distribution) -> Iterator[Tag]:
    """Where to look for a file: under its normalised tag, then under the tag as its file name spells it."""
    normalized = tag_of(distribution.version)
    yield normalized
    try:
        spelled = spelled_tag(filename_version_text(distribution))
    except InvalidRequest:
        return
    if spelled != normalized:
        yield spelled
