"""Changing a version's image index so that no neighbour's file is lost.

No registry has compare-and-swap on tags: whoever reads, adds and writes may overwrite what another wrote in
between. So a change is made under a lock of all who share one, together with those that wait for the same tag
on behalf of the same caller; it is read back later, twice, for the sake of writers elsewhere, and made again
where it was lost.

A project's marker is written before any tag is removed, whatever other tags there are: two deletes at once
would each find the other's tag and leave none, and then nobody could tell that the project ever existed.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from pyoci.errors import Denied, PyOCIError, Unreachable
from pyoci.oci.errors import RegistryFailed, RegistryNotFound, RegistryRateLimited, RegistryRefused
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import MARKER_TAG, marker, package_in
from pyoci.store.writing.cleanup import removed, repaired
from pyoci.store.writing.lag import Durations, RecentWrites, current_document
from pyoci.store.writing.queue import Already, IndexUpdate, TagLocks, Turns, Waiter

_LOST = (12, 30.0)  # attempts, and seconds after which no further one begins, at what others overwrite
_FAILED = (5, 10.0)  # the same where the registry fails
_TURN_SECONDS = 30.0  # for which a turn is waited for
_PATIENCE = 3.0  # seconds; a registry that asks to wait longer is passed on to the caller
_PASSING = (Unreachable, RegistryFailed, RegistryRateLimited)
# What a registry says of a child that was deleted since the image index was read.
_CHILD_GONE = frozenset({"MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})


class IndexUpdater:
    """Makes changes to image indexes. One for the server, made before its workers are forked."""

    def __init__(
        self,
        changed: Callable[[Repository, Tag], None],
        writes: RecentWrites,
        *,
        locks: TagLocks | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._changed = changed  # tells all workers, after the registry took a change
        self._writes = writes
        self._locks = locks or TagLocks()
        self._turns = Turns()
        self._durations = Durations(clock)
        self._now, self._sleep, self._clock, self._jitter = now, sleep, clock, jitter

    def change(self, session: OCISession, repository: Repository, tag: Tag, change: IndexUpdate) -> None:
        """Make the change stick. Raises Unreachable where others overwrite it again and again, and what the
        registry said last where it doesn't take it.
        """
        waiter, begun = Waiter(session, change), self._clock()
        try:
            for attempt in itertools.count(1):
                waiter.begin()
                self._take_turn(repository, tag, waiter)
                attempts, seconds = _LOST if waiter.lost else _FAILED
                pause: float | None
                if waiter.failure is not None:
                    pause = _pause(waiter, waiter.failure, attempt, self._jitter())
                elif not waiter.lost:
                    return
                else:
                    # Two servers that overwrite each other would go on doing so in step.
                    longest, _ = self._durations.waits(repository.registry.origin)
                    pause = self._jitter() * (longest + self._moment())
                if pause is None or attempt >= attempts or self._clock() - begun > seconds:
                    break
                self._sleep(pause)
            raise waiter.failure or Unreachable(
                f"{repository}:{tag} was overwritten by others again and again; try again"
            )
        finally:
            waiter.failure = None  # the traceback that it has now holds the waiter

    def _take_turn(self, repository: Repository, tag: Tag, waiter: Waiter) -> None:
        """Have the change made, by whoever is at the head of the line; the waiter tells what became of it."""
        key = (repository.registry.origin, repository.name, tag.value)
        if not self._turns.join(key, waiter, _TURN_SECONDS):
            return
        group = [waiter]
        try:
            try:
                with self._locks.held(repository, tag, _TURN_SECONDS):
                    group = self._turns.company(key, waiter)
                    made = self._make(repository, tag, group)
            finally:
                self._turns.leave(key)
            self._look_back(repository, tag, made)
        except PyOCIError as exc:
            _fail(group, exc)
        except BaseException:
            _fail(group[1:], Unreachable(f"the change of {repository}:{tag} was broken off; try again"))
            raise
        finally:
            for mate in group[1:]:
                mate.called.set()

    def _make(self, repository: Repository, tag: Tag, group: list[Waiter]) -> list[Waiter]:
        """Make all changes of a group in one write. Returns those that have to be looked for after it."""
        session, begun = group[0].session, self._clock()
        seen, before, present = self._applied(repository, tag, group)
        if _is_emptied(before, present) and tag != MARKER_TAG and self._wrote_marker(session, repository):
            # That took a while, in which somebody elsewhere may have changed the version.
            begun = self._clock()
            seen, before, present = self._applied(repository, tag, group)
        if present is before or present is None:
            # It was lost, and is there again: so two states take turns, and the other one may come back.
            return [waiter for waiter in group if waiter.made and waiter.failure is None]
        repair = any(waiter.repair for waiter in group)
        for waiter in group:
            waiter.made = True
        try:
            written = _write(session, repository, tag, seen, present, repair=repair)
        except PyOCIError as exc:
            for waiter in group:
                waiter.failure, waiter.in_company = exc.bare(), len(group) > 1
            # The answer may be what was lost, and the change taken.
            return group if isinstance(exc, _PASSING) else []
        else:
            self._writes.record(repository, tag, seen.digest if seen else None, written)
        finally:
            # Also after a failure, for the same reason.
            self._changed(repository, tag)
            self._durations.note(repository.registry.origin, self._clock() - begun)
        self._writes.settle(repository, tag)
        return [waiter for waiter in group if waiter.failure is None]

    def _applied(
        self, repository: Repository, tag: Tag, group: list[Waiter]
    ) -> tuple[Document | None, ImageIndex | None, ImageIndex | None]:
        """The document under the tag, its image index, and what the changes of a group make of that."""
        self._writes.heed(repository, tag)
        seen = current_document(group[0].session, repository, tag, self._writes)
        if self._writes.is_foreign(repository, tag, seen.digest if seen else None):
            self._durations.contest(repository.registry.origin)
        before = present = _package(group[0].session, seen, repository, tag)
        for waiter in group:
            present = waiter.apply(present)
        return seen, before, present

    def _wrote_marker(self, session: OCISession, repository: Repository) -> bool:
        """Write the project's marker unless it is there, and tell whether it was missing. It isn't looked for
        afterwards: whoever overwrites it leaves a marker, too. Raises what the registry says.
        """
        try:
            session.digest(repository, MARKER_TAG)
        except RegistryNotFound:
            pass
        else:
            return False
        there: IndexUpdate = IndexUpdate(
            lambda present: marker(self._now()) if present is None else Already.SO,
            lambda present: present is not None,
        )
        waiter = Waiter(session, there)
        with self._locks.held(repository, MARKER_TAG, _TURN_SECONDS):
            self._make(repository, MARKER_TAG, [waiter])
        if waiter.failure is not None:
            raise waiter.failure
        return True

    def _look_back(self, repository: Repository, tag: Tag, made: list[Waiter]) -> None:
        """Look for the changes once whoever read before we wrote must have written, and once more later."""
        for seconds in self._durations.waits(repository.registry.origin):
            if not made:
                return
            self._sleep(seconds + self._moment())
            seen = current_document(made[0].session, repository, tag, self._writes)
            present = _package(made[0].session, seen, repository, tag)
            made = [waiter for waiter in made if waiter.look(present)]

    def _moment(self) -> float:
        """Some jitter, in seconds."""
        return 0.05 + 0.1 * self._jitter()


def _package(
    session: OCISession, document: Document | None, repository: Repository, tag: Tag
) -> ImageIndex | None:
    """The image index in a document, None where there is no such tag. Raises Denied where the tag holds
    something that PyOCI has not written: it stays as it is.
    """
    if document is None:
        return None
    image_index = package_in(document.image_index(), partial(session.pull, repository))
    if image_index is None:
        raise Denied(f"the tag {tag} of {repository} holds something else than a Python package")
    return image_index


def _is_emptied(before: ImageIndex | None, present: ImageIndex | None) -> bool:
    """Whether the tag is about to be removed."""
    return before is not None and present is not None and present is not before and not present.manifests


def _write(
    session: OCISession,
    repository: Repository,
    tag: Tag,
    seen: Document | None,
    wanted: ImageIndex,
    *,
    repair: bool,
) -> Digest | None:
    """Write what is wanted, and return its digest; None where a version that is empty now lost its tag."""
    is_to_go = not wanted.manifests and tag != MARKER_TAG
    if is_to_go and (seen is None or removed(session, repository, tag, seen.digest)):
        return None
    document = Document.of(repaired(session, repository, wanted) if repair else wanted)
    session.push(repository, tag, document)
    return document.digest


def _fail(group: list[Waiter], failure: PyOCIError) -> None:
    """Tell those who don't know yet."""
    for waiter in group:
        if waiter.failure is None and not waiter.lost:
            waiter.failure = failure.bare()


def _pause(waiter: Waiter, failure: PyOCIError, attempt: int, jitter: float) -> float | None:
    """Seconds to wait before the next attempt, longer each time: the registry may need them. None where no
    attempt would help.
    """
    if isinstance(failure, RegistryRateLimited) and (failure.retry_after or 0) > _PATIENCE:
        return None
    if isinstance(failure, _PASSING):
        asked = failure.retry_after if isinstance(failure, RegistryRateLimited) else None
        return float(asked or 0.2 * 2.0 ** (attempt - 1) * (0.5 + jitter))
    gone = isinstance(failure, RegistryRefused) and _CHILD_GONE.intersection(failure.codes)
    if not gone and not waiter.in_company:
        return None
    # What is refused to all together may be taken from each.
    waiter.repair, waiter.alone = waiter.repair or bool(gone), waiter.in_company
    return 0.0
