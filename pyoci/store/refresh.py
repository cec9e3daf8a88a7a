"""Refresher: the state of a repository that a page is made from, remembered or just read.

Within the time to live the remembered state is used. After that the registry is asked for what may have
changed, by one request at a time. Requests that arrive meanwhile still get the remembered state, for as long
again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pyoci.cache.backend import Position
from pyoci.oci.references import Tag
from pyoci.single_flight import SingleFlight
from pyoci.store.marker import MARKER_TAG
from pyoci.store.project import NewestVersions, StoredProject, side_by_side
from pyoci.store.state import Freshness, Listing, State, TagState

_LAG = 300.0  # seconds for which a list of tags may lack what was written, or name what was deleted
_TRIES = 3  # times that a request waits for others that began before it


class Refresher:
    """Reads states: the tags of a repository, and what is under those of the `newest` versions. One for the
    process.
    """

    def __init__(self, newest: NewestVersions) -> None:
        self._newest = newest
        self._flights = SingleFlight()

    def listing(self, project: StoredProject, position: Position | None, *, fresh: bool) -> Listing:
        """The tags, as the registry lists them to this caller. Simultaneous requests of the caller share it.

        `position` is that of the repository's journal: a request after a change doesn't share a list, or a
        refusal, from before the change.
        """
        key = ("list", fresh, project.caller_key, project.repository, position)
        return self._flights.run(key, project.caller_key, project.listing, project.seconds_left)

    def remembered(self, project: StoredProject, listing: Listing | None) -> State | None:
        """The remembered state, with the tags just listed; None if it isn't fresh."""
        before = project.cache.state()
        state = before if listing is None else _merged(before, listing, project.cache.now())
        is_fresh = self._is_fresh(project, state)
        project.events.count("cache", "versions", "hit" if is_fresh else "miss")
        if not is_fresh:
            return None
        if state is not before:
            project.cache.put_state(state)
        return state

    def refreshed(
        self, project: StoredProject, listing: Listing | None, position: Position | None, *, fresh: bool
    ) -> State:
        """The state from the registry, read by this request or by another one that began after `position`.
        While another request is reading, a stale state is returned unless `fresh`.
        """
        key = ("state", fresh, project.repository)
        for _ in range(_TRIES):
            stale = None if fresh or not self._flights.is_running(key) else self._stale(project)
            if stale is not None:
                return stale
            work = partial(self.read, project, listing, fresh=fresh)
            state = self._flights.run(key, project.caller_key, work, project.seconds_left)
            if state.covers(position):
                return state
        return self.read(project, listing, fresh=fresh)

    def read(self, project: StoredProject, listing: Listing | None, *, fresh: bool) -> State:
        """Ask the registry for what isn't remembered, or isn't fresh; with `fresh`, for everything. The state
        is then remembered for all who share the cache.
        """
        cache = project.cache
        with cache.refresh_lock(project.seconds_left):
            before = cache.state()
            if listing is None or listing.position != before.position:
                if not fresh and self._is_fresh(project, before):
                    return before  # another worker has asked while this one waited for the lock
                listing = project.listing()
            state = _merged(before, replace(listing, position=before.position), cache.now())
            state = self._with_tags_read(project, state, fresh=fresh)
            # The state keeps the position from before the registry was asked, and gets the list's time.
            state = replace(state, listed=listing.at)
            if before.differs_from(state):
                state = cache.announce(state)
            cache.put_state(state)
            return state

    def _with_tags_read(self, project: StoredProject, state: State, *, fresh: bool) -> State:
        """The state, after asking the registry what is under the tags that aren't fresh."""
        cache, known = project.cache, dict(state.tag_states)
        now, shown = cache.now(), self._newest.shown(project.repository, state.tags)
        asked = [tag for tag in shown if fresh or not _is_tag_fresh(cache.freshness, tag, state, now)]

        def look(tag: Tag) -> TagState | None:
            with project.read_limit.one_document():
                return project.look(tag, known.get(str(tag)))

        found = side_by_side(project, look, asked)
        gone = set()
        for tag, present in zip(asked, found, strict=True):
            if present is None:
                known.pop(str(tag), None)
                gone.add(str(tag))
            else:
                known[str(tag)] = present
        state = replace(state, tags=tuple(tag for tag in state.tags if tag not in gone), tag_states=known)
        return replace(state, packs=cache.documents.pack(project.documents_read.in_memory(), state))

    def _is_fresh(self, project: StoredProject, state: State) -> bool:
        now, freshness = project.cache.now(), project.cache.freshness
        return freshness.is_list_fresh(state, now) and all(
            _is_tag_fresh(freshness, tag, state, now)
            for tag in self._newest.shown(project.repository, state.tags)
        )

    def _stale(self, project: StoredProject) -> State | None:
        """The remembered state if it may be used while another request asks the registry, else None."""
        state = project.cache.state()
        shown = self._newest.shown(project.repository, state.tags)
        whole = all(str(tag) in state.tag_states for tag in shown)
        return (
            state if whole and project.cache.freshness.may_serve_stale(state, project.cache.now()) else None
        )


def _is_tag_fresh(freshness: Freshness, tag: Tag, state: State, now: float) -> bool:
    known = state.tag_states.get(str(tag))
    if tag == MARKER_TAG:  # a project that is quarantined after years has to be so within the time to live
        return known is not None and freshness.is_current(known.looked, now)
    return freshness.is_fresh(known, now)


def _merged(state: State, listing: Listing, now: float) -> State:
    """The state with the tags just listed. A tag that was written a moment ago may not be in the list yet.

    The state of a tag that is gone is forgotten, because another document may appear under the tag.
    """
    if listing.position != state.position or listing.at < state.listed:
        return state
    known = state.tag_states
    late = [
        tag for tag in state.tags if (now - known[tag].changed < _LAG if tag in known else not state.listed)
    ]
    tags = tuple(sorted({*listing.tags, *late}))
    left = {tag: known[tag] for tag in tags if tag in known}
    return replace(state, listed=listing.at, tags=tags, tag_states=left)
