"""Copy projects between registries, and to or from a folder of OCI image layouts.

A version is copied as it is: the same documents, byte for byte. Its tag is written last, so that an
interrupted copy leaves nothing half done, and the next run does what is missing. Files that only the target
has stay there.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from pyoci.distributions.names import ProjectName
from pyoci.errors import AlreadyExists, ProtocolError, PyOCIError
from pyoci.maintenance.parallel import in_parallel, patiently
from pyoci.maintenance.remote import Remote
from pyoci.maintenance.transfer import Advance, Transfer, layers_of, with_referrers
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Descriptor, Document, ImageIndex
from pyoci.oci.references import Digest, Tag
from pyoci.store import layout
from pyoci.store.marker import MARKER_TAG, stamp_of
from pyoci.store.writing.update import IndexUpdate, IndexUpdater, place_of

JOBS = 8  # tags that are copied at the same time
_FILES = 4  # files of one tag that are copied at the same time
_LOOKED_AT = 3  # versions of a repository that are looked at for a Python package
# The tag that stands for a list of referrers (distribution specification 1.1, "Referrers Tag Schema").
_REFERRERS_TAG = re.compile(r"sha(256|512)-[0-9a-f]{64,128}")
# cosign's tags for signatures, attestations and SBOMs, each of which is a layer.
_COSIGN_TAG = re.compile(r"sha256-[0-9a-f]{64}\.(sig|att|sbom)")

Outcome = Literal["copied", "changed", "present", "passed over", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedTag:
    """What became of one tag.

    `copied` as it is; `changed`: the target's document is another than the source's, and `notes` say why;
    `present` already; `passed over`: the repository holds no Python package; `failed`, at least in part.
    """

    project: ProjectName
    tag: str  # "" if the whole project is meant
    outcome: Outcome
    notes: tuple[str, ...] = ()
    sent: int = 0  # bytes
    mounted: int = 0  # blobs that weren't sent
    referrers: int = 0  # signatures and the like
    digest: str = ""  # of the document that is under the tag now, if that is known


@dataclass(frozen=True, slots=True)
class _Task:
    project: ProjectName
    tag: str
    is_present: bool  # whether the target has the tag, too
    known: Document | None = None  # what is under it, if that was read already


@dataclass(slots=True)
class _Result:
    outcome: Outcome
    notes: list[str] = field(default_factory=list)
    document: Document | None = None  # whose referrers are to be copied
    entries: tuple[Descriptor, ...] = ()  # whose referrers are to be copied


class Copier:
    """Copies from one place to another. `advance` is told the number of bytes of each piece that was sent."""

    def __init__(
        self,
        source: Remote,
        target: Remote,
        updater: IndexUpdater,
        *,
        jobs: int = JOBS,
        advance: Advance = lambda _count: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source, self._target, self._updater = source, target, updater
        self._jobs, self._advance, self._sleep = jobs, advance, sleep
        self._now = now
        self._stopped = threading.Event()

    def run(self, names: Iterable[ProjectName] = ()) -> Generator[CopiedTag]:
        """Copy these projects, or all. Yields what became of each tag, in the order in which they are done.
        Raises what the source's list of projects raises.
        """
        named = tuple(names)
        tasks = self._tasks(named or self._source.projects(), must_exist=bool(named))
        try:
            yield from in_parallel(self._copy, tasks, self._jobs)
        finally:
            self._stopped.set()

    def _tasks(self, names: Iterable[ProjectName], *, must_exist: bool) -> Iterator[_Task | CopiedTag]:
        for found in in_parallel(partial(self._listed, must_exist=must_exist), names, self._jobs):
            yield from found

    def _listed(self, name: ProjectName, *, must_exist: bool) -> list[_Task | CopiedTag]:
        """The tags of a project, as tasks; or what is to be said instead."""
        try:
            tags = patiently(lambda: self._source.tags(name), sleep=self._sleep)
            if not tags:
                outcome: Outcome = "failed" if must_exist else "passed over"
                note = f"there is no project {name} in {self._source}"
                return [CopiedTag(project=name, tag="", outcome=outcome, notes=(note,))]
            known = patiently(lambda: _package_among(self._source, name, tags), sleep=self._sleep)
            if known is None:
                outcome = "failed" if must_exist else "passed over"
                note = f"{self._source.repository(name)} holds no Python package"
                return [CopiedTag(project=name, tag="", outcome=outcome, notes=(note,))]
            there = set(patiently(lambda: self._target.tags(name), sleep=self._sleep))
        except PyOCIError as exc:
            return [CopiedTag(project=name, tag="", outcome="failed", notes=(exc.message,))]
        return [_Task(name, tag, tag in there, known.get(tag)) for tag in tags]

    def _copy(self, task: _Task | CopiedTag) -> CopiedTag:
        if isinstance(task, CopiedTag):
            return task
        transfer = Transfer(
            self._source,
            self._target,
            self._source.repository(task.project),
            self._target.repository(task.project),
            advance=self._advance,
            stopped=self._stopped,
        )
        referrers = 0
        try:
            result = patiently(lambda: self._copy_tag(transfer, task), sleep=self._sleep)
            referrers = patiently(lambda: _copy_referrers(transfer, result), sleep=self._sleep)
        except PyOCIError as exc:
            result = _Result("failed", [exc.message])
        return CopiedTag(
            project=task.project,
            tag=task.tag,
            outcome=result.outcome,
            notes=tuple(result.notes),
            sent=transfer.sent,
            mounted=transfer.mounted,
            referrers=referrers,
            digest="" if result.document is None else str(result.document.digest),
        )

    def _copy_tag(self, transfer: Transfer, task: _Task) -> _Result:
        transfer.begin()
        tag = Tag.listed(task.tag)
        if tag is None:
            return _Result("failed", [f"{task.tag[:100]!a} is not a tag that can be read"])
        document = task.known or transfer.reader.pull(transfer.here, tag)
        there = _pulled(transfer, tag) if task.is_present else None
        if there is not None and there.digest == document.digest:
            return _Result("present", document=document, entries=_entries(document))
        pull = partial(transfer.reader.pull, transfer.here)
        version = layout.package_in(document.image_index(), pull) if layout.version_of(task.tag) else None
        if version is not None and version.manifests:
            return self._copy_version(transfer, tag, document, version, there)
        return _copy_other(transfer, tag, document, there)

    def _copy_version(
        self,
        transfer: Transfer,
        tag: Tag,
        document: Document,
        version: ImageIndex,
        there: Document | None,
    ) -> _Result:
        before = _package_in(transfer, there)
        if before is None:
            return _foreign(transfer, tag)
        result = _Result("copied", entries=version.manifests)
        copied = self._copy_files(transfer, version, before, result)
        if not copied:
            result.outcome = "failed"
            return result
        # Somebody may have published to the target while the files were copied.
        before = _package_in(transfer, _pulled(transfer, tag))
        if before is None:
            return _foreign(transfer, tag)
        as_it_is = copied == version.manifests
        if not as_it_is:
            version = replace(version, manifests=copied)
            document = Document.of(version)
        if _supersedes(version, before):
            if before.manifests and Document.of(version).digest == document.digest:
                # Others publish to this version: a writer that read the tag before may write it after us.
                self._updater.update(transfer.writer, transfer.there, tag, _replacing(version, self._now))
            else:
                transfer.writer.push(transfer.there, tag, document)
            if self._is_written(transfer, tag, document):
                result.document = document
                result.outcome = result.outcome if as_it_is or result.outcome == "failed" else "changed"
                return result
        merging = _merging(version, self._now)
        if merging.apply(before) is before:
            result.outcome = "failed" if result.outcome == "failed" else "present"
            return result
        self._updater.update(transfer.writer, transfer.there, tag, merging)
        result.notes.append(f"{transfer.there}:{tag} has files or changes of its own, and was added to")
        result.outcome = "failed" if result.outcome == "failed" else "changed"
        return result

    def _copy_files(
        self, transfer: Transfer, version: ImageIndex, before: ImageIndex, result: _Result
    ) -> tuple[Descriptor, ...]:
        """The entries of a version, once their files are in the target. Those that can't be copied are left
        out, and noted.
        """
        there = {place_of(entry)[0]: entry for entry in before.manifests}

        def copy(number: int) -> tuple[int, Descriptor | PyOCIError]:
            entry = version.manifests[number]
            known = there.get(place_of(entry)[0])
            if known is not None and place_of(known) == place_of(entry):
                return number, replace(entry, digest=known.digest, size=known.size)
            if known is not None:
                return number, AlreadyExists(f"{transfer.there} has another file of that name")
            try:
                return number, transfer.file(entry)
            except (RegistryNotFound, ProtocolError) as exc:
                return number, exc

        done = dict(in_parallel(copy, range(len(version.manifests)), _FILES))
        copied: list[Descriptor] = []
        for number, entry in enumerate(version.manifests):
            found = done[number]
            if isinstance(found, PyOCIError):
                result.outcome = "failed"
                result.notes.append(f"{_name(entry)} was not copied: {found.message}")
                continue
            if found.digest != entry.digest and place_of(entry)[0] not in there:
                result.notes.append(f"{_name(entry)} got a new manifest, because its own is lost")
            copied.append(found)
        return tuple(copied)

    @staticmethod
    def _is_written(transfer: Transfer, tag: Tag, document: Document) -> bool:
        """Whether the tag has what was written, as far as the target says. A registry that lags may have
        nothing to say yet.
        """
        try:
            return transfer.writer.digest(transfer.there, tag) in {document.digest, None}
        except RegistryNotFound:
            return True


def _copy_other(transfer: Transfer, tag: Tag, document: Document, there: Document | None) -> _Result:
    """Copy a tag that is no version: a list of referrers, signatures, the marker, or anything else."""
    if there is not None and tag == MARKER_TAG:  # the status that was set later stays
        ours, theirs = document.image_index(), there.image_index()
        if stamp_of(theirs) >= stamp_of(ours):
            return _Result("present")
        if theirs is None or not layout.is_package(theirs):
            return _foreign(transfer, tag)
    if there is not None and _COSIGN_TAG.fullmatch(str(tag)):
        signed, signed_there = layers_of(document), layers_of(there)
        if signed <= signed_there:
            return _Result("present", document=document)
        if not signed_there <= signed:
            note = f"{transfer.there}:{tag} has signatures of its own, so it was not overwritten"
            return _Result("failed", [note])
    transfer.contents(document)
    if there is not None and _REFERRERS_TAG.fullmatch(str(tag)):
        listed, found = there.image_index(), document.image_index()
        if listed is not None and found is not None:  # the target's own signatures stay
            wanted = with_referrers(listed, found.manifests)
            if wanted is listed:
                return _Result("present", document=document)
            document = Document.of(wanted)
    transfer.writer.push(transfer.there, tag, document)
    return _Result("copied", document=document)


def _package_among(source: Remote, name: ProjectName, tags: tuple[str, ...]) -> dict[str, Document] | None:
    """What was read to find out whether a repository holds a Python package; None if it doesn't. Versions
    that can't be read don't count. Raises what reading raises if there are no others.
    """
    if str(MARKER_TAG) in tags:
        return {}
    repository, failure = source.repository(name), None
    read: dict[str, Document] = {}
    for text in [tag for tag in reversed(tags) if layout.version_of(tag) is not None]:
        tag = Tag.listed(text)
        if tag is None:
            continue
        try:
            document = source.session().pull(repository, tag)
            image_index = document.image_index()
        except (RegistryNotFound, ProtocolError) as exc:
            failure = exc
            continue
        read[text] = document
        if layout.package_in(image_index, partial(source.session().pull, repository)) is not None:
            return read
        if len(read) == _LOOKED_AT:
            break
    if failure is not None and not read:
        raise failure
    return None


def _copy_referrers(transfer: Transfer, result: _Result) -> int:
    documents = [result.document.digest] if result.document is not None else []
    seen: set[Digest] = set()
    return sum(
        transfer.referrers(digest, seen) for digest in [*documents, *(e.digest for e in result.entries)]
    )


def _pulled(transfer: Transfer, tag: Tag) -> Document | None:
    try:
        return transfer.writer.pull(transfer.there, tag)
    except RegistryNotFound:
        return None


def _package_in(transfer: Transfer, there: Document | None) -> ImageIndex | None:
    """The version that the target has, an empty one if it has none; None if it has something else."""
    if there is None:
        return ImageIndex()
    return layout.package_in(there.image_index(), partial(transfer.writer.pull, transfer.there))


def _foreign(transfer: Transfer, tag: Tag) -> _Result:
    note = f"{transfer.there}:{tag} is not a Python package, so it was not overwritten"
    return _Result("failed", [note])


def _entries(document: Document) -> tuple[Descriptor, ...]:
    found = document.image_index()
    return found.manifests if found is not None else ()


def _name(entry: Descriptor) -> str:
    return entry.annotations.get(layout.FILENAME) or place_of(entry)[0]


def _supersedes(version: ImageIndex, before: ImageIndex) -> bool:
    """Whether a version can be written in place of what the target has, and no file or change is lost."""
    places = set(map(place_of, version.manifests))
    return places.issuperset(map(place_of, before.manifests)) and (
        not before.manifests or layout.changed_at(version) >= layout.changed_at(before)
    )


def _replacing(version: ImageIndex, now: Callable[[], datetime]) -> IndexUpdate:
    """The update that writes a version in place of an older one; what others have published is kept."""
    merging = _merging(version, now)

    def apply(present: ImageIndex | None) -> ImageIndex | None:
        if present == version:
            return present
        return version if present is None or _supersedes(version, present) else merging.apply(present)

    return IndexUpdate(apply, merging.is_in)


def _merging(version: ImageIndex, now: Callable[[], datetime]) -> IndexUpdate:
    """The update that adds the files of a version which the target lacks. Yanks follow whichever was changed
    later.
    """
    wanted = {place_of(entry): entry for entry in version.manifests}

    def merged(entry: Descriptor) -> Descriptor:
        other = wanted.get(place_of(entry), entry)
        return entry.annotated({layout.YANKED: other.annotations.get(layout.YANKED)})

    def apply(present: ImageIndex | None) -> ImageIndex | None:
        if present is None:
            return version
        kept = present.manifests
        if layout.changed_at(version) > layout.changed_at(present):
            kept = tuple(map(merged, kept))
        taken = {place_of(entry)[0] for entry in kept}
        new = tuple(entry for entry in version.manifests if place_of(entry)[0] not in taken)
        if kept == present.manifests and not new:
            return present
        return layout.rewritten(present, (*kept, *new), now(), secrets.token_hex(8))

    def is_in(present: ImageIndex | None) -> bool:
        there = {place_of(entry)[0] for entry in present.manifests} if present is not None else set()
        return all(place in there for place, _ in wanted)

    return IndexUpdate(apply, is_in)
