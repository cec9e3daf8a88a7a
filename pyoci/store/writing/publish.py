"""The write path: publish, yank, delete."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import BinaryIO

from packaging.version import InvalidVersion, Version

from pyoci.distributions.filenames import SDIST_ENDINGS, Distribution, parse_filename
from pyoci.errors import AlreadyExists, InvalidRequest, NotFound
from pyoci.oci.errors import RegistryDenied, RegistryError, RegistryNotFound, RegistryUnauthorized
from pyoci.oci.models import Descriptor, ImageIndex
from pyoci.oci.references import Digest, Tag
from pyoci.store.layout import (
    CREATED,
    YANKED,
    Entry,
    NewFile,
    blob_digest,
    digest_of,
    entries,
    rewritten,
    tag_of,
    with_entry,
)
from pyoci.store.models import PackageFile
from pyoci.store.project import StoredProject, file_tags
from pyoci.store.writing.cleanup import attempted, with_manifest
from pyoci.store.writing.incoming import IncomingFile, Misjudged
from pyoci.store.writing.queue import Already, IndexUpdate
from pyoci.store.writing.update import IndexUpdater

REASON_LIMIT = 1000  # characters; it stands on the project's page, once for each file
_Chosen = Callable[[Entry], bool]
_Mark = tuple[str, Digest, str]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Publisher:
    """Writes versions. One for the process; the project comes with its caller's session."""

    def __init__(self, changer: IndexUpdater, *, now: Callable[[], datetime] = utc_now) -> None:
        self._changer = changer
        self.now = now

    def publish(self, project: StoredProject, arrival: IncomingFile) -> PackageFile:
        """Push the file, its config blob and manifest, then the image index that names them: a reader
        never sees a dangling reference. Returns the file that is there already where it is the same one.

        Raises AlreadyExists where it is another, and what is wrong with the upload.
        """
        present = self._present(project, arrival)
        if present is not None:
            new = arrival.file()  # it has said so; its bytes have to be those, too
            return self._restored(project, *present, arrival, new)
        passed = arrival.passes and _passed_on(project, arrival)
        new = arrival.file()
        tag = tag_of(new.distribution.version)
        config = new.config()
        manifest = new.manifest(config)
        session, repository = project.session, project.repository
        _push_blobs(project, None if passed else arrival.content, new, config)
        session.push(repository, manifest.digest, manifest)
        descriptor = new.descriptor(config, manifest)

        def apply(there: ImageIndex | None) -> ImageIndex | Already:
            if _taken(project, tag, there, new.distribution, new.sha256) is not None:
                return Already.SO
            return with_entry(_without_lost(project, tag, there, descriptor), descriptor, new.created)

        def holds(there: ImageIndex | None) -> bool:
            return any(_place(entry) == _place(descriptor) for entry in _manifests(there))

        self._changer.change(session, repository, tag, IndexUpdate(apply, holds))
        return Entry(descriptor, new.distribution).file(new.sha256)

    def _restored(
        self, project: StoredProject, tag: Tag, entry: Entry, arrival: IncomingFile, new: NewFile
    ) -> PackageFile:
        """The file that is there already, after what the registry has lost of it was pushed again: a clean-up
        takes files, config blobs and manifests of versions whose tag stays.
        """
        config = new.config()
        kept = config if entry.config_digest == digest_of(config) else None
        _push_blobs(project, arrival.content, new, kept)
        lost = entry.descriptor
        found = with_manifest(project.session, project.repository, lost)

        def apply(there: ImageIndex | None) -> ImageIndex | Already:
            if there is None or found.digest == lost.digest or holds(there):
                return Already.SO
            manifests = (
                replace(e, digest=found.digest, size=found.size) if e.digest == lost.digest else e
                for e in there.manifests
            )
            return self._rewritten(there, tuple(manifests))

        def holds(there: ImageIndex | None) -> bool:
            return all(e.digest != lost.digest for e in _manifests(there))

        if found.digest != lost.digest:
            self._changer.change(project.session, project.repository, tag, IndexUpdate(apply, holds))
        return project.complete(entry)

    def yank(self, project: StoredProject, target: str, reason: str | None) -> None:
        """Yank a file or a version, for a reason that may be empty; None takes it back (PEP 592)."""
        if reason is not None and not (len(reason) <= REASON_LIMIT and (reason.isprintable() or not reason)):
            raise InvalidRequest(
                f"the reason can't be shown; expected one line of at most {REASON_LIMIT} characters"
            )

        def rewrite(descriptor: Descriptor) -> Descriptor:
            return descriptor.annotated({YANKED: reason})

        def change(tag: Tag, chosen: _Chosen, found: dict[_Mark, Digest]) -> IndexUpdate:
            def apply(present: ImageIndex | None) -> ImageIndex | Already:
                picked = _pick(project, tag, present, chosen)
                found.update(picked)
                wanted = tuple(rewrite(e) if _mark(e) in picked else e for e in _manifests(present))
                if present is None or wanted == present.manifests:
                    return Already.SO
                return self._rewritten(present, wanted)

            def holds(present: ImageIndex | None) -> bool:
                return all(rewrite(e) == e for e in _manifests(present) if _mark(e) in found)

            return IndexUpdate(apply, holds)

        self._each(project, target, change)

    def delete(self, project: StoredProject, target: str) -> None:
        """Delete a file, or a version with all its files. Blobs stay: other versions may share them."""

        def change(tag: Tag, chosen: _Chosen, found: dict[_Mark, Digest]) -> IndexUpdate:
            def apply(present: ImageIndex | None) -> ImageIndex | Already:
                picked = _pick(project, tag, present, chosen)
                found.update(picked)
                if present is None or not picked:
                    return Already.SO
                return self._rewritten(present, tuple(e for e in present.manifests if _mark(e) not in picked))

            def holds(present: ImageIndex | None) -> bool:
                return not any(_mark(entry) in found for entry in _manifests(present))

            return IndexUpdate(apply, holds)

        for digest in self._each(project, target, change):
            # Google's registry wants the children gone last; others clean up by themselves, or refuse.
            attempted(project.session, project.repository, digest, RegistryError)

    def _each(
        self,
        project: StoredProject,
        target: str,
        change: Callable[[Tag, _Chosen, dict[_Mark, Digest]], IndexUpdate],
    ) -> Iterable[Digest]:
        """Make a change for every tag that `target` may be under. Raises NotFound where it is under none."""
        tags, chosen = _aim(project, target)
        found: dict[_Mark, Digest] = {}
        for tag in tags:
            self._changer.change(project.session, project.repository, tag, change(tag, chosen, found))
        if not found:
            raise NotFound(f"{project.name} has no file or version {target[:100]!a}")
        return found.values()

    def _rewritten(self, present: ImageIndex, manifests: tuple[Descriptor, ...]) -> ImageIndex:
        return rewritten(present, manifests, self.now(), secrets.token_hex(8))

    def _present(self, project: StoredProject, arrival: IncomingFile) -> tuple[Tag, Entry] | None:
        """The file that is there already. What can't be read before the first push is judged after it."""
        for tag in file_tags(arrival.distribution):
            try:
                document = project.session.pull(project.repository, tag)
            except (RegistryNotFound, RegistryUnauthorized, RegistryDenied):
                continue
            taken = _taken(project, tag, project.image_index(document), arrival.distribution, arrival.sha256)
            if taken is not None:
                return tag, taken
        return None


def _push_blobs(project: StoredProject, content: BinaryIO | None, new: NewFile, config: bytes | None) -> None:
    """Push the file and its config blob, where they are given and the registry doesn't have them."""
    if content is not None:
        project.session.push_blob(project.repository, content, new.size, new.digest)
    if config is not None:
        project.session.push_blob(project.repository, io.BytesIO(config), len(config), digest_of(config))


def _passed_on(project: StoredProject, arrival: IncomingFile) -> bool:
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
) -> Entry | None:
    """The same file where it is there, None where its place is free. Raises AlreadyExists for another.

    A place is free, too, where nobody can tell any more which file stood there.
    """
    for entry in entries(image_index, project.name, str(tag)) if image_index else ():
        if entry.distribution.suffix == distribution.suffix:
            try:
                file = project.complete(entry)
            except NotFound:
                continue
            if file.sha256 != sha256:
                raise AlreadyExists(
                    f"File already exists ('{file.filename}', with sha256 hash '{file.sha256}')."
                )
            return entry
    return None


def _without_lost(
    project: StoredProject, tag: Tag, there: ImageIndex | None, new: Descriptor
) -> ImageIndex | None:
    """The image index without what stands in the place of a new file, which was found to be free."""
    if there is None or new.platform is None:
        return there
    suffix = new.platform.architecture
    lost = [
        entry.descriptor
        for entry in entries(there, project.name, str(tag))
        if entry.distribution.suffix == suffix
    ]
    return replace(there, manifests=tuple(e for e in there.manifests if e not in lost)) if lost else there


def _aim(project: StoredProject, target: str) -> tuple[Iterable[Tag], _Chosen]:
    """The tags that a file name or version is under, and which entries of them are meant.

    A version may be under several tags, as the Rust PyOCI spelled it: it means all of them.
    """
    if target.endswith((".whl", *SDIST_ENDINGS)):
        file = project.find(parse_filename(target)).distribution
        return project.all_tags(file), lambda entry: entry.distribution == file
    try:
        version = Version(target)
    except (InvalidVersion, ValueError):
        raise InvalidRequest(
            f"{target[:100]!a} is neither a file name nor a version; expected one of them"
        ) from None
    # 1.0 and 1.0.0 are equal, and two versions all the same.
    tags = [tag for found, tag in project.versions() if str(found) == str(version)]
    return tags, lambda _entry: True


def _pick(
    project: StoredProject, tag: Tag, present: ImageIndex | None, chosen: _Chosen
) -> dict[_Mark, Digest]:
    """The entries that are meant, and the digests of their manifests."""
    found = entries(present, project.name, str(tag)) if present else ()
    return {_mark(entry.descriptor): entry.descriptor.digest for entry in found if chosen(entry)}


def _manifests(image_index: ImageIndex | None) -> tuple[Descriptor, ...]:
    return image_index.manifests if image_index else ()


def _place(entry: Descriptor) -> tuple[str, Digest]:
    """Where an entry stands in its version, and which file it is. Its manifest may be written anew."""
    return entry.platform.architecture if entry.platform else "", blob_digest(entry) or entry.digest


def _mark(entry: Descriptor) -> _Mark:
    """What tells an entry from all others, also from one of the same file that was published again."""
    return *_place(entry), entry.annotations.get(CREATED, "")
