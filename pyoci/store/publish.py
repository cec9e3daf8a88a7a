"""The write path: publish, yank, delete."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from packaging.version import InvalidVersion, Version

from pyoci.dist.filenames import SDIST_ENDINGS, Distribution, parse_filename
from pyoci.errors import AlreadyExists, InvalidRequest, NotFound
from pyoci.oci.errors import (
    RegistryDenied,
    RegistryError,
    RegistryNotFound,
    RegistryNotSupported,
    RegistryRefused,
    RegistryUnauthorized,
)
from pyoci.oci.models import Descriptor, ImageIndex
from pyoci.oci.references import Digest, Reference, Tag
from pyoci.store.arrival import Arrival, Misjudged
from pyoci.store.changes import Already, Change, Changer, Snapshot
from pyoci.store.layout import YANKED, Entry, digest_of, entries, rewritten, tag_of, with_entry
from pyoci.store.models import PackageFile
from pyoci.store.project import StoredProject, file_tags

REASON_LIMIT = 1000  # characters; it stands on the project's page, once for each file
_Chosen = Callable[[Entry], bool]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Publisher:
    """Writes versions. One for the process; the project comes with its caller's session."""

    def __init__(self, changer: Changer, *, now: Callable[[], datetime] = utc_now) -> None:
        self._changer = changer
        self.now = now

    def publish(self, project: StoredProject, arrival: Arrival) -> PackageFile:
        """Push the file, its config blob and manifest, then the image index that names them: a reader
        never sees a dangling reference. Returns the file that is there already where it is the same one.

        Raises AlreadyExists where it is another, and what is wrong with the upload.
        """
        present = self._present(project, arrival)
        if present is not None:
            arrival.file()  # it has said so; its bytes have to be those, too
            return present
        passed = arrival.passes and _passed_on(project, arrival)
        new = arrival.file()
        tag = tag_of(new.distribution.version)
        config = new.config()
        manifest = new.manifest(config)
        session, repository = project.session, project.repository
        if not passed:
            session.push_blob(repository, arrival.content, new.size, new.digest)
        session.push_blob(repository, io.BytesIO(config), len(config), digest_of(config))
        session.push(repository, manifest.digest, manifest)
        descriptor = new.descriptor(config, manifest)

        def apply(seen: Snapshot | None) -> ImageIndex | Already:
            image_index = seen.image_index if seen else None
            if _taken(project, tag, image_index, new.distribution, new.sha256) is not None:
                return Already.SO
            return with_entry(image_index, descriptor, new.created)

        def holds(seen: Snapshot | None) -> bool:
            return seen is not None and descriptor.digest in _digests(seen.image_index.manifests)

        self._changer.change(session, repository, tag, Change(apply, holds))
        return Entry(descriptor, new.distribution).file(new.sha256)

    def yank(self, project: StoredProject, target: str, reason: str | None) -> None:
        """Yank a file or a version, for a reason that may be empty; None takes it back (PEP 592)."""
        if reason is not None and not (len(reason) <= REASON_LIMIT and (reason.isprintable() or not reason)):
            raise InvalidRequest(
                f"the reason can't be shown; expected one line of at most {REASON_LIMIT} characters"
            )

        def rewrite(descriptor: Descriptor) -> Descriptor:
            return descriptor.annotated({YANKED: reason})

        def change(tag: Tag, chosen: _Chosen, found: set[Digest]) -> Change:
            def apply(seen: Snapshot | None) -> ImageIndex | Already:
                picked = _pick(project, tag, seen, chosen)
                found.update(picked)
                entries_now = seen.image_index.manifests if seen else ()
                wanted = tuple(rewrite(entry) if entry.digest in picked else entry for entry in entries_now)
                if seen is None or wanted == entries_now:
                    return Already.SO
                return self._rewritten(seen, wanted)

            def holds(seen: Snapshot | None) -> bool:
                there = seen.image_index.manifests if seen else ()
                return all(rewrite(entry) == entry for entry in there if entry.digest in found)

            return Change(apply, holds)

        self._each(project, target, change)

    def delete(self, project: StoredProject, target: str) -> None:
        """Delete a file, or a version with all its files. Blobs stay: other versions may share them."""

        def change(tag: Tag, chosen: _Chosen, found: set[Digest]) -> Change:
            def apply(seen: Snapshot | None) -> ImageIndex | Already:
                picked = _pick(project, tag, seen, chosen)
                found.update(picked)
                if seen is None or not picked:
                    return Already.SO
                left = tuple(entry for entry in seen.image_index.manifests if entry.digest not in picked)
                written = self._rewritten(seen, left)
                return written if left else self._remove(project, tag, seen) or written

            def holds(seen: Snapshot | None) -> bool:
                return seen is None or not _digests(seen.image_index.manifests) & found

            return Change(apply, holds)

        for digest in self._each(project, target, change):
            # Google's registry wants the children gone last; others clean up by themselves, or refuse.
            _attempt(project, digest, RegistryError)

    def _each(
        self,
        project: StoredProject,
        target: str,
        change: Callable[[Tag, _Chosen, set[Digest]], Change],
    ) -> set[Digest]:
        """Make a change for every tag that `target` may be under. Raises NotFound where it is under none."""
        tags, chosen = _aim(project, target)
        found: set[Digest] = set()
        for tag in tags:
            self._changer.change(project.session, project.repository, tag, change(tag, chosen, found))
        if not found:
            raise NotFound(f"{project.name} has no file or version {target[:100]!a}")
        return found

    def _rewritten(self, seen: Snapshot, manifests: tuple[Descriptor, ...]) -> ImageIndex:
        return rewritten(seen.image_index, manifests, self.now(), secrets.token_hex(8))

    def _remove(self, project: StoredProject, tag: Tag, seen: Snapshot) -> Already | None:
        """Remove the tag of a version that has lost its last file, by whatever way the registry knows.

        None where there is none (ghcr.io, Docker Hub): an image index without manifests takes its place.
        """
        untagged = _attempt(project, tag, RegistryNotSupported, RegistryRefused)
        deleted = _attempt(
            project, seen.digest, *((RegistryError,) if untagged else (RegistryNotSupported, RegistryRefused))
        )
        return Already.REMOVED if untagged or deleted else None

    def _present(self, project: StoredProject, arrival: Arrival) -> PackageFile | None:
        """The file that is there already. What can't be read before the first push is judged after it."""
        for tag in file_tags(arrival.distribution):
            try:
                document = project.session.pull(project.repository, tag)
            except (RegistryNotFound, RegistryUnauthorized, RegistryDenied):
                continue
            image_index = document.image_index()
            taken = _taken(project, tag, image_index, arrival.distribution, arrival.sha256)
            if taken is not None:
                return taken
        return None


def _passed_on(project: StoredProject, arrival: Arrival) -> bool:
    """Whether the file's blob has gone to the registry while it arrived. If not, the spool has it."""
    digest = Digest("sha256", arrival.sha256)
    try:
        stored = project.session.pass_blob(project.repository, arrival, digest)
    except Misjudged:
        return False
    return stored and arrival.passed


def _taken(
    project: StoredProject,
    tag: Tag,
    image_index: ImageIndex | None,
    distribution: Distribution,
    sha256: str,
) -> PackageFile | None:
    """The same file where it is there, None where its place is free. Raises AlreadyExists for another."""
    if image_index is None:
        return None
    for entry in entries(image_index, project.name, str(tag)):
        if entry.distribution.suffix == distribution.suffix:
            file = project.complete(entry)
            if file.sha256 != sha256:
                raise AlreadyExists(
                    f"File already exists ('{file.filename}', with sha256 hash '{file.sha256}')."
                )
            return file
    return None


def _aim(project: StoredProject, target: str) -> tuple[Iterable[Tag], _Chosen]:
    """The tags that a file name or version is under, and which entries of them are meant.

    A version may be under several tags, as the Rust PyOCI spelled it: it means all of them.
    """
    if target.endswith((".whl", *SDIST_ENDINGS)):
        entry_of_file = project.find(parse_filename(target)).distribution
        return file_tags(entry_of_file), lambda entry: entry.distribution == entry_of_file
    try:
        version = Version(target)
    except (InvalidVersion, ValueError):
        raise InvalidRequest(
            f"{target[:100]!a} is neither a file name nor a version; expected one of them"
        ) from None
    # 1.0 and 1.0.0 are equal, and two versions all the same.
    tags = [tag for found, tag in project.versions() if str(found) == str(version)]
    return tags, lambda _entry: True


def _pick(project: StoredProject, tag: Tag, seen: Snapshot | None, chosen: _Chosen) -> set[Digest]:
    found = entries(seen.image_index, project.name, str(tag)) if seen else ()
    return {entry.descriptor.digest for entry in found if chosen(entry)}


def _digests(descriptors: Iterable[Descriptor]) -> set[Digest]:
    return {descriptor.digest for descriptor in descriptors}


def _attempt(project: StoredProject, reference: Reference, *accepted: type[RegistryError]) -> bool:
    """Delete and tell whether it went: a refusal of an accepted kind is no, being gone already is yes."""
    try:
        project.session.delete(project.repository, reference)
    except RegistryNotFound:
        return True
    except accepted:
        return False
    return True
