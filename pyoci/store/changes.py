"""Changing a version's image index so that no neighbour's file is lost.

No registry has compare-and-swap on tags: whoever reads, adds and writes may overwrite what another wrote in
between. So a change is made under a lock of all our workers, read back after a moment for the sake of writers
elsewhere, and made again where it was lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pyoci.errors import Denied, PyOCIError, Unreachable
from pyoci.oci.errors import (
    RegistryFailed,
    RegistryRateLimited,
    RegistryRefused,
)
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import is_package
from pyoci.store.locks import TagLocks
from pyoci.store.repair import repaired
from pyoci.store.writes import Writes, present_document

_ROUNDS = 5
_PATIENCE = 3.0  # seconds; a registry that asks to wait longer is passed on to the caller
# What a registry says of a child that was deleted since the image index was read.
_CHILD_GONE = frozenset({"MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version's image index as it was read, and the digest that its bytes had in the registry."""

    image_index: ImageIndex
    digest: Digest


class Already(Enum):
    """What `apply` says instead of an image index to write."""

    SO = "nothing has to be done"
    REMOVED = "the tag was removed by it"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an image index.

    `apply` gets the present one (None: no such tag) and returns the wanted one, or why none is to be written.
    `holds` tells whether the change is in what was read back. A neighbour's changes don't matter: putting
    back what somebody deleted elsewhere would be as wrong as losing a file.
    """

    apply: Callable[[Snapshot | None], ImageIndex | Already]
    holds: Callable[[Snapshot | None], bool]


class Changer:
    """Makes changes to image indexes. One for the server, made before its workers are forked."""

    def __init__(
        self,
        changed: Callable[[Repository, Tag], None],
        writes: Writes,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._changed = changed  # tells all workers, after the registry took a change
        self._locks = TagLocks()
        self._writes = writes
        self._sleep = sleep
        self._jitter = jitter

    def change(self, session: OCISession, repository: Repository, tag: Tag, change: Change) -> None:
        """Make the change stick. Raises Unreachable where others overwrite it again and again, and what the
        registry said last where it doesn't take it.
        """
        repair = False
        failure: PyOCIError = Unreachable(
            f"{repository}:{tag} was overwritten by others {_ROUNDS} times; try again"
        )
        for _ in range(_ROUNDS):
            try:
                if self._attempt(session, repository, tag, change, repair=repair) is Already.SO:
                    return
            except (Unreachable, RegistryFailed, RegistryRateLimited, RegistryRefused) as exc:
                # Its answer may be what was lost, or a neighbour's write came between: look, and try again.
                failure, repair = exc, repair or isinstance(exc, RegistryRefused)
                self._sleep(_pause(exc))
            # Whoever read before we wrote has written by now, or will find our change.
            self._sleep(0.05 + 0.1 * self._jitter())
            with self._locks.held(repository, tag):
                if change.holds(self.snapshot(session, repository, tag)):
                    return
        raise failure

    def _attempt(
        self, session: OCISession, repository: Repository, tag: Tag, change: Change, *, repair: bool
    ) -> Already | None:
        with self._locks.held(repository, tag):
            seen = self.snapshot(session, repository, tag)
            try:
                wanted = change.apply(seen)
                if wanted is Already.SO:
                    return wanted
                document = None
                if isinstance(wanted, ImageIndex):
                    document = Document.of(repaired(session, repository, wanted) if repair else wanted)
                    session.push(repository, tag, document)
            finally:
                # Also after a failure: the answer may have been lost, and the change taken.
                self._changed(repository, tag)
            replaced = seen.digest if seen else None
            self._writes.record(repository, tag, replaced, document.digest if document else None)
            return None

    def snapshot(self, session: OCISession, repository: Repository, tag: Tag) -> Snapshot | None:
        """The image index under a tag, None where there is no such tag. The caller holds the tag's lock.

        An answer that is older than our own last write is passed over for that. Raises Denied where the tag
        holds something that PyOCI has not written: it stays as it is.
        """
        document = present_document(session, repository, tag, self._writes)
        if document is None:
            return None
        image_index = document.image_index()
        if image_index is None or not is_package(image_index):
            raise Denied(f"the tag {tag} of {repository} holds something else than a Python package")
        return Snapshot(image_index, document.digest)


def _pause(failure: PyOCIError) -> float:
    """Seconds to wait before the next attempt. Raises the failure again where no attempt would help."""
    if isinstance(failure, RegistryRateLimited):
        if (failure.retry_after or 0) > _PATIENCE:
            raise failure
        return float(failure.retry_after or 0)
    if isinstance(failure, RegistryRefused) and not _CHILD_GONE.intersection(failure.codes):
        raise failure
    return 0.0
