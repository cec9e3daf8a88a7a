"""Cache: what is remembered of a registry's repositories, and for how long.

`Cache.of` gives what is remembered of one repository: who may read it (`access`), its documents by digest
(`documents`), and its tags with what was under them (`state`), for as long as `Freshness` says.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from cachetools import LRUCache

from pyoci.cache.backend import Backend, Position
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.simple_api.model import ProjectStatus
from pyoci.store import access, documents
from pyoci.store.layout import Entry
from pyoci.store.models import PackageFile, Validity
from pyoci.store.state import PAGES_CHANGED, Freshness, State, TagState

_PARSED = 64 * 1024 * 1024  # bytes of parsed documents that one process remembers
_WEIGHT = 6  # a parsed document takes about this many times its size
_STATES = 16 * 1024 * 1024  # bytes
_SIZES = 16384
_IMAGES = 2000  # repositories of one namespace
_IMAGES_SECONDS = 24 * 3600.0  # for which it is remembered that repositories hold container images
_UNMARKED = 16384


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of the image index under one tag, and its summary; none if it isn't a version."""

    entries: tuple[Entry, ...] = ()
    files: tuple[PackageFile, ...] = ()
    changed: float = 0.0  # seconds since the epoch
    size: int = 0  # bytes of the document
    unread: tuple[Entry, ...] = ()  # their files' hashes are in child manifests that weren't read yet
    summary: str | None = None  # the label; None for a version that was published without labels
    status: ProjectStatus | None = None  # of the project, if this is its marker

    @property
    def weight(self) -> int:
        """Its approximate size in memory, in bytes."""
        return 500 + _WEIGHT * self.size


class Cache:
    """What is remembered. One for the server, made before its workers are forked. Each worker then has its
    own memory.
    """

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
        self.access = access.AccessCache(self.backend, self.freshness.ttl, clock)
        self.guard = threading.Lock()
        self.states: LRUCache[str, State] = LRUCache(_STATES, getsizeof=lambda state: state.weight)
        self.contents: LRUCache[tuple[str, str], tuple[Digest, Contents]] = LRUCache(
            _PARSED, getsizeof=lambda known: known[1].weight
        )
        self.sizes: LRUCache[tuple[str, Digest], int] = LRUCache(_SIZES)
        self.unmarked: LRUCache[str, tuple[Position, float]] = LRUCache(_UNMARKED)
        self._home = home

    def of(self, repository: Repository) -> RepositoryCache:
        """What is remembered of one repository."""
        return RepositoryCache(self, self.key_of(repository))

    def key_of(self, repository: Repository) -> str:
        """The key of a repository in the cache. The embedded registries of all servers have the same address;
        `home` makes their keys differ.
        """
        home = self._home if repository.registry.scheme == "embedded" else ""
        return f"{home}{repository.registry.origin}\0{repository.name}"

    def caller_key(self, caller: Credentials) -> str:
        """The key of a caller in this cache; it doesn't reveal the credentials."""
        return self.access.caller_key(caller)

    def is_valid(self, validity: Validity) -> bool:
        """Whether the answer with this validity may be served again to the same caller."""
        return self.access.is_valid(validity)

    # Repositories that hold container images alone

    def images(self, namespace: Repository) -> frozenset[str]:
        """The repositories in a namespace that were found to hold container images alone, by the last
        segments of their names. All callers share them: they are only taken out of a caller's own list.
        """
        return frozenset(self._images(self.key_of(namespace)))

    def add_image(self, repository: Repository) -> None:
        """Remember that a repository holds container images alone. If two workers add one at the same time,
        one of the two is lost, and is found again.
        """
        above, _, name = repository.name.rpartition("/")
        key = self.key_of(replace(repository, name=above))
        known = self._images(key)
        if name not in known:
            names = [*known, name][-_IMAGES:]
            self.backend.put(f"images\0{key}", json.dumps(names).encode(), _IMAGES_SECONDS)

    def _images(self, key: str) -> list[str]:
        try:
            found = json.loads(self.backend.get(f"images\0{key}") or b"[]")
        except (ValueError, RecursionError):
            found = []
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []

    # The journal, as RecentWrites and IndexUpdater use it

    def changed(self, repository: Repository, tag: Tag) -> None:
        """Record for all who share the cache that the registry has taken, or may have taken, a change."""
        self.of(repository).access.set_existing()
        self.backend.record(self.key_of(repository), str(tag))

    def mark(self, repository: Repository) -> str:
        """The position of the repository's journal as text; "" if it is unknown."""
        position = self.backend.position(self.key_of(repository))
        return "" if position is None else f"{position.count} {position.epoch}"

    def is_touched(self, repository: Repository, tag: Tag, mark: str) -> bool:
        """Whether it is certain that somebody has changed the tag since the journal was at `mark`."""
        count, _, epoch = mark.partition(" ")
        if not count.isdecimal():
            return False  # another process is just rewriting the mark
        changed = self.backend.since(self.key_of(repository), Position(epoch, int(count)))
        return changed is not None and str(tag) in changed


class RepositoryCache:
    """What is remembered of one repository."""

    __slots__ = ("_shared", "access", "documents", "freshness", "key", "now")

    def __init__(self, shared: Cache, key: str) -> None:
        self._shared = shared
        self.key = key
        self.access = access.Access(shared.access, key)
        self.documents = documents.Documents(shared.backend, key)
        self.freshness = shared.freshness
        self.now = shared.now

    def position(self) -> Position | None:
        """The position of the repository's journal. Read it before asking the registry. None if the journal
        can't be read: then others may have changed any tag, and remembered tags must not be used.
        """
        return self._shared.backend.position(self.key)

    def add_image(self, repository: Repository) -> None:
        """Remember that this `repository` holds container images alone, until a project is found there."""
        self._shared.add_image(repository)

    def refresh_lock(self, seconds: float) -> AbstractContextManager[bool]:
        """The lock that a request holds while it asks the registry for the state of the repository, so that
        no other server or worker asks at the same time. Waits at most `seconds` for it.
        """
        return self._shared.backend.lock(f"look\0{self.key}", seconds)

    # Tags, and what was under them

    def state(self) -> State:
        """What is remembered and can still be true; an empty state if there is nothing.

        Tags that the journal names as changed since then are left out. If the journal can't say which have
        changed, every tag has to be read again.
        """
        shared, position = self._shared, self.position()
        with shared.guard:
            own = shared.states.get(self.key)
        is_current = own is not None and position is not None and own.position == position
        if own is not None and is_current and self.freshness.is_list_fresh(own, self.now()):
            return own
        # A state without tags was made by downloads, and has one version or a few.
        stored = self._stored(position, needed=own is None or not own.tags)
        # Of two states of the same age, the one at the present position: it was announced since.
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

    # Projects without a marker

    def put_unmarked(self, position: Position | None) -> None:
        """Remember, in this process, that there was no marker when the journal was at `position`."""
        if position is not None:
            with self._shared.guard:
                self._shared.unmarked[self.key] = position, self.now()

    def is_unmarked(self) -> bool:
        """Whether there was lately no marker, and nobody has written to the repository since."""
        with self._shared.guard:
            known = self._shared.unmarked.get(self.key)
        if known is None or not self.freshness.is_current(known[1], self.now()):
            return False
        return self.position() == known[0]

    def _stored(self, position: Position | None, *, needed: bool) -> State | None:
        """The state that another worker has stored. Unless it is `needed`, it is parsed only if nothing has
        changed since.
        """
        value = self._shared.backend.get(f"state\0{self.key}") if position is not None else None
        if value is None or position is None or not (needed or value.startswith(State.head(position))):
            return None
        return State.from_json(value)

    def _remember(self, state: State) -> None:
        """Remember a state in this process, unless it would push too many others out, and forget the contents
        of tags that are gone. The caller holds the guard.
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
        """Have every page of the repository built again, because something that it shows has changed."""
        self._shared.backend.record(self.key, PAGES_CHANGED)

    def announce(self, state: State) -> State:
        """Invalidate the pages that were made from older states, and return the state at the new position.
        Otherwise workers that still remember an older state would serve another page than this one does.
        """
        self.invalidate_pages()
        position = self.position()
        if position is None or state.position is None:
            return state
        recorded = self._shared.backend.since(self.key, state.position)
        return replace(state, position=position) if recorded == frozenset({PAGES_CHANGED}) else state

    def validity(self, caller: str, state: State) -> Validity | None:
        """The validity of a page made from `state`; None if the page must not be served again."""
        if state.position is None:
            return None
        until = self._shared.clock() + state.listed + self.freshness.ttl - self.now()
        return Validity(caller, self.key, state.position, until)

    # What never changes: sizes of blobs, and the files of a document

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes; None if the registry hasn't been asked yet."""
        with self._shared.guard:
            return self._shared.sizes.get((self.key, digest))

    def put_size(self, digest: Digest, size: int) -> None:
        with self._shared.guard:
            self._shared.sizes[self.key, digest] = size

    def contents(self, tag: str, digest: Digest) -> Contents | None:
        """The parsed document with this digest, if it is the one that was last parsed for the tag."""
        with self._shared.guard:
            known = self._shared.contents.get((self.key, tag))
        return known[1] if known is not None and known[0] == digest else None

    def put_contents(self, tag: str, digest: Digest, contents: Contents) -> None:
        with self._shared.guard:
            if contents.weight <= self._shared.contents.maxsize // 4:
                self._shared.contents[self.key, tag] = (digest, contents)
