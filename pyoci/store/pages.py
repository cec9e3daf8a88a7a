"""Pages: the page of a project, step by step.

1. Who may read: a caller whom the registry has recently let read has a proof. For any other caller the
   registry is asked to list the tags, with the caller's own credentials.
2. The remembered state (the tags, and what is under them) is used while it is fresh.
3. Otherwise the registry is asked for what isn't fresh (`pyoci.store.refresh`).
4. The files come from the image indexes under the tags: remembered, or read by their digests.
5. The page has the files in the order of their versions, a fingerprint and a validity.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import takewhile

from cachetools import LRUCache

from pyoci.distributions.filenames import Sdist
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Document
from pyoci.oci.references import Digest
from pyoci.oci.session import SMALL_DOCUMENT
from pyoci.simple_api.model import ProjectStatus
from pyoci.store import images, refresh
from pyoci.store.backfill import MetadataBackfill
from pyoci.store.cache import Contents
from pyoci.store.marker import MARKER_TAG
from pyoci.store.models import PackageFile, ProjectPage
from pyoci.store.project import Absent, NewestVersions, StoredProject, side_by_side
from pyoci.store.state import State, fingerprint

_BUILT = 64 * 1024 * 1024  # bytes, roughly, of all the pages that one process remembers
MAX_FILES = 20_000  # of a page; a larger project shows its newest versions, as many as fit
_BATCH = 2 * 1024 * 1024  # bytes of documents that are parsed side by side
_WEIGHT = 3  # the files of a document take about this many times its size


@dataclass(frozen=True, slots=True)
class _Built:
    """A page, and the state that it was made from."""

    state: State
    page: ProjectPage
    size: int  # bytes of the documents that its files come from

    @property
    def weight(self) -> int:
        """Its approximate size in memory, in bytes."""
        return self.state.weight + _WEIGHT * self.size


class Pages:
    """Builds pages. One for the process. A page shows the newest `max_versions` versions; 0 is no limit."""

    def __init__(self, backfill: MetadataBackfill, *, max_versions: int) -> None:
        self._backfill = backfill
        self.images = images.Images()
        self._newest = NewestVersions(max_versions)
        self._refresher = refresh.Refresher(self._newest)
        self._guard = threading.Lock()
        self._built: LRUCache[Hashable, _Built] = LRUCache(_BUILT, getsizeof=lambda built: built.weight)

    def page(self, project: StoredProject, *, fresh: bool = False) -> ProjectPage:
        """The page of a project, for this caller. With `fresh` the registry is asked whatever is remembered.

        Raises NotFound, and the registry's refusal.
        """
        with project.read_limit.building():
            return self._page_for(project, fresh=fresh)

    def _page_for(self, project: StoredProject, *, fresh: bool) -> ProjectPage:
        position, refresher = project.cache.position(), self._refresher
        may_read = project.is_proven and not fresh
        listing = None if may_read else refresher.listing(project, position, fresh=fresh)
        state = None if fresh else refresher.remembered(project, listing)
        state = state or refresher.refreshed(project, listing, position, fresh=fresh)
        try:
            page = self._page(project, state)
        except RegistryNotFound:
            # Only the digest of an image index is remembered; the image index was replaced and cleaned up.
            state = refresher.read(project, None, fresh=True)
            page = self._page(project, state)
        if page.files:
            project.cache.access.set_existing()
        else:
            self._require_project(project, state.tags)
        return replace(page, validity=project.cache.validity(project.caller_key, state))

    def require(self, project: StoredProject, *, fresh: bool) -> tuple[str, ...]:
        """The tags of a project. Raises Absent if the registry has no such project. Usually takes one
        request.
        """
        listing = self._refresher.listing(project, project.cache.position(), fresh=fresh)
        self._require_project(project, listing.tags)
        return listing.tags

    def _require_project(self, project: StoredProject, tags: tuple[str, ...]) -> None:
        """Raises Absent if `tags`, all the tags of the repository, are container images' and no one who
        shares the cache has ever seen a project there. Otherwise remembers that the project exists.
        """
        if not project.cache.access.has_existed() and self.images.are_all(project, tags):
            project.cache.add_image(project.repository)
            raise Absent.image(f"there is no project {project.name} here")
        project.cache.access.set_existing()

    def _page(self, project: StoredProject, state: State) -> ProjectPage:
        """The page that was already built from this state, or a new one."""
        key = (project.repository, project.name)
        with self._guard:
            built = self._built.get(key)
        if built is None or built.state is not state:
            built = self._build(project, state, built)
            with self._guard:
                self._built.pop(key, None)
                if built.weight <= self._built.maxsize:
                    self._built[key] = built
        return built.page

    def _build(self, project: StoredProject, state: State, before: _Built | None) -> _Built:
        """Build the page of a state, or return the page from before if nothing in it has changed."""
        newest, status = self._newest.among(project.repository, state.tags), _status(project, state)
        pairs = [(str(tag), state.tag_states[str(tag)].digest) for tag in newest]
        shown = () if status is None else (f"{status.status} {status.reason}",)
        name = fingerprint(pairs, *shown)
        if before is not None and before.page.fingerprint == name:
            return replace(before, state=state)
        files, size, left_out = _files(project, pairs, state.packs)
        # A page that lacks files gets another fingerprint, so that the next request reads more of them.
        lacking = (f"without {left_out} files",) if left_out else ()
        name = fingerprint(pairs, *shown, *lacking)
        if any(_lacks_metadata(file) for file in files):
            known = self._backfill.known(project)
            files = tuple(
                replace(file, core_metadata=known.get(file.sha256)) if _lacks_metadata(file) else file
                for file in files
            )
            # METADATA that was read later isn't in the image index, so the fingerprint has to include it.
            known_metadata = (file.core_metadata or "" for file in files)
            name = fingerprint(pairs, *known_metadata, *shown, *lacking)
            if before is not None and before.page.fingerprint == name:
                return replace(before, state=state)
        return _Built(state, ProjectPage.of(project.name, files, name, status), size)


def _status(project: StoredProject, state: State) -> ProjectStatus | None:
    known = state.tag_states.get(str(MARKER_TAG))
    return None if known is None else project.contents(str(MARKER_TAG), known.digest, {}).status


def _lacks_metadata(file: PackageFile) -> bool:
    """Whether this is a wheel that was published without its METADATA."""
    return file.core_metadata is None and not isinstance(file.distribution, Sdist)


def _files(
    project: StoredProject, pairs: list[tuple[str, Digest]], packs: tuple[str, ...]
) -> tuple[tuple[PackageFile, ...], int, int]:
    """The files of the documents under some tags, the size of these documents in bytes, and the number of
    files that this request could not read. If two tags spell one version, a file of both is taken from the
    first.
    """
    read = project.documents_read
    digests = [pair[1] for pair in pairs if project.cache.contents(*pair) is None]
    missing = {digest for digest in digests if read.size(digest) is None}
    with project.read_limit.large() if missing and len(packs) > 1 else nullcontext():
        documents = project.cache.documents.unpack(packs, missing) if missing else {}
    found = _newest(project, pairs, documents)
    pairs, older = pairs[-len(found) :], len(pairs) - len(found)
    if older:
        project.events.count("limited", "over the cap")
        project.events.warning(
            "store", "over the cap", repository=str(project.repository), files=MAX_FILES, left_out=older
        )
    unread = [entry for contents in reversed(found) for entry in contents.unread]  # the newest first
    if unread:
        project.read_children(unread)
        found = [
            project.contents(*pair, documents) if contents.unread else contents
            for pair, contents in zip(pairs, found, strict=True)
        ]
    unique = {file.filename: file for file in reversed([file for each in found for file in each.files])}
    left_out = sum(len(contents.unread) for contents in found)
    return tuple(reversed(unique.values())), sum(contents.size for contents in found), left_out


def _newest(
    project: StoredProject, pairs: list[tuple[str, Digest]], documents: Mapping[Digest, Document]
) -> list[Contents]:
    """The contents of the documents under the newest tags, as many as have at most MAX_FILES files together,
    but at least one. They are read side by side in batches, the newest first.
    """
    found: deque[Contents] = deque()
    count, left = 0, list(pairs)
    while left and count < MAX_FILES:
        batch = _batch(project, left, documents)
        parsed = side_by_side(project, _Parsing(project, batch[0], documents, count).contents, batch)
        parsed = list(takewhile(lambda contents: contents is not None, parsed))
        left += reversed(batch[len(parsed) :])
        for contents in filter(None, parsed):
            found.appendleft(contents)
            count += _file_count(contents)
    while count > MAX_FILES and len(found) > 1:
        count -= _file_count(found.popleft())
    return list(found)


def _batch(
    project: StoredProject, left: list[tuple[str, Digest]], documents: Mapping[Digest, Document]
) -> list[tuple[str, Digest]]:
    """Remove a batch of some MiB of documents from what is `left`: the newest, which are the last of it."""
    batch: list[tuple[str, Digest]] = []
    size = 0
    while left and size < _BATCH:
        batch.append(left.pop())
        document, known = documents.get(batch[-1][1]), project.documents_read.size(batch[-1][1])
        size += known or (len(document.body) if document is not None else _BATCH // 64)
    return batch


class _Parsing:
    """Parses the documents of a batch in several threads, until the page has MAX_FILES files. `count` of them
    are known before the batch. It stops that late because some sizes are known only after a document is read.
    """

    def __init__(
        self,
        project: StoredProject,
        first: tuple[str, Digest],
        documents: Mapping[Digest, Document],
        count: int,
    ) -> None:
        self._project, self._first, self._documents = project, first, documents
        self._guard = threading.Lock()
        self._count = count

    def contents(self, pair: tuple[str, Digest]) -> Contents | None:
        """The contents of a document; None if there were enough files before. The `first` one is never left
        out.
        """
        if self._is_enough(pair):
            return None
        with self._project.read_limit.one_document():
            found = self._project.contents(*pair, self._documents)
            with self._guard:
                if self._is_enough(pair):
                    return None
                self._count += _file_count(found)
        # Entries take more memory than files. Those of large documents aren't remembered: they are dropped.
        return replace(found, entries=()) if found.size > SMALL_DOCUMENT else found

    def _is_enough(self, pair: tuple[str, Digest]) -> bool:
        return self._count >= MAX_FILES and pair != self._first


def _file_count(contents: Contents) -> int:
    return len(contents.files) + len(contents.unread)
