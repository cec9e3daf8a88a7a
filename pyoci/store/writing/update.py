"""Updates of a version's image index, made so that no other writer's file is lost.

No registry has compare-and-swap on tags. If somebody else writes a tag between our read and our write, our
write overwrites theirs. So an update is made while the tag's lock is held, which excludes all servers that
share the cache. It is read back twice afterwards, because a writer elsewhere may have overwritten it. If it
was lost, it is made again.
"""

from __future__ import annotations

import itertools
import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from pyoci.errors import Denied, PyOCIError, Unreachable
from pyoci.oci.errors import LACKS_BLOB, RegistryFailed, RegistryRateLimited, RegistryRefused
from pyoci.oci.models import Descriptor, Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import blob_digest, package_in, rewritten
from pyoci.store.marker import is_marker
from pyoci.store.writing import lag, queue, repair, steps

_OVERWRITTEN = (12, 30.0)  # attempts, and seconds after which none begins, if others overwrite an update
_FAILED = (5, 10.0)  # the same two limits if the registry fails
_LONGEST_PAUSE = 3.0  # seconds; if a registry asks for a longer one, the caller is told to try again
_TEMPORARY = (Unreachable, RegistryFailed, RegistryRateLimited)
# The codes with which registries refuse an image index that refers to a deleted manifest.
_MANIFEST_GONE = LACKS_BLOB | {"MANIFEST_UNKNOWN"}


@dataclass(frozen=True, slots=True)
class IndexUpdate:
    """An update of an image index, as two pure functions.

    `apply` gets the present image index (None: there is no such tag) and returns the one to write. It returns
    the same object if nothing has to be written, and one without manifests if the tag is to be removed. It
    may raise. It may be called again, with another image index.

    `is_in` returns whether the update is in what was read back. It must ignore what other writers changed:
    putting back what somebody deleted elsewhere would be as wrong as losing a file.
    """

    apply: Callable[[ImageIndex | None], ImageIndex | None]
    is_in: Callable[[ImageIndex | None], bool]


@dataclass(slots=True, eq=False)
class QueuedUpdate:
    """One caller's update, and its outcome in the last batch that it was in."""

    session: OCISession
    update: IndexUpdate
    repairs: bool = False  # manifests that are gone are pushed again
    is_alone: bool = False  # it has to be the only one in its batch, because a larger batch was refused
    was_written: bool = False  # in any batch
    leads: bool = False
    shared_batch: bool = False  # the write that failed had other updates in it, too
    is_lost: bool = False  # it was written, and overwritten by somebody elsewhere
    failure: PyOCIError | None = None
    released: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Forget the last outcome. The update is about to be queued."""
        self.leads = self.shared_batch = self.is_lost = False
        self.failure, self.released = None, threading.Event()

    def joins(self, leader: QueuedUpdate) -> bool:
        """Only updates with the leader's credentials may be in its batch: nobody's update is written with
        the permissions of another.
        """
        return not (self.is_alone or leader.is_alone) and self.session.same_caller(leader.session)

    def fail(self, failure: PyOCIError) -> None:
        if self.failure is None and not self.is_lost:
            self.failure = failure.bare()

    def applied(self, present: ImageIndex | None) -> ImageIndex | None:
        """The image index with the update. If `apply` raises, that is this update's failure alone."""
        try:
            return self.update.apply(present)
        except PyOCIError as exc:
            self.failure = exc
            return present

    def read_back(self, present: ImageIndex | None) -> bool:
        """Whether the update was read back. If so, the write succeeded even if it seemed to fail."""
        if self.update.is_in(present):
            self.failure = None
            return True
        self.is_lost = self.failure is None
        return False


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a batch of updates changes a tag from and to."""

    document: Document | None  # under the tag
    before: ImageIndex | None  # in that document
    wanted: ImageIndex | None

    @property
    def is_unchanged(self) -> bool:
        return self.wanted is None or self.wanted is self.before

    @property
    def removes_tag(self) -> bool:
        if self.before is None or self.wanted is None or self.is_unchanged:
            return False
        return not (self.wanted.manifests or is_marker(self.wanted))


class IndexUpdater:
    """Makes updates of image indexes. One for the server, made before its workers are forked.

    `changed` records a change in the journal, which all users of the cache read.
    """

    def __init__(
        self,
        changed: Callable[[Repository, Tag], None],
        writes: lag.RecentWrites,
        *,
        locks: queue.TagLocks,
        now: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._tags = steps.TagWriter(changed, writes, locks, now)
        self._writes = writes
        self._queue: queue.GroupCommit[QueuedUpdate] = queue.GroupCommit(locks)
        self._latency = lag.WriteLatency(clock)
        self._sleep, self._clock, self._jitter = sleep, clock, jitter

    def update(self, session: OCISession, repository: Repository, tag: Tag, update: IndexUpdate) -> None:
        """Make an update, together with those that wait for the same tag with the same credentials.

        The request isn't ended any more from then on, since it may lead others. Raises RequestEnded if it was
        before, Unreachable if writers elsewhere overwrite it again and again, and the registry's last
        refusal.
        """
        session.begin_update()
        member, begun = QueuedUpdate(session, update), self._clock()
        write, read_back = partial(self._write, repository, tag), partial(self._read_back, repository, tag)
        try:
            for attempt in itertools.count(1):
                member.reset()
                self._queue.commit(repository, tag, member, write, read_back)
                if member.failure is None and not member.is_lost:
                    return
                attempts, seconds = _OVERWRITTEN if member.is_lost else _FAILED
                pause = self._pause(repository, member, attempt)
                if pause is None or attempt >= attempts or self._clock() - begun > seconds:
                    break
                self._sleep(pause)
            raise member.failure or Unreachable(
                f"{repository}:{tag} was overwritten by other programs after each attempt; try again"
            )
        finally:
            member.failure = None  # its traceback refers to this frame, which refers to the member

    def _write(self, repository: Repository, tag: Tag, batch: list[QueuedUpdate]) -> list[QueuedUpdate]:
        """Make all updates of a batch in one write. Returns those that have to be read back."""
        session, begun = batch[0].session, self._clock()
        outcome, marker = self._applied(repository, tag, batch), None
        if outcome.removes_tag:
            marker = self._tags.ensure_marker(session, repository)
            if marker.is_new:
                # Meanwhile somebody elsewhere may have changed the version.
                begun = self._clock()
                outcome = self._applied(repository, tag, batch)
        if outcome.is_unchanged:
            # If two writers elsewhere overwrite each other, an update that was lost may reappear without a
            # write of ours. It may be lost again, so it is read back, too.
            return [member for member in batch if member.was_written and member.failure is None]
        for member in batch:
            member.was_written = True
        try:
            self._put(session, repository, tag, outcome, marker, repairs=any(each.repairs for each in batch))
        except PyOCIError as exc:
            for member in batch:
                member.failure, member.shared_batch = exc.bare(), len(batch) > 1
            # The registry may have made the write, and only its answer was lost.
            return batch if isinstance(exc, _TEMPORARY) else []
        finally:
            self._latency.record(repository.registry.origin, self._clock() - begun)
        return [member for member in batch if member.failure is None]

    def _applied(self, repository: Repository, tag: Tag, batch: list[QueuedUpdate]) -> _Outcome:
        session = batch[0].session
        document = self._tags.read(session, repository, tag)
        if self._writes.is_foreign(repository, tag, document.digest if document else None):
            self._latency.record_contention(repository.registry.origin)
        before = wanted = _package(session, repository, tag, document)
        for member in batch:
            wanted = member.applied(wanted)
        return _Outcome(document, before, wanted)

    def _put(
        self,
        session: OCISession,
        repository: Repository,
        tag: Tag,
        outcome: _Outcome,
        marker: steps.MarkerPresent | None,
        *,
        repairs: bool,
    ) -> None:
        document, wanted = outcome.document, outcome.wanted
        assert wanted is not None  # no update returns None for a tag that is there
        if wanted.manifests or is_marker(wanted):
            wanted = repair.with_manifests(session, repository, wanted) if repairs else wanted
            self._tags.write(session, repository, tag, document, wanted)
        elif document is not None:  # else a file was added and deleted in one batch
            assert marker is not None  # the outcome removes the tag
            self._tags.remove(session, repository, tag, document, wanted, marker)

    def _read_back(self, repository: Repository, tag: Tag, written: list[QueuedUpdate]) -> None:
        """Read the tag twice: when a writer elsewhere that had read it before our write must have written it,
        and again later. Updates that are then missing are lost.
        """
        for seconds in self._latency.delays(repository.registry.origin):
            if not written:
                return
            self._sleep(seconds + self._short_pause())
            session = written[0].session
            document = lag.current_document(session, repository, tag, self._writes)
            present = _package(session, repository, tag, document)
            written = [member for member in written if member.read_back(present)]

    def _pause(self, repository: Repository, member: QueuedUpdate, attempt: int) -> float | None:
        """Seconds to wait before the next attempt; None if none would help. Prepares the member for it."""
        if member.failure is None:
            # Random, or else two servers that overwrite each other would go on in step.
            longest, _ = self._latency.delays(repository.registry.origin)
            return self._jitter() * (longest + self._short_pause())
        asked = member.failure.retry_after if isinstance(member.failure, RegistryRateLimited) else None
        if (asked or 0) > _LONGEST_PAUSE:
            return None
        if isinstance(member.failure, _TEMPORARY):
            return float(asked or 0.2 * 2.0 ** (attempt - 1) * (0.5 + self._jitter()))
        gone = isinstance(member.failure, RegistryRefused) and not _MANIFEST_GONE.isdisjoint(
            member.failure.codes
        )
        if not gone and not member.shared_batch:
            return None
        # The registry may have refused the batch because of one member, so each is tried alone.
        member.repairs, member.is_alone = member.repairs or gone, member.shared_batch
        return 0.0

    def _short_pause(self) -> float:
        """Between 0.05 and 0.15 seconds."""
        return 0.05 + 0.1 * self._jitter()


def _package(
    session: OCISession, repository: Repository, tag: Tag, document: Document | None
) -> ImageIndex | None:
    """The image index in a document, None if there is no such tag. Raises Denied if it is no Python package:
    such a tag is never changed.
    """
    if document is None:
        return None
    image_index = package_in(document.image_index(), partial(session.pull, repository))
    if image_index is None:
        raise Denied(
            f"the tag {tag} of {repository} has something other than a Python package,"
            " which PyOCI doesn't overwrite"
        )
    return image_index


def edited(
    image_index: ImageIndex, edit: Callable[[Descriptor], Descriptor | None], now: datetime
) -> ImageIndex:
    """The image index with each entry edited, and without those for which `edit` returns None; the same
    object if that changes nothing.
    """
    wanted = tuple(new for new in map(edit, image_index.manifests) if new is not None)
    if wanted == image_index.manifests:
        return image_index
    return rewritten(image_index, wanted, now, secrets.token_hex(8))


def replacing(lost: Digest, found: Descriptor | None, now: Callable[[], datetime]) -> IndexUpdate:
    """The update that gives the entry with the manifest `lost` the manifest of `found`; None removes the
    entry.
    """

    def edit(entry: Descriptor) -> Descriptor | None:
        if entry.digest != lost:
            return entry
        return None if found is None else replace(entry, digest=found.digest, size=found.size)

    return IndexUpdate(
        lambda present: None if present is None else edited(present, edit, now()),
        lambda present: present is None or all(edit(entry) == entry for entry in present.manifests),
    )


def place_of(entry: Descriptor) -> tuple[str, Digest]:
    """The place of an entry in its version (the wheel's tags, or the kind of sdist), and its file. The digest
    of its manifest may change, when a lost manifest is written again.
    """
    suffix = entry.platform.architecture if entry.platform is not None else str(entry.digest)
    return suffix, blob_digest(entry) or entry.digest
