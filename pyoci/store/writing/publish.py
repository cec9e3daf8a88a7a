"""Publisher: publishes files, and yanks or deletes files and versions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime

from packaging.version import InvalidVersion, Version

from pyoci.distributions.filenames import SDIST_ENDINGS, Distribution, parse_filename
from pyoci.distributions.labels import version_labels
from pyoci.errors import AlreadyExists, InvalidRequest, NotFound
from pyoci.oci.errors import RegistryDenied, RegistryNotFound, RegistryUnauthorized
from pyoci.oci.models import Descriptor, ImageIndex
from pyoci.oci.references import Digest, Tag
from pyoci.simple_api.model import ProjectStatus
from pyoci.store import files, layout
from pyoci.store.marker import MARKER_TAG, stamp_of, with_status
from pyoci.store.models import PackageFile
from pyoci.store.project import StoredProject, versions_among
from pyoci.store.status import checked_reason, require_upload
from pyoci.store.writing import repair, steps
from pyoci.store.writing.incoming import IncomingFile
from pyoci.store.writing.update import IndexUpdate, IndexUpdater, edited, place_of, replacing

_EntryKey = tuple[str, Digest, str]
_Edit = Callable[[Descriptor], Descriptor | None]  # None removes the entry


class Publisher:
    """Changes projects. One for the process; a project comes with its caller's session."""

    def __init__(self, updater: IndexUpdater, now: Callable[[], datetime]) -> None:
        self._updater = updater
        self._now = now

    def publish(self, project: StoredProject, incoming: IncomingFile) -> PackageFile:
        """Push the file, its config blob, its manifest, and last the image index that refers to them, so that
        a reader never sees a dangling reference. If the same file is stored already, push only the parts of
        it that the registry has lost, and return the stored file.

        Raises AlreadyExists if a different file of that name is stored, InvalidRequest, and Denied if the
        project takes no uploads.
        """
        tag = layout.tag_of(incoming.distribution.version)
        require_upload(project)
        present = self._present(project, incoming)
        if present is not None:
            return self._restore(project, *present, incoming)
        stored = steps.push_file(project, incoming)
        if incoming.can_stream:  # it may have taken minutes to arrive
            require_upload(project)
        self._updater.update(project.session, project.repository, tag, _adding(project, tag, stored))
        return layout.Entry(stored.descriptor, stored.new.distribution).file(stored.new.sha256)

    def yank(self, project: StoredProject, target: str, reason: str | None) -> tuple[str, ...]:
        """Yank a file or a version. The reason may be empty; None takes the yank back (PEP 592). Returns the
        hashes of the files, as far as they are known.
        """
        if reason is not None:
            checked_reason(reason)
        return _hashes(self._edit(project, target, lambda entry: entry.annotated({layout.YANKED: reason})))

    def delete(self, project: StoredProject, target: str) -> tuple[str, ...]:
        """Delete a file, or a version with all its files. Blobs stay: other versions may share them. Returns
        the hashes of the files, as far as they are known.
        """
        entries = self._edit(project, target, lambda _entry: None)
        steps.delete_manifests(project, (entry.digest for entry in entries))
        return _hashes(entries)

    def set_status(self, project: StoredProject, status: ProjectStatus) -> None:
        """Set the status of a project. Of several that are set at the same time, one stays."""
        project.session.check_push(project.repository)
        self._updater.update(project.session, project.repository, MARKER_TAG, _setting(status, self._now()))

    def _present(self, project: StoredProject, incoming: IncomingFile) -> tuple[Tag, layout.Entry] | None:
        """The tag and the entry of the same file, if it is stored already. On Docker Hub a tag may become
        readable only after the first push; it is read again when the image index is updated.
        """
        for tag in files.likely_tags(incoming.distribution):
            try:
                document = project.session.pull(project.repository, tag)
            except (RegistryNotFound, RegistryUnauthorized, RegistryDenied):
                continue
            image_index = project.image_index(document)
            entry = _same_file(project, tag, image_index, incoming.distribution, incoming.sha256)
            if entry is not None:
                return tag, entry
        return None

    def _restore(
        self, project: StoredProject, tag: Tag, entry: layout.Entry, incoming: IncomingFile
    ) -> PackageFile:
        """Push again what the registry has lost of a file: a clean-up may remove files, config blobs and
        manifests of a version, and leave its tag.
        """
        lost, found = entry.descriptor.digest, repair.restored(project, entry, incoming)
        if found.digest != lost:
            update = replacing(lost, found, self._now)
            self._updater.update(project.session, project.repository, tag, update)
        return project.complete(entry)

    def _edit(self, project: StoredProject, target: str, edit: _Edit) -> Collection[Descriptor]:
        """Edit the entries of a file or version under every tag that has some. Returns the entries as they
        were before. Raises NotFound if there are none.
        """
        tags, is_meant = _target(project, target)
        before: dict[_EntryKey, Descriptor] = {}

        def updating(tag: Tag) -> IndexUpdate:
            def apply(present: ImageIndex | None) -> ImageIndex | None:
                if present is None:
                    return None
                there = layout.entries(present, project.name, str(tag))
                meant = {_entry_key(e.descriptor): e.descriptor for e in there if is_meant(e)}
                before.update(meant)
                return edited(
                    present, lambda each: edit(each) if _entry_key(each) in meant else each, self._now()
                )

            def is_in(present: ImageIndex | None) -> bool:
                return all(edit(each) == each for each in _manifests(present) if _entry_key(each) in before)

            return IndexUpdate(apply, is_in)

        if tags:
            # Callers who may only read must not hold the tag's lock: others would wait for it.
            project.session.check_push(project.repository)
        for tag in tags:
            self._updater.update(project.session, project.repository, tag, updating(tag))
        if not before:
            raise NotFound(f"{project.name} has no file or version {target[:100]!a}")
        return before.values()


def _adding(project: StoredProject, tag: Tag, stored: steps.StoredFile) -> IndexUpdate:
    """The update that adds a file to the image index of its version."""
    new = stored.new

    def apply(present: ImageIndex | None) -> ImageIndex | None:
        if _same_file(project, tag, present, new.distribution, new.sha256) is not None:
            return present
        if present is not None:
            # If entries with the file's wheel tags, or sdists like it, are left, they can't be read any more.
            lost = [entry.descriptor for entry in _in_place(project, tag, present, new.distribution)]
            present = replace(present, manifests=tuple(e for e in present.manifests if e not in lost))
        added = layout.with_entry(present, stored.descriptor, new.created, version_labels(new.labels))
        if new.imported is None:
            return added
        # Its own time may be years ago, and a version that hasn't changed for long is read less often.
        return layout.rewritten(added, added.manifests, new.imported, new.unique)

    def is_in(present: ImageIndex | None) -> bool:
        return any(place_of(entry) == place_of(stored.descriptor) for entry in _manifests(present))

    return IndexUpdate(apply, is_in)


def _setting(status: ProjectStatus, now: datetime) -> IndexUpdate:
    """The update that sets a project's status. If somebody sets another one afterwards, that stays."""
    ours, replaced = set[str](), set[str]()

    def apply(present: ImageIndex | None) -> ImageIndex | None:
        wanted = with_status(present, status, now)
        replaced.add(stamp_of(present))
        ours.add(stamp_of(wanted))
        return wanted

    def is_in(present: ImageIndex | None) -> bool:
        found = stamp_of(present)
        return found in ours or (found not in replaced and found >= layout.stamp(now))

    return IndexUpdate(apply, is_in)


def _same_file(
    project: StoredProject,
    tag: Tag,
    image_index: ImageIndex | None,
    distribution: Distribution,
    sha256: str,
) -> layout.Entry | None:
    """The entry of the same file, or None. Entries that can't be read any more don't count. Raises
    AlreadyExists if a different file has the same wheel tags, or is an sdist of the same kind.
    """
    for entry in _in_place(project, tag, image_index, distribution):
        try:
            file = project.complete(entry)
        except NotFound:
            continue
        if file.sha256 != sha256:
            raise AlreadyExists(f"File already exists ('{file.filename}', with sha256 hash '{file.sha256}').")
        return entry
    return None


def _in_place(
    project: StoredProject, tag: Tag, image_index: ImageIndex | None, distribution: Distribution
) -> list[layout.Entry]:
    """The entries of a version with the same wheel tags as a file, or the same kind of sdist."""
    there = layout.entries(image_index, project.name, str(tag)) if image_index else ()
    return [entry for entry in there if entry.distribution.suffix == distribution.suffix]


def _target(project: StoredProject, target: str) -> tuple[Collection[Tag], Callable[[layout.Entry], bool]]:
    """The tags that a file name or version is under, and a function that selects its entries.

    A version may have several tags, because it may be spelled in several ways: 1.0 and 1.0.0 are one version
    (PEP 440). All of them are meant.
    """
    if target.endswith((".whl", *SDIST_ENDINGS)):
        file = files.find_file(project, parse_filename(target, project.name)).distribution
        return files.tags_of_file(project, file), lambda entry: entry.distribution == file
    try:
        version = Version(target)
    except (InvalidVersion, ValueError):
        raise InvalidRequest(
            f"{target[:100]!a} is neither a file name nor a version; expected one of them"
        ) from None
    tags = [tag for found, tag in versions_among(project.listing().tags) if found == version]
    return tags, lambda _entry: True


def _manifests(image_index: ImageIndex | None) -> tuple[Descriptor, ...]:
    return image_index.manifests if image_index else ()


def _hashes(entries: Iterable[Descriptor]) -> tuple[str, ...]:
    """The SHA-256 of each file in hex, sorted."""
    digests = (layout.blob_digest(entry) for entry in entries)
    return tuple(sorted({digest.hex for digest in digests if digest is not None}))


def _entry_key(entry: Descriptor) -> _EntryKey:
    """Identifies an entry. It differs from that of an entry for the same file, published again later."""
    return *place_of(entry), entry.annotations.get(layout.CREATED, "")
