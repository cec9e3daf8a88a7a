"""NegativeCache: which callers a registry has told that there is no such project."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TLRUCache

from pyoci.cache.backend import Position
from pyoci.oci.references import Repository
from pyoci.store.cache import Cache
from pyoci.store.models import Validity

_KNOWN = 65536


@dataclass(frozen=True, slots=True)
class _Absence:
    position: Position  # of the repository's journal, before the registry was asked
    until: float


class NegativeCache:
    """Each for one caller, for as long as the registry's word to them counts, a minute at most; and until
    somebody who shares the cache publishes the project, or is shown it. One for the process.
    """

    def __init__(self, cache: Cache, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._clock = clock
        self._guard = threading.Lock()
        self._known: TLRUCache[tuple[str, str], _Absence] = TLRUCache(
            _KNOWN, ttu=lambda _key, absence, _now: absence.until, timer=clock
        )

    def add(self, who: str, repository: Repository, position: Position | None, seconds: float) -> None:
        """The registry has told this caller so; that counts for so many seconds from now."""
        lasting = min(seconds, self._cache.freshness.ttl)
        if lasting > 0 and position is not None:
            with self._guard:
                self._known[who, self._cache.key_of(repository)] = _Absence(position, self._clock() + lasting)

    def is_known(self, who: str, repository: Repository) -> bool:
        """Whether the registry has told this caller so lately, and nobody has published there since."""
        key = (who, self._cache.key_of(repository))
        with self._guard:
            absence = self._known.get(key)
        if absence is None:
            return False
        if self._cache.is_unchanged(repository, absence.position) and not self._cache.has_existed(repository):
            return True
        with self._guard:
            self._known.pop(key, None)
        return False

    def validity(self, who: str, repository: Repository, until: float) -> Validity | None:
        """What an answer in the project's place stands on, which is good until then; None where it has to be
        made anew each time.
        """
        journal, position = self._cache.key_of(repository), self._cache.position(repository)
        with self._guard:
            absence = self._known.get((who, journal))
        # The position of now, or a neighbour in the same journal would end the validity before it began.
        if absence is None or position is None or not self.is_known(who, repository):
            return None
        return Validity(who, journal, position, min(absence.until, until), absent=True)

    def is_valid(self, validity: Validity) -> bool:
        """Whether what stood on this validity may still be given to the same caller."""
        with self._guard:
            known = (validity.who, validity.journal) in self._known
        return (
            known
            and self._clock() < validity.until
            and not self._cache.is_existing(validity.journal)
            and self._cache.backend.position(validity.journal) == validity.position
        )
