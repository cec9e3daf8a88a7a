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

from pyoci.errors import Denied, Unreachable
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import is_package
from pyoci.store.locks import TagLocks

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version's image index as it was read, and the digest that its bytes had in the registry."""

    image_index: ImageIndex
    digest: Digest


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an image index.

    `apply` gets the present one (None: no such tag) and returns the wanted one, or None where nothing is to
    be written. `holds` tells whether the change is in what was read back; a neighbour's changes don't
    matter: putting back what somebody deleted elsewhere would be as wrong as losing a file.
    """

    apply: Callable[[Snapshot | None], ImageIndex | None]
    holds: Callable[[Snapshot | None], bool]


class Changer:
    """Makes changes to image indexes. One for the server, made before its workers are forked."""

    def __init__(
        self,
        changed: Callable[[Repository, Tag], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._changed = changed  # tells all workers, after the registry took a change
        self._locks = TagLocks()
        self._sleep = sleep
        self._jitter = jitter

    def change(self, session: OCISession, repository: Repository, tag: Tag, change: Change) -> None:
        """Make the change stick. Raises Unreachable where others overwrite it again and again."""
        for _ in range(_ROUNDS):
            with self._locks.held(repository, tag):
                try:
                    wanted = change.apply(snapshot(session, repository, tag))
                    if wanted is None:
                        return
                    session.push(repository, tag, Document.of(wanted))
                finally:
                    # Also after a failure: the answer may have been lost, and the change taken.
                    self._changed(repository, tag)
            # Whoever read before we wrote has written by now, or will find our change.
            self._sleep(0.05 + 0.1 * self._jitter())
            if change.holds(snapshot(session, repository, tag)):
                return
        raise Unreachable(f"{repository}:{tag} was overwritten by others {_ROUNDS} times; try again")


def snapshot(session: OCISession, repository: Repository, tag: Tag) -> Snapshot | None:
    """The image index under a tag, None where there is no such tag or repository.

    Raises Denied where the tag holds something that PyOCI has not written: it stays as it is.
    """
    try:
        document = session.pull(repository, tag)
    except RegistryNotFound:
        return None
    image_index = document.image_index()
    if image_index is None or not is_package(image_index):
        raise Denied(f"the tag {tag} of {repository} holds something else than a Python package")
    return Snapshot(image_index, document.digest)
