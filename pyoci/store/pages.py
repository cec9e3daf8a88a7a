"""Pages: how a project's page is put together from what is remembered and what the registry says.

A caller who was let in a moment ago gets the remembered page. Everybody else asks for the tags with
credentials of their own, which proves that they may read, and tells what is new. Whoever finds that too much
time has passed looks at what may have changed; who comes meanwhile gets what is remembered, a while longer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from cachetools import LRUCache

from pyoci.cache.backend import Position
from pyoci.distributions.filenames import Sdist
from pyoci.errors import Unreachable
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.single_flight import SingleFlight
from pyoci.store.absent import Absent
from pyoci.store.backfill import MetadataBackfill
from pyoci.store.cache import Cache
from pyoci.store.images import Images
from pyoci.store.models import PackageFile, ProjectPage
from pyoci.store.project import Listing, StoredProject, versions_among
from pyoci.store.state import State, TagState, fingerprint

_LAG = 300.0  # seconds for which a list of tags may lack what was written, or name what was deleted
_MADE = 64 * 1024 * 1024  # bytes, roughly, of all the pages that one process remembers
_WEIGHT = 3  # the files of a document take about so many times its bytes
_SORTED = 16 * 1024 * 1024  # bytes, roughly, of the orders of tags that it remembers
_TAG = 150  # bytes of one tag in them
_TRIES = 3  # flights of others that began before we were asked

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Made:
    """A page, and the state that it was made of; `weight` is that of its files, in bytes."""

    state: State
    page: ProjectPage
    weight: int


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The tags of a repository, and those of them that are of the newest versions, oldest first."""

    tags: tuple[str, ...]
    wanted: list[Tag]


class Pages:
    """Makes pages. One for the process."""

    def __init__(self, cache: Cache, backfill: MetadataBackfill, *, max_versions: int = 1000) -> None:
        self._cache = cache
        self._backfill = backfill
        self._images = Images(cache, _side_by_side)
        self._max_versions = max_versions
        self._flights = SingleFlight()
        self._guard = threading.Lock()
        self._made: LRUCache[Hashable, _Made] = LRUCache(
            _MADE, getsizeof=lambda made: made.state.weight + made.weight
        )
        # To read and sort a thousand versions takes longer than the rest of a page.
        self._sorted: LRUCache[Repository, _Sorted] = LRUCache(
            _SORTED, getsizeof=lambda known: 500 + _TAG * len(known.tags)
        )

    def page(self, project: StoredProject, *, fresh: bool = False) -> ProjectPage:
        """The page of a project, for this caller. `fresh` asks the registry again whatever is remembered.

        Raises NotFound, and what the registry says.
        """
        cache, repository = self._cache, project.repository
        position = cache.position(repository)
        listing = None
        if fresh or not project.is_proven:
            listing = self.listed(project, position, fresh=fresh)
        state = self._settled(project, listing, fresh=fresh)
        flight = ("page", str(fresh), repository)
        for _ in range(_TRIES):
            if state is not None:
                break
            if not fresh and self._flights.is_running(flight):
                state = self._good_for_now(project)
            if state is None:
                work = partial(self._looked, project, listing, fresh=fresh)
                found = self._flights.run(flight, project.who, work, project.seconds_left)
                # It may have begun before a change that we were to see.
                state = found if found.covers(position) else None
        state = state or self._looked(project, listing, fresh=fresh)
        try:
            page = self._page(project, state)
        except RegistryNotFound:
            # What stood under a tag, and is known here by its digest alone, was replaced and cleaned away.
            state = self._looked(project, None, fresh=True)
            page = self._page(project, state)
        if page.files:
            cache.set_existing(repository)
        else:
            self.check(project, state.tags)
        return page

    def check(self, project: StoredProject, tags: tuple[str, ...]) -> None:
        """Raises Absent where these tags, which are all of the repository, are those of container images, and
        nobody here has ever known it for a project. Otherwise it is one from now on.
        """
        if not self._cache.has_existed(project.repository) and self._images.are_all(project, tags):
            raise Absent.image(f"there is no project {project.name} here")
        self._cache.set_existing(project.repository)

    def listed(self, project: StoredProject, position: Position | None, *, fresh: bool) -> Listing:
        """The tags, as the registry lists them to this caller, or has just done. `position` is that of the
        repository's journal, before the registry is asked.
        """
        # Who comes after a change doesn't wait for a list, or for a no, from before it.
        key = ("list", str(fresh), project.who, project.repository, position)
        return self._flights.run(key, project.who, project.listing, project.seconds_left)

    # What is remembered

    def _settled(self, project: StoredProject, listing: Listing | None, *, fresh: bool) -> State | None:
        """What is remembered, where that will do. A list of tags that says the same makes it last longer."""
        if fresh:
            return None
        remembered = self._cache.state(project.repository)
        state = remembered if listing is None else _merged(remembered, listing, self._cache.now())
        holds = self._holds(project, state)
        project.events.count("cache", "versions", "hit" if holds else "miss")
        if not holds:
            return None
        if state is not remembered:
            self._cache.put_state(project.repository, state)
        return state

    def _holds(self, project: StoredProject, state: State) -> bool:
        now, freshness = self._cache.now(), self._cache.freshness
        return freshness.is_list_fresh(state, now) and all(
            (seen := state.tag_states.get(str(tag))) is not None and freshness.is_fresh(seen, now)
            for tag in self._wanted(project, state.tags)
        )

    def _good_for_now(self, project: StoredProject) -> State | None:
        """What is remembered, where that will do while somebody else is looking."""
        state = self._cache.state(project.repository)
        whole = all(str(tag) in state.tag_states for tag in self._wanted(project, state.tags))
        return state if whole and self._cache.freshness.may_serve_stale(state, self._cache.now()) else None

    def _wanted(self, project: StoredProject, tags: tuple[str, ...]) -> list[Tag]:
        """The tags of the newest versions, oldest first."""
        with self._guard:
            known = self._sorted.get(project.repository)
        if known is not None and known.tags == tags:
            return known.wanted
        versions = versions_among(tags)
        wanted = [tag for _, tag in (versions[-self._max_versions :] if self._max_versions else versions)]
        with self._guard:
            self._sorted.pop(project.repository, None)
            with suppress(ValueError):  # it is larger than all of them may be together
                self._sorted[project.repository] = _Sorted(tags, wanted)
        return wanted

    # What the registry says

    def _looked(self, project: StoredProject, listing: Listing | None, *, fresh: bool) -> State:
        """Ask the registry for what isn't remembered, or no longer counts; and remember it."""
        cache, repository = self._cache, project.repository
        with cache.refresh_lock(repository, project.seconds_left):
            before = state = cache.state(repository)
            if listing is None or listing.position != state.position:
                if not fresh and self._holds(project, state):
                    return state  # another worker has looked while we waited
                listing = project.listing()
            now = cache.now()
            state = _merged(state, replace(listing, position=state.position), now)
            wanted = self._wanted(project, state.tags)
            known = {str(tag): state.tag_states.get(str(tag)) for tag in wanted}
            stale = [tag for tag in wanted if fresh or not self._counts(known[str(tag)], now)]
            found = _side_by_side(project, lambda tag: project.look(tag, known[str(tag)]), stale)
            seen = dict(state.tag_states)
            for tag, at_present in zip(stale, found, strict=True):
                seen.pop(str(tag), None)
                if at_present is not None:
                    seen[str(tag)] = at_present
            gone = {str(tag) for tag in stale} - seen.keys()
            tags = tuple(tag for tag in state.tags if tag not in gone)
            packs = cache.put_documents(repository, project.found, replace(state, tag_states=seen))
            # For the position from before: the list may be younger than what was remembered of old versions.
            state = State(state.position, listing.at, tags, seen, packs)
            if before.differs_from(state):
                state = cache.announce(repository, state)
            cache.put_state(repository, state)
            return state

    def _counts(self, seen: TagState | None, now: float) -> bool:
        return seen is not None and self._cache.freshness.is_fresh(seen, now)

    # The page itself

    def _page(self, project: StoredProject, state: State) -> ProjectPage:
        key = (project.repository, project.name)
        with self._guard:
            made = self._made.get(key)
        if made is None or made.state is not state:
            made = self._made_of(project, state, made)
            with self._guard:
                self._made.pop(key, None)
                if made.state.weight + made.weight <= self._made.maxsize:
                    self._made[key] = made
        return replace(made.page, validity=self._cache.validity(project.who, project.repository, state))

    def _made_of(self, project: StoredProject, state: State, before: _Made | None) -> _Made:
        """The page that the state makes; the one from before where nothing of it has changed."""
        pairs = [(str(tag), state.tag_states[str(tag)].digest) for tag in self._wanted(project, state.tags)]
        name = fingerprint(pairs)
        if before is not None and before.page.fingerprint == name:
            return replace(before, state=state)
        files, size = _files(project, pairs, state.packs)
        if not all(file.core_metadata or isinstance(file.distribution, Sdist) for file in files):
            known = self._backfill.known(project.repository)
            files = tuple(_announced(file, known) for file in files)
            # What was learned may come and go.
            name = fingerprint(pairs, *(file.core_metadata or "" for file in files))
            if before is not None and before.page.fingerprint == name:
                return replace(before, state=state)
        return _Made(state, ProjectPage(project.name, files, name), _WEIGHT * size)


def _announced(file: PackageFile, known: Mapping[str, str]) -> PackageFile:
    """The file with METADATA that was read out of it, where its publisher kept none."""
    if file.core_metadata is not None or isinstance(file.distribution, Sdist):
        return file
    return replace(file, core_metadata=known.get(file.sha256))


def _merged(state: State, listing: Listing, now: float) -> State:
    """The state with the tags just listed. One that was written a moment ago may not be there yet.

    Of one that is gone nothing is known any more: it may come back as another.
    """
    if listing.position != state.position or listing.at < state.listed:
        return state
    late = [
        tag
        for tag in state.tags
        if (now - state.tag_states[tag].changed < _LAG if tag in state.tag_states else not state.listed)
    ]
    tags = tuple(sorted({*listing.tags, *late}))
    seen = {tag: state.tag_states[tag] for tag in tags if tag in state.tag_states}
    return replace(state, listed=listing.at, tags=tags, tag_states=seen)


def _files(
    project: StoredProject, pairs: list[tuple[str, Digest]], packs: tuple[str, ...]
) -> tuple[tuple[PackageFile, ...], int]:
    """The files of some documents, each once: two tags may spell one version, and the first counts. And how
    many bytes these documents have.
    """
    known = [project.cache.contents(project.repository, tag, digest) for tag, digest in pairs]
    missing = [pair for pair, contents in zip(pairs, known, strict=True) if contents is None]
    documents = project.cache.documents(project.repository, packs) if missing else {}
    read = iter(_side_by_side(project, lambda pair: project.contents(*pair, documents), missing))
    found = [contents or next(read) for contents in known]
    unique = {file.filename: file for file in reversed([file for each in found for file in each.files])}
    return tuple(reversed(unique.values())), sum(contents.size for contents in found)


def _side_by_side(
    project: StoredProject, work: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    """The result for each item, in their order. The first failure ends the reading."""
    width = min(project.session.concurrency, len(items))
    if width <= 1:
        return [work(item) for item in items]
    left, seconds = deque(enumerate(items)), project.seconds_left
    found: dict[int, _Result] = {}

    def fetch() -> None:
        # One future a thread and not one an item: a page of a thousand versions is some tenth faster.
        while True:
            try:
                number, item = left.popleft()
            except IndexError:
                return
            found[number] = work(item)

    # Threads of its own, so that a page from a registry that hangs keeps no other page waiting.
    fetchers = ThreadPoolExecutor(width, thread_name_prefix="fetch")
    try:
        # Each in the context of who asked: its calls belong to that request's trace.
        flown = [fetchers.submit(copy_context().run, fetch) for _ in range(width)]
        done, late = wait(flown, seconds, FIRST_EXCEPTION)
        for future in done:
            future.result()
        if late:
            raise Unreachable(f"{project.repository} has not given its versions in time")
        return [found[number] for number in range(len(items))]
    finally:
        left.clear()
        fetchers.shutdown(wait=False, cancel_futures=True)
