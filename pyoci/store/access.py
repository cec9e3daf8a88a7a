"""Access: which callers a registry has let read a repository, and which it has told that there is none.

Both are remembered in this process alone, for a minute at most after the token that proved it was requested,
or after the request that proved it without a token was sent. A digest proves neither: anyone who may
push to one repository could name another's digest there.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache, TLRUCache

from pyoci.cache.backend import Backend, Position
from pyoci.oci.credentials import Credentials, fingerprint
from pyoci.store.models import Validity

_PROOFS = 16384
_ABSENCES = 65536
_EXISTING = 16384
_ANNOUNCED = (
    3600.0  # seconds after which the backend is told again that a repository exists: it may have forgotten
)

_Key = tuple[str, str]  # a caller's key, and a repository's


@dataclass(frozen=True, slots=True)
class _Absence:
    position: Position  # of the repository's journal, before the registry was asked
    until: float


class AccessCache:
    """Proofs and absences of all repositories. One for the server; each worker remembers for itself."""

    def __init__(self, backend: Backend, ttl: float, clock: Callable[[], float]) -> None:
        self.backend = backend
        self.ttl = ttl  # seconds
        self.clock = clock
        self.guard = threading.Lock()
        self.proofs: TLRUCache[_Key, float] = TLRUCache(
            _PROOFS, ttu=lambda _key, until, _now: until, timer=clock
        )
        self.absences: TLRUCache[_Key, _Absence] = TLRUCache(
            _ABSENCES, ttu=lambda _key, absence, _now: absence.until, timer=clock
        )
        self.existing: LRUCache[str, float] = LRUCache(_EXISTING)  # when the backend was told
        self._secret = secrets.token_bytes(32)

    def caller_key(self, caller: Credentials) -> str:
        """What a caller is known by here. It reveals nothing of the credentials, and has a random key."""
        return fingerprint(caller, self._secret)

    def is_valid(self, validity: Validity) -> bool:
        """Whether the answer that got this validity may be given again to the same caller."""
        key = (validity.caller_key, validity.journal)
        with self.guard:
            if validity.absent:
                known = key in self.absences and validity.journal not in self.existing
            else:
                known = key in self.proofs
        return (
            known
            and self.clock() < validity.until
            and self.backend.position(validity.journal) == validity.position
            and (validity.also is None or self.is_valid(validity.also))
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read one repository; `repository` is what it is stored under. Callers are given as keys."""

    shared: AccessCache
    repository: str

    # The registry has let a caller read

    def prove(self, caller: str, seconds: float) -> None:
        """The registry has let this caller read, which counts for `seconds` from now, or the time to live."""
        seconds = min(seconds, self.shared.ttl)
        if seconds > 0:
            with self.shared.guard:
                self.shared.proofs[caller, self.repository] = self.shared.clock() + seconds

    def revoke(self, caller: str) -> None:
        """The registry has just refused this caller."""
        with self.shared.guard:
            self.shared.proofs.pop((caller, self.repository), None)

    def is_proven(self, caller: str) -> bool:
        """Whether the registry has recently let this caller read."""
        with self.shared.guard:
            return (caller, self.repository) in self.shared.proofs

    # The repository is a project's

    def has_existed(self) -> bool:
        """Whether anyone who shares the cache has read or written the project. Its name is the registry's
        from then on, even if the repository is empty or gone.
        """
        with self.shared.guard:
            known = self.repository in self.shared.existing
        return known or self.shared.backend.get(f"existing\0{self.repository}") is not None

    def set_existing(self) -> None:
        """Remember, for all who share the cache, that the repository is a project's."""
        now = self.shared.clock()
        with self.shared.guard:
            announced = self.shared.existing.get(self.repository)
            if announced is not None and now - announced < _ANNOUNCED:
                return
            self.shared.existing[self.repository] = now
        self.shared.backend.put(f"existing\0{self.repository}", b"1")

    # The registry has told a caller that there is no such project (a negative cache)

    def add_absence(self, caller: str, position: Position | None, seconds: float) -> None:
        """The registry has told this caller so, which counts for `seconds` from now, or the time to live.

        `position` is that of the repository's journal before the registry was asked.
        """
        seconds = min(seconds, self.shared.ttl)
        if seconds > 0 and position is not None:
            with self.shared.guard:
                until = self.shared.clock() + seconds
                self.shared.absences[caller, self.repository] = _Absence(position, until)

    def is_absent(self, caller: str) -> bool:
        """Whether the registry has recently told this caller so, and nobody has published there since."""
        return self._absence(caller) is not None

    def absence_validity(self, caller: str, until: float) -> Validity | None:
        """For how long an answer in the project's place may be given again, at most until `until`; None where
        it may not.
        """
        # The present position: any other would end at the next change of a neighbour in the same journal.
        position, absence = self.shared.backend.position(self.repository), self._absence(caller)
        if absence is None or position is None:
            return None
        return Validity(caller, self.repository, position, min(absence.until, until), absent=True)

    def _absence(self, caller: str) -> _Absence | None:
        with self.shared.guard:
            absence = self.shared.absences.get((caller, self.repository))
        if absence is None or (self._is_unchanged(absence.position) and not self.has_existed()):
            return absence
        with self.shared.guard:
            self.shared.absences.pop((caller, self.repository), None)
        return None

    def _is_unchanged(self, since: Position) -> bool:
        """Whether it is certain that nobody has written there since the journal was at that position."""
        position = self.shared.backend.position(self.repository)
        return position is not None and (
            position == since or self.shared.backend.since(self.repository, since) == frozenset()
        )
