"""Access: which callers a registry has let read a repository, and which callers it has told that it has none.

Both are remembered only in this process, for at most a minute. The minute begins when the caller's token was
requested, or when the request was sent if it needed no token. To know a digest proves nothing: anyone who may
push to one repository could put the digest of another repository's document there.
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
_ANNOUNCED = 3600.0  # seconds after which "exists" is written to the backend again, which may have lost it

_Key = tuple[str, str]  # a caller's key, and a repository's


@dataclass(frozen=True, slots=True)
class _Absence:
    position: Position  # of the repository's journal, before the registry was asked
    until: float


class AccessCache:
    """Proofs and absences of all repositories. One for the server; each worker has its own memory."""

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
        self.existing: LRUCache[str, float] = LRUCache(_EXISTING)  # when it was last written to the backend
        self._secret = secrets.token_bytes(32)

    def caller_key(self, caller: Credentials) -> str:
        """The key of a caller here: a hash of the credentials and a random secret, so it reveals nothing."""
        return fingerprint(caller, self._secret)

    def is_valid(self, validity: Validity) -> bool:
        """Whether the answer with this validity may be served again to the same caller."""
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
    """Who may read one repository. `repository` is its key in the cache, `caller` that of a caller."""

    shared: AccessCache
    repository: str

    # The registry has let a caller read

    def prove(self, caller: str, seconds: float) -> None:
        """The registry has let this caller read. The proof holds for `seconds`, at most the time to live."""
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
        """Whether anyone who shares the cache has read or written the project. From then on upstream is never
        asked for its name, even if the repository is empty or gone.
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
        """The registry has told this caller so. It holds for `seconds`, at most the time to live.

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
        """The validity of an answer that is served because the project is absent; at most until `until`. None
        if the answer must not be served again.
        """
        # It gets the journal's present position. With an older one it would be invalid at once if another
        # repository in the same journal has changed.
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
