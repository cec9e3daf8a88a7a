"""Cache: what is remembered of a registry's repositories, and for how long.

`Cache.of` gives what is remembered of one repository: who may read it (`access`), its documents by digest
(`documents`), and its tags with what was under them (`state`), for as long as `Freshness` says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from cachetools import LRUCache

from pyoci.cache.backend import Backend, Position
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.store.access import Access, AccessCache
from pyoci.store.documents import Documents
from pyoci.store.layout import Entry
from pyoci.store.models import PackageFile, Validity
from pyoci.store.state import PAGES_CHANGED, Freshness, State, TagState

_PARSED = 64 * 1024 * 1024  # bytes of parsed documents that one process remembers
_WEIGHT = 6  # a parsed document takes about so many times its bytes
_STATES = 16 * 1024 * 1024  # bytes
_SIZES = 16384


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of the image index under one tag; none where it isn't a version."""

    entries: tuple[Entry, ...] = ()
    files: tuple[PackageFile, ...] = ()
    changed: float = 0.0  # seconds since the epoch
    size: int = 0  # bytes of the document
    unread: tuple[Entry, ...] = ()  # whose files' hashes are in child manifests that nobody has read yet

    @property
    def weight(self) -> int:
        """How many bytes of memory it takes, roughly."""
        return 500 + _WEIGHT * self.size


class Cache:
    """One for the server, made before its workers are forked; each worker then remembers for itself, too."""

    def __init__(
        self,
        backend: Backend,
        freshness: Freshness,
        *,
        home: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.freshness = freshness
        self.now = now
        self.clock = clock
        self.backend = backend
        self.access = AccessCache(self.backend, self.freshness.ttl, clock)
        self.guard = threading.Lock()
        self.states: LRUCache[str, State] = LRUCache(_STATES, getsizeof=lambda state: state.weight)
        self.contents: LRUCache[tuple[str, str], tuple[Digest, Contents]] = LRUCache(
            _PARSED, getsizeof=lambda known: known[1].weight
        )
        self.sizes: LRUCache[tuple[str, Digest], int] = LRUCache(_SIZES)
        self._home = home

    def of(self, repository: Repository) -> RepositoryCache:
        """What is remembered of one repository."""
        return RepositoryCache(self, self.key_of(repository))

    def key_of(self, repository: Repository) -> str:
        """What a repository is stored under. The embedded registries of all servers have the same address:
        `home` tells them apart.
        """
        home = self._home if repository.registry.scheme == "embedded" else ""
        return f"{home}{repository.registry.origin}\0{repository.name}"

    def caller_key(self, caller: Credentials) -> str:
        """What a caller is known by in this cache; it reveals nothing of the credentials."""
        return self.access.caller_key(caller)

    def is_valid(self, validity: Validity) -> bool:
        """Whether the answer that got this validity may be given again to the same caller."""
        return self.access.is_valid(validity)

    # What RecentWrites and IndexUpdater ask of a journal

    def changed(self, repository: Repository, tag: Tag) -> None:
        """Record for all who share the cache that the registry has taken, or may have taken, a change."""
        self.of(repository).access.set_existing()
        self.backend.record(self.key_of(repository), str(tag))

    def mark(self, repository: Repository) -> str:
        """The position of the repository's journal as text; "" where it is unknown."""
        position = self.backend.position(self.key_of(repository))
        return "" if position is None else f"{position.count} {position.epoch}"

    def is_touched(self, repository: Repository, tag: Tag, mark: str) -> bool:
        """Whether it is certain that somebody has changed the tag since the journal was at `mark`."""
        count, _, epoch = mark.partition(" ")
        if not count.isdecimal():
            return False  # another process is writing the mark anew
        changed = self.backend.since(self.key_of(repository), Position(epoch, int(count)))
        return changed is not None and str(tag) in changed


class RepositoryCache:
    """What is remembered of one repository."""

    __slots__ = ("_shared", "access", "documents", "freshness", "key", "now")

    def __init__(self, shared: Cache, key: str) -> None:
        self._shared = shared
        self.key = key
        self.access = Access(shared.access, key)
        self.documents = Documents(shared.backend, key)
        self.freshness = shared.freshness
        self.now = shared.now

    def position(self) -> Position | None:
        """That of the repository's journal, to be taken before the registry is asked. None where it is
        unknown what others have written: then nothing that is remembered of tags counts.
        """
        return self._shared.backend.position(self.key)

    def refresh_lock(self, seconds: float) -> AbstractContextManager[bool]:
        """While it is held, nobody else who shares the cache asks the registry for the state of the same
        repository. Waits for it for at most `seconds`.
        """
        return self._shared.backend.lock(f"look\0{self.key}", seconds)

    # Tags, and what was under them

    def state(self) -> State:
        """What is remembered, as far as it can still be true; an empty state if nothing is.

        Tags that were written since through this cache are left out. Where these are unknown, every tag has
        to be looked at again.
        """
        shared, position = self._shared, self.position()
        with shared.guard:
            own = shared.states.get(self.key)
        is_current = own is not None and position is not None and own.position == position
        if own is not None and is_current and self.freshness.is_list_fresh(own, self.now()):
            return own
        # Without tags it is what downloads left here: one version or a few.
        stored = self._stored(position, needed=own is None or not own.tags)
        # Of two that are as old, the one that had to be announced since.
        known = max(
            (state for state in (own, stored) if state is not None),
            key=lambda state: (state.listed, state.position is None, state.position == position),
            default=State(),
        )
        if position is None or known.position is None:
            return known.doubted(position)
        if known.position != position:
            changed = shared.backend.since(self.key, known.position)
            if changed is None:
                return known.doubted(position)
            known = known.without(changed, position)
        with shared.guard:
            self._remember(known)
        return known

    def put_state(self, state: State) -> None:
        """Remember a state, for all who share the cache."""
        with self._shared.guard:
            self._remember(state)
        if state.position is not None:
            seconds = 2 * max(self.freshness.ttl, self.freshness.ttl_old)
            self._shared.backend.put(f"state\0{self.key}", state.to_json(), seconds)

    def put_tag_state(self, position: Position | None, tag: str, known: TagState) -> None:
        """Remember, in this process, what was under one tag when the journal was at `position`."""
        with self._shared.guard:
            state = self._shared.states.get(self.key) or State(position)
            if position is not None and state.position == position:
                self._remember(state.with_tag_state(tag, known))

    def _stored(self, position: Position | None, *, needed: bool) -> State | None:
        """What another worker remembers; where it isn't `needed`, only if it is younger than any change."""
        value = self._shared.backend.get(f"state\0{self.key}") if position is not None else None
        if value is None or position is None or not (needed or value.startswith(State.head(position))):
            return None
        return State.from_json(value)

    def _remember(self, state: State) -> None:
        """Remember a state in this process, unless it is so large that it would push the others out; and
        forget the contents of tags that are gone. The guard is held.
        """
        states, contents = self._shared.states, self._shared.contents
        before = states.pop(self.key, None)
        if before is not None and before.tags != state.tags:
            for tag in {*before.tags, *before.tag_states} - {*state.tags, *state.tag_states}:
                contents.pop((self.key, tag), None)
        if state.weight <= states.maxsize // 2:
            states[self.key] = state

    # Pages made of them

    def invalidate_pages(self) -> None:
        """Let every page of the repository be built again: something that it shows has changed."""
        self._shared.backend.record(self.key, PAGES_CHANGED)

    def announce(self, state: State) -> State:
        """Invalidate pages that were made of older states, and return the state for the position after that.
        Otherwise what a page shows would depend on the worker, for as long as each remembers an older state.
        """
        self.invalidate_pages()
        position = self.position()
        if position is None or state.position is None:
            return state
        recorded = self._shared.backend.since(self.key, state.position)
        return replace(state, position=position) if recorded == frozenset({PAGES_CHANGED}) else state

    def validity(self, caller: str, state: State) -> Validity | None:
        """For how long a page made of `state` may be given again; None where it may not."""
        if state.position is None:
            return None
        until = self._shared.clock() + state.listed + self.freshness.ttl - self.now()
        return Validity(caller, self.key, state.position, until)

    # What never changes: sizes of blobs, and the files of a document

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, where the registry has been asked before."""
        with self._shared.guard:
            return self._shared.sizes.get((self.key, digest))

    def put_size(self, digest: Digest, size: int) -> None:
        with self._shared.guard:
            self._shared.sizes[self.key, digest] = size

    def contents(self, tag: str, digest: Digest) -> Contents | None:
        """What the document under a tag contains, if that one was parsed last for the tag."""
        with self._shared.guard:
            known = self._shared.contents.get((self.key, tag))
        return known[1] if known is not None and known[0] == digest else None

    def put_contents(self, tag: str, digest: Digest, contents: Contents) -> None:
        with self._shared.guard:
            if contents.weight <= self._shared.contents.maxsize // 4:
                self._shared.contents[self.key, tag] = (digest, contents)
