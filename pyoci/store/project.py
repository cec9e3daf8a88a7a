"""StoredProject: one project in a registry, as one caller may read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.version import Version

from pyoci.dist.filenames import Distribution, filename_version_text
from pyoci.dist.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound, ProtocolError
from pyoci.events import Events
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import ImageIndex
from pyoci.oci.references import Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import Entry, entries, is_package, layer_sha256, spelled_tag, tag_of, version_of
from pyoci.store.models import PackageFile


@dataclass(frozen=True, slots=True)
class StoredProject:
    """The repository of a project, and the session of the caller who asks."""

    session: OCISession
    repository: Repository
    name: ProjectName
    events: Events

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

    def files(self, tag: Tag) -> tuple[PackageFile, ...]:
        """The files of the version under `tag`; none where it is something else, or gone by now."""
        return tuple(self.complete(entry) for entry in self.entries(tag))

    def entries(self, tag: Tag) -> tuple[Entry, ...]:
        """The entries of the version under `tag`; none where it is something else."""
        image_index = self._image_index(tag)
        return () if image_index is None else tuple(entries(image_index, self.name, str(tag)))

    def find(self, distribution: Distribution) -> tuple[Tag, Entry]:
        """Where a file is. Raises NotFound."""
        if distribution.name == self.name:
            for tag in file_tags(distribution):
                for entry in self.entries(tag):
                    if entry.distribution.suffix == distribution.suffix:
                        return tag, entry
        raise NotFound(f"{self.name} has no file {distribution.filename}")

    def complete(self, entry: Entry) -> PackageFile:
        """The file behind an entry. Its hash may stand in the child manifest only."""
        sha256 = entry.sha256
        if sha256 is None:
            sha256 = layer_sha256(self.session.pull(self.repository, entry.descriptor.digest).manifest())
        if sha256 is None:
            raise ProtocolError(f"the registry has no hash for {entry.distribution.filename}")
        return entry.file(sha256)

    def _image_index(self, tag: Tag) -> ImageIndex | None:
        try:
            document = self.session.pull(self.repository, tag)
        except RegistryNotFound:
            return None
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
    return _tags(distribution.version, filename_version_text(distribution))


def version_tags(version: Version, text: str) -> Iterator[Tag]:
    """Where to look for a version: under its normalised tag, then under the tag as it was spelled."""
    return _tags(version, text)


def _tags(version: Version, text: str) -> Iterator[Tag]:
    normalized = tag_of(version)
    yield normalized
    try:
        spelled = spelled_tag(text)
    except InvalidRequest:
        return
    if spelled != normalized:
        yield spelled
