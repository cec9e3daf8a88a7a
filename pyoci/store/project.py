"""StoredProject: one project in a registry, as one caller may read it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from cachetools import LRUCache
from packaging.version import Version

from pyoci.distributions.names import ProjectName
from pyoci.errors import AnswerTooLong, NotFound, ProtocolError, PyOCIError
from pyoci.events import Events
from pyoci.oci import errors
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import READ_SECONDS, SMALL_DOCUMENT, OCISession
from pyoci.store.cache import Contents, RepositoryCache
from pyoci.store.documents import DocumentsRead
from pyoci.store.layout import (
    Entry,
    changed_at,
    entries,
    layer_sha256,
    package_in,
    summary_in,
    tag_of,
    version_of,
)
from pyoci.store.marker import MARKER_TAG, status_in
from pyoci.store.models import PackageFile
from pyoci.store.parallel import in_threads
from pyoci.store.read_limit import ReadLimit
from pyoci.store.state import Listing, TagState
from pyoci.store.writing.lag import RecentWrites, current_document

CHILDREN = 1000  # manifests that one request may ask for because their entries have no hash of the file
# What registries say of a repository that they don't have; NOT_FOUND is Harbor's.
_UNKNOWN = frozenset({"NAME_UNKNOWN", "NOT_FOUND"})
_SORTED = 16 * 1024 * 1024  # bytes, roughly, of the sorted tags that one process remembers
_TAG = 150  # bytes of one tag in them
_BROKEN = frozenset({"MANIFEST_INVALID", "MANIFEST_UNVERIFIED", "TAG_INVALID", "DIGEST_INVALID"})

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Absent(NotFound):
    """The registry has no such project, or shows none to this caller."""

    is_from_registry = False  # and not from a web server that answers in its place
    is_conclusive = False  # the registry has said that there is no such repository, and given no other reason

    @classmethod
    def by(cls, message: str, refusal: errors.RegistryNotFound) -> Absent:
        """The error for a 404 of the registry."""
        absent = cls(message)
        absent.is_from_registry = bool(refusal.codes)
        absent.is_conclusive = absent.is_from_registry and _UNKNOWN.issuperset(refusal.codes)
        return absent

    @classmethod
    def image(cls, message: str) -> Absent:
        """The error for a repository that the registry has listed, and that holds container images."""
        absent = cls(message)
        absent.is_from_registry = absent.is_conclusive = True
        return absent


@dataclass(frozen=True, slots=True)
class StoredProject:
    """The repository of a project, and the session of the caller who asks. Made for one request."""

    session: OCISession
    repository: Repository
    name: ProjectName
    caller_key: str  # the caller's key in the cache
    events: Events
    cache: RepositoryCache
    writes: RecentWrites
    read_limit: ReadLimit = field(default_factory=ReadLimit)
    documents_read: DocumentsRead = field(default_factory=DocumentsRead)
    child_hashes: dict[Digest, str | None] = field(default_factory=dict)  # by the digest of the manifest
    ends: float = field(default_factory=lambda: time.monotonic() + READ_SECONDS)

    @property
    def seconds_left(self) -> float:
        """How long this request may still wait for a page to be read, by itself or by others."""
        return max(self.ends - time.monotonic(), 0.1)

    # Who may read

    @property
    def is_proven(self) -> bool:
        """Whether the registry has recently let this caller read here."""
        proven = self.cache.access.is_proven(self.caller_key)
        self.events.count("cache", "proof", "hit" if proven else "miss")
        return proven

    @contextmanager
    def proving(self, *, exists: bool = True) -> Iterator[None]:
        """Ask the registry as this caller in the block. If the registry refuses, the caller's proof is
        revoked; otherwise it is renewed. With `exists`, success also shows that the project exists.
        """
        try:
            yield
        except (errors.RegistryUnauthorized, errors.RegistryDenied):
            self.cache.access.revoke(self.caller_key)
            raise
        if exists:
            self.cache.access.set_existing()
        self.cache.access.prove(self.caller_key, self.session.trusted_seconds(self.repository))

    def listing(self) -> Listing:
        """Ask the registry for the tags, which proves that this caller may read here. It doesn't prove that
        there is a project: container images have tags, too. Raises Absent.
        """
        position, at = self.cache.position(), self.cache.now()
        try:
            with self.proving(exists=False):
                return Listing(position, at, self.session.tags(self.repository))
        except errors.RegistryNotFound as exc:
            self.cache.access.revoke(self.caller_key)
            raise Absent.by(f"there is no project {self.name} here", exc) from exc

    # What is under a tag

    def look(self, tag: Tag, known: TagState | None = None) -> TagState | None:
        """Ask the registry what is under a tag; None if there is nothing. A HEAD request is enough if
        `known` is still there.
        """
        at = self.cache.now()
        if known is not None and self._is_still(tag, known.digest):
            return replace(known, looked=at)
        document = self._current(tag)
        if document is None:
            return None
        self.read_limit.take(len(document.body))
        digest = document.digest
        self.documents_read.add(digest, document, self.cache.documents)
        if tag == MARKER_TAG:  # it is read by itself, and not with the packs that hold the versions
            self.cache.documents.put_document(digest, document)
        if len(document.body) <= SMALL_DOCUMENT:
            return TagState(digest, at, self._parsed(str(tag), digest, document).changed)
        with self.read_limit.large(), suppress(ProtocolError):  # logged when the page is built
            image_index = self.image_index(document)
            return TagState(digest, at, 0.0 if image_index is None else changed_at(image_index))
        return TagState(digest, at, 0.0)

    def contents(self, tag: str, digest: Digest, documents: Mapping[Digest, Document]) -> Contents:
        """What the document under a tag contains: remembered, among `documents`, or read by its digest."""
        known = self.cache.contents(tag, digest)
        if known is not None:
            return known
        document = documents.get(digest) or self.documents_read.get(digest) or self._pulled(digest)
        with self.read_limit.large() if len(document.body) > SMALL_DOCUMENT else nullcontext():
            return self._parsed(tag, digest, document)

    def read_children(self, unread: Sequence[Entry]) -> None:
        """Read the hashes of files from their child manifests, in parallel. One request asks the registry for
        at most `CHILDREN` of them.
        """
        wanted = {entry.descriptor.digest: entry for entry in unread}
        asked = list(wanted)
        if len(wanted) > CHILDREN:
            asked = [digest for digest in wanted if self.cache.documents.document(digest) is None]
        for digest in asked[CHILDREN:]:
            del wanted[digest]
        if asked[CHILDREN:]:
            facts = {"repository": str(self.repository), "manifests": CHILDREN}
            self.events.count("limited", "over the cap")
            self.events.warning("store", "over the cap", **facts, left_out=len(asked) - CHILDREN)
        read = list(wanted.values())
        # The first one comes before the rest: a slow registry holds one thread then instead of many.
        hashes = [self._child_hash(entry) for entry in read[:1]]
        hashes += side_by_side(self, self._child_hash, read[1:])
        self.child_hashes.update(
            (entry.descriptor.digest, sha256) for entry, sha256 in zip(read, hashes, strict=True)
        )

    def image_index(self, document: Document) -> ImageIndex | None:
        """The image index in a document; None if the document isn't that of a version."""
        return package_in(document.image_index(), self._pulled)

    def complete(self, entry: Entry) -> PackageFile:
        """The file of an entry. Raises NotFound if its hash is in neither the entry nor its manifest."""
        return entry.file(self.sha256(entry))

    def sha256(self, entry: Entry) -> str:
        """The hash of an entry's file, from the entry or from its child manifest. Raises NotFound if the
        manifest is gone, or is not that of a file.
        """
        sha256 = entry.sha256
        if sha256 is None:
            document = self._pulled(entry.descriptor.digest)
            with suppress(ProtocolError):  # the manifest matches its digest, but is malformed
                sha256 = layer_sha256(document.manifest())
        if sha256 is None:
            raise NotFound(f"the registry has no hash for {entry.distribution.filename}")
        return sha256

    def _is_still(self, tag: Tag, digest: Digest) -> bool:
        try:
            found = self.session.digest(self.repository, tag)
        except errors.RegistryNotFound:
            return False
        return found == digest and not self.writes.is_stale(self.repository, tag, found)

    def _current(self, tag: Tag) -> Document | None:
        """The document under a tag; None if there is none, or if this one alone can't be read."""
        try:
            return current_document(self.session, self.repository, tag, self.writes)
        except AnswerTooLong as exc:
            self._passed_over(str(tag), exc)
        except (errors.RegistryRefused, errors.RegistryNotSupported) as exc:
            if tag.is_grammatical and not _is_about_one_document(exc):
                raise
            self._passed_over(str(tag), exc)
        return None

    def _pulled(self, digest: Digest) -> Document:
        document = self.cache.documents.document(digest)
        self.events.count("cache", "document", "miss" if document is None else "hit")
        if document is None:
            document = self.session.pull(self.repository, digest)
            self.read_limit.take(len(document.body))
            self.cache.documents.put_document(digest, document)
        return document

    def _parsed(self, tag: str, digest: Digest, document: Document) -> Contents:
        """What a document contains: nothing if it isn't the image index of a version. It is remembered once
        all child manifests that it needs were read. So a document that is skipped is logged only once.
        """
        contents = Contents(size=len(document.body))
        fields = {"repository": str(self.repository), "what": tag}
        try:
            image_index = self.image_index(document)
        except ProtocolError as exc:
            # It matches its digest, so it was malformed when it was pushed.
            self.events.warning("store", "unreadable image index", **fields, why=exc.message)
        else:
            if image_index is None:
                self.events.info("store", "skipped", **fields, why="it holds no Python package")
            else:
                contents = _contents_of(self, image_index, tag, len(document.body))
        if not contents.unread:
            self.cache.put_contents(tag, digest, contents)
        return contents

    def _child_hash(self, entry: Entry) -> str | None:
        """The hash of an entry's file, from its child manifest. None if the manifest is lost, or isn't that
        of a file: the page shows the project's other files.
        """
        try:
            return self.sha256(entry)
        except (NotFound, AnswerTooLong) as exc:
            self._passed_over(entry.distribution.filename, exc)
        except errors.RegistryRefused as exc:
            if not _is_about_one_document(exc):
                raise
            self._passed_over(entry.distribution.filename, exc)
        return None

    def _passed_over(self, what: str, why: PyOCIError) -> None:
        """Log that something in the repository is left out of the page."""
        self.events.warning("store", "skipped", repository=str(self.repository), what=what, why=why.message)


def _contents_of(project: StoredProject, image_index: ImageIndex, tag: str, size: int) -> Contents:
    """What an image index contains, with the hashes of files that are known by now."""
    found, hashes = tuple(entries(image_index, project.name, tag)), project.child_hashes
    unread = tuple(e for e in found if e.sha256 is None and e.descriptor.digest not in hashes)
    known = ((e, e.sha256 or hashes.get(e.descriptor.digest)) for e in found)
    return Contents(
        entries=found,
        files=tuple(entry.file(sha256) for entry, sha256 in known if sha256 is not None),
        changed=changed_at(image_index),
        size=size,
        unread=unread,
        summary=summary_in(image_index),
        status=status_in(image_index) if tag == str(MARKER_TAG) else None,
    )


def versions_among(tags: tuple[str, ...]) -> list[tuple[Version, Tag]]:
    """The tags that are versions, each after its version, oldest first."""
    parsed = ((version_of(tag), Tag.listed(tag)) for tag in tags)
    found = [(version, tag) for version, tag in parsed if version is not None and tag is not None]
    # Of two tags of one version, the normalised one is first.
    return sorted(found, key=lambda pair: (pair[0], pair[1] != tag_of(pair[0]), str(pair[1])))


@dataclass(frozen=True, slots=True)
class _Newest:
    """All tags of a repository; and the tags of its newest versions, oldest first."""

    among: tuple[str, ...]
    tags: list[Tag]
    has_marker: bool


class NewestVersions:
    """The tags of the newest `count` versions of a repository; 0 is no limit. One for the process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._guard = threading.Lock()
        # Parsing and sorting a thousand versions takes longer than the rest of a page.
        self._known: LRUCache[Repository, _Newest] = LRUCache(
            _SORTED, getsizeof=lambda known: 500 + _TAG * len(known.among)
        )

    def among(self, repository: Repository, tags: tuple[str, ...]) -> list[Tag]:
        """The newest among all `tags` of a repository, oldest first. 1.0 and 1.0.0 are one version."""
        return self._newest(repository, tags).tags

    def shown(self, repository: Repository, tags: tuple[str, ...]) -> list[Tag]:
        """The tags that a page is made of: those of the newest versions, and that of the marker."""
        known = self._newest(repository, tags)
        return [*known.tags, MARKER_TAG] if known.has_marker else known.tags

    def _newest(self, repository: Repository, tags: tuple[str, ...]) -> _Newest:
        with self._guard:
            known = self._known.get(repository)
        if known is not None and known.among == tags:
            return known
        versions = versions_among(tags)
        distinct = dict.fromkeys(version for version, _ in reversed(versions))
        kept = set(islice(distinct, self._count or None))
        newest = [tag for version, tag in versions if version in kept]
        found = _Newest(tags, newest, str(MARKER_TAG) in tags)
        with self._guard:
            self._known.pop(repository, None)
            with suppress(ValueError):  # it is too large to be remembered
                self._known[repository] = found
        return found


def side_by_side(
    project: StoredProject, work: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    """Work on all items in parallel, in as many threads as suit the registry. Returns the results in the
    order of the items. The first failure ends the work.

    While other requests read large documents, the first item comes before the rest: if it is large, this
    request waits with one thread and one connection instead of one for each item.
    """
    late = f"{project.repository} has not given its versions in time"
    first = [work(item) for item in items[: project.read_limit.would_wait]]
    rest = items[len(first) :]
    return first + in_threads(project.session.concurrency, work, rest, project.seconds_left, late)


def _is_about_one_document(refusal: errors.RegistryError) -> bool:
    """Whether a registry refuses only this document: it doesn't convert the document's type (406), or what it
    has stored is broken.
    """
    return refusal.status == 406 or bool(_BROKEN.intersection(refusal.codes))
