"""Cache: what may be remembered, for whom, and for how long.

Documents are remembered by repository and digest, for as long as there is room; tags, and what stood under
them, for a minute. That a caller may read a repository is remembered in this process alone, for a minute at
most after the token that proved it was asked for, or after the request that proved it without one was sent.
A digest alone opens nothing: whoever may push to one repository could name another's there.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from cachetools import LRUCache, TLRUCache

from pyoci.cache.backend import Backend, Position
from pyoci.cache.memory import MemoryBackend
from pyoci.oci.credentials import Credentials, fingerprint
from pyoci.oci.models import Document
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.store.layout import Entry
from pyoci.store.models import PackageFile, Validity
from pyoci.store.packs import packed, unpacked
from pyoci.store.state import PAGES_CHANGED, Freshness, State, TagState

_PARSED = 64 * 1024 * 1024  # bytes of documents that one process remembers parsed
_WEIGHT = 6  # a document parsed takes about so many times its bytes
_STATES = 16 * 1024 * 1024  # bytes
_PROOFS = 16384
_SIZES = 16384
_EXISTING = 16384
_TOLD = 3600.0  # seconds after which others are told again that a repository exists: the oldest is forgotten
_PACKS = 64  # of one repository; each write adds one
_UNPACKED = 48 * 1024 * 1024  # bytes of them that one request may read: as many as from the registry


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of the image index under one tag; none where it is nobody's version."""

    entries: tuple[Entry, ...] = ()
    files: tuple[PackageFile, ...] = ()
    changed: float = 0.0  # seconds since the epoch
    size: int = 0  # bytes of the document


class Cache:
    """One for the server, made before its workers are forked; each worker then remembers for itself, too."""

    def __init__(
        self,
        backend: Backend | None = None,
        freshness: Freshness | None = None,
        *,
        home: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.freshness = freshness or Freshness()
        self.now = now
        self.backend = backend or MemoryBackend()
        self._clock = clock
        self._home = home
        self._key = secrets.token_bytes(32)
        self._guard = threading.Lock()
        self._proofs: TLRUCache[tuple[str, str], float] = TLRUCache(
            _PROOFS, ttu=lambda _key, until, _now: until, timer=clock
        )
        self._states: LRUCache[str, State] = LRUCache(_STATES, getsizeof=lambda state: state.weight)
        self._contents: LRUCache[tuple[str, str], tuple[Digest, Contents]] = LRUCache(
            _PARSED, getsizeof=lambda known: 500 + _WEIGHT * known[1].size
        )
        self._sizes: LRUCache[tuple[str, Digest], int] = LRUCache(_SIZES)
        self._existing: LRUCache[str, float] = LRUCache(_EXISTING)  # when the others were told

    def key_of(self, repository: Repository) -> str:
        """What a repository is kept under. Each server's embedded registry has the same address: there it is
        this server's `home` that tells one from another's.
        """
        home = self._home if repository.registry.scheme == "embedded" else ""
        return f"{home}{repository.registry.origin}\0{repository.name}"

    # Who may read

    def name_of(self, caller: Credentials) -> str:
        """What a caller is known by in here; it tells nothing outside of this process."""
        return fingerprint(caller, self._key)

    def prove(self, who: str, repository: Repository, seconds: float) -> None:
        """The registry has let this caller read there; that counts for so many seconds from now."""
        lasting = min(seconds, self.freshness.ttl)
        if lasting > 0:
            with self._guard:
                self._proofs[who, self.key_of(repository)] = self._clock() + lasting

    def revoke(self, who: str, repository: Repository) -> None:
        """The registry has just refused this caller."""
        with self._guard:
            self._proofs.pop((who, self.key_of(repository)), None)

    def is_proven(self, who: str, repository: Repository) -> bool:
        """Whether the registry has let this caller read there lately."""
        with self._guard:
            return (who, self.key_of(repository)) in self._proofs

    def has_existed(self, repository: Repository) -> bool:
        """Whether somebody who shares this cache has read or written the repository: the name is the
        registry's then, even if it is empty or gone by now.
        """
        name = self.key_of(repository)
        return self.is_existing(name) or self.backend.get(f"existing\0{name}") is not None

    def is_existing(self, name: str) -> bool:
        """Whether this process has read or written what is kept under that name."""
        with self._guard:
            return name in self._existing

    def set_existing(self, repository: Repository) -> None:
        """The repository is that of a project: its name is the registry's from now on."""
        name = self.key_of(repository)
        now = self._clock()
        with self._guard:
            told = self._existing.get(name)
            if told is not None and now - told < _TOLD:
                return
            self._existing[name] = now
        self.backend.put(f"existing\0{name}", b"1")

    def is_unchanged(self, repository: Repository, since: Position) -> bool:
        """Whether nobody has surely written there since the journal was at that position."""
        position = self.position(repository)
        return position is not None and (
            position == since or self.backend.since(self.key_of(repository), since) == frozenset()
        )

    # What stood there

    def position(self, repository: Repository) -> Position | None:
        """To be taken before the registry is asked. None: the others can't be heard, so nothing counts."""
        return self.backend.position(self.key_of(repository))

    def changed(self, repository: Repository, tag: Tag) -> None:
        """Let everybody forget a tag, once the registry has taken, or may have taken, a change."""
        self.set_existing(repository)
        self.backend.record(self.key_of(repository), str(tag))

    def mark(self, repository: Repository) -> str:
        """How far the repository's journal has come; "" where that can't be told."""
        position = self.position(repository)
        return "" if position is None else f"{position.count} {position.epoch}"

    def is_touched(self, repository: Repository, tag: Tag, mark: str) -> bool:
        """Whether somebody has surely changed the tag since the journal was at `mark`."""
        count, _, epoch = mark.partition(" ")
        if not count.isdecimal():
            return False  # another process is writing the mark anew
        changed = self.backend.since(self.key_of(repository), Position(epoch, int(count)))
        return changed is not None and str(tag) in changed

    def invalidate_pages(self, repository: Repository) -> None:
        """Let everybody build the page again: something else that stands on it is known now."""
        self.backend.record(self.key_of(repository), PAGES_CHANGED)

    def state(self, repository: Repository) -> State:
        """What is remembered of a repository, as far as it can still be true; an empty state if nothing is.

        Tags that one of us has written since are left out. Where that can't be told, all is in doubt.
        """
        name = self.key_of(repository)
        position = self.backend.position(name)
        with self._guard:
            own = self._states.get(name)
        if own is not None and position is not None and own.position == position and self._is_young(own):
            return own
        # Without tags it is what downloads left here: one version or a few.
        shared = self._shared(name, position, needed=own is None or not own.tags)
        # Of two that are as old, the one that had to be announced since.
        known = max(
            (state for state in (own, shared) if state is not None),
            key=lambda state: (state.listed, state.position is None, state.position == position),
            default=State(),
        )
        return self._present(name, known, position)

    def _shared(self, name: str, position: Position | None, *, needed: bool) -> State | None:
        """What another worker remembers; where it isn't `needed`, only if it is younger than any change."""
        kept = self.backend.get(f"state\0{name}") if position is not None else None
        if kept is None or position is None or not (needed or kept.startswith(State.head(position))):
            return None
        return State.from_json(kept)

    def _is_young(self, state: State) -> bool:
        return self.freshness.is_list_fresh(state, self.now())

    def _present(self, name: str, known: State, position: Position | None) -> State:
        if position is None or known.position is None:
            return known.doubted(position)
        if known.position == position:
            return self._kept(name, known)
        changed = self.backend.since(name, known.position)
        if changed is None:
            return known.doubted(position)
        return self._kept(name, known.without(changed, position))

    def _kept(self, name: str, state: State) -> State:
        with self._guard:
            self._remember(name, state)
        return state

    def _remember(self, name: str, state: State) -> None:
        """In this process, unless it is so large that it would push the others out; and forget what stood
        under tags that are no more. The guard is held.
        """
        before = self._states.pop(name, None)
        if before is not None and before.tags != state.tags:
            for tag in {*before.tags, *before.tag_states} - {*state.tags, *state.tag_states}:
                self._contents.pop((name, tag), None)
        if state.weight <= self._states.maxsize // 2:
            self._states[name] = state

    def put_state(self, repository: Repository, state: State) -> None:
        """Remember a state, for all who share the cache."""
        name = self.key_of(repository)
        self._kept(name, state)
        if state.position is not None:
            self.backend.put(
                f"state\0{name}", state.to_json(), 2 * max(self.freshness.ttl, self.freshness.ttl_old)
            )

    def put_tag_state(
        self, repository: Repository, position: Position | None, tag: str, seen: TagState
    ) -> None:
        """Remember what stood under one tag, when the journal had come to `position`; for this process."""
        name = self.key_of(repository)
        with self._guard:
            known = self._states.get(name) or State(position)
            if position is not None and known.position == position:
                self._remember(name, known.with_tag_state(tag, seen))

    def announce(self, repository: Repository, state: State) -> State:
        """The state, after all who remember an older one were told to forget that: else it would depend on
        the worker, for as long as each remembers, what a page shows that somebody had looked up anew.
        """
        self.invalidate_pages(repository)
        position = self.position(repository)
        if position is None or state.position is None:
            return state
        told = self.backend.since(self.key_of(repository), state.position)
        return replace(state, position=position) if told == frozenset({PAGES_CHANGED}) else state

    def refresh_lock(self, repository: Repository, seconds: float) -> AbstractContextManager[bool]:
        """While held, nobody else who shares the cache looks at the same repository; waits so long for it."""
        return self.backend.lock(f"look\0{self.key_of(repository)}", seconds)

    def validity(self, who: str, repository: Repository, state: State) -> Validity | None:
        """What a page made of `state` stands on; None where it has to be made anew each time."""
        if state.position is None:
            return None
        until = self._clock() + state.listed + self.freshness.ttl - self.now()
        return Validity(who, self.key_of(repository), state.position, until)

    def is_valid(self, validity: Validity) -> bool:
        """Whether what stood on this validity may still be given to the same caller."""
        with self._guard:
            proven = (validity.who, validity.journal) in self._proofs
        return (
            proven
            and self._clock() < validity.until
            and self.backend.position(validity.journal) == validity.position
        )

    # What never changes

    def documents(self, repository: Repository, packs: Iterable[str]) -> dict[Digest, Document]:
        """What is still there of some packs, verified; of the newest, where they are very large."""
        found: dict[Digest, Document] = {}
        left = _UNPACKED
        for name in reversed(tuple(packs)):
            pack = self.backend.get(f"pack\0{self.key_of(repository)}\0{name}")
            left -= len(pack or b"")
            if left < 0:
                break
            found.update(unpacked(pack or b""))
        return found

    def put_documents(
        self, repository: Repository, documents: Mapping[Digest, Document], state: State
    ) -> tuple[str, ...]:
        """Remember documents beside those of a state; the packs of both. A great many packs become few."""
        if not documents:
            return state.packs
        packs = state.packs
        if len(packs) > _PACKS:
            wanted = {seen.digest for seen in state.tag_states.values()}
            known = self.documents(repository, packs)
            documents = {**{digest: known[digest] for digest in wanted & known.keys()}, **documents}
            packs = ()
        for pack in packed(documents.items()):
            name = hashlib.sha256(pack).hexdigest()[:32]
            self.backend.put(f"pack\0{self.key_of(repository)}\0{name}", pack)
            packs = (*packs, name)
        return packs

    def document(self, repository: Repository, digest: Digest) -> Document | None:
        """A document of a repository by its digest, which is verified."""
        kept = self.backend.get(f"document\0{self.key_of(repository)}\0{digest}")
        if kept is None:
            return None
        media_type, _, body = kept.partition(b"\n")
        document = Document(media_type.decode("utf-8", "replace"), body)
        return document if _is(body, digest) else None

    def put_document(self, repository: Repository, digest: Digest, document: Document) -> None:
        kept = b"\n".join((document.media_type.encode(), document.body))
        self.backend.put(f"document\0{self.key_of(repository)}\0{digest}", kept)

    def blob(self, repository: Repository, digest: Digest) -> bytes | None:
        """A small blob by its digest, which is verified."""
        kept = self.backend.get(f"blob\0{self.key_of(repository)}\0{digest}")
        return kept if kept is not None and _is(kept, digest) else None

    def put_blob(self, repository: Repository, digest: Digest, content: bytes) -> None:
        self.backend.put(f"blob\0{self.key_of(repository)}\0{digest}", content)

    def size(self, repository: Repository, digest: Digest) -> int | None:
        """The size of a blob in bytes, where the registry has told it before."""
        with self._guard:
            return self._sizes.get((self.key_of(repository), digest))

    def put_size(self, repository: Repository, digest: Digest, size: int) -> None:
        with self._guard:
            self._sizes[self.key_of(repository), digest] = size

    def contents(self, repository: Repository, tag: str, digest: Digest) -> Contents | None:
        """What was read of the document under a tag, if it was that one which was read last."""
        with self._guard:
            known = self._contents.get((self.key_of(repository), tag))
        return known[1] if known is not None and known[0] == digest else None

    def put_contents(self, repository: Repository, tag: str, digest: Digest, contents: Contents) -> None:
        with self._guard:
            if 500 + _WEIGHT * contents.size <= self._contents.maxsize // 4:
                self._contents[self.key_of(repository), tag] = (digest, contents)


def _is(content: bytes, digest: Digest) -> bool:
    return hashlib.new(digest.algorithm, content).hexdigest() == digest.hex
