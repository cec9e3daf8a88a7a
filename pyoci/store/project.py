"""StoredProject: one project in a registry, as one caller may read it."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from packaging.version import Version

from pyoci.cache.backend import Position
from pyoci.distributions.filenames import Distribution, filename_version_text
from pyoci.distributions.names import ProjectName
from pyoci.errors import AnswerTooLong, InvalidRequest, NotFound, ProtocolError, PyOCIError
from pyoci.events import Events
from pyoci.oci.errors import (
    RegistryDenied,
    RegistryError,
    RegistryNotFound,
    RegistryNotSupported,
    RegistryRefused,
    RegistryUnauthorized,
)
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.absent import Absent
from pyoci.store.cache import Cache, Contents
from pyoci.store.layout import (
    Entry,
    changed_at,
    entries,
    layer_sha256,
    package_in,
    spelled_tag,
    tag_of,
    version_of,
)
from pyoci.store.models import PackageFile
from pyoci.store.state import TagState
from pyoci.store.writing.lag import RecentWrites, current_document

_SECONDS = 60.0  # for reading all the versions of a page
_SPELLINGS = 16  # tags of one version that are looked at for a file
_BROKEN = frozenset({"MANIFEST_INVALID", "MANIFEST_UNVERIFIED", "TAG_INVALID", "DIGEST_INVALID"})


class ReadLimit:
    """How many bytes of documents one request may still read; a hostile registry has no end of them."""

    def __init__(self, size: int = 48 * 1024 * 1024) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Raises ProtocolError where nothing is left."""
        with self._lock:
            self._left -= size
            if self._left < 0:
                raise ProtocolError("the registry's documents of this project are too long to be read")


@dataclass(frozen=True, slots=True)
class Listing:
    """The tags of a repository, as the registry listed them to one caller."""

    position: Position | None  # of the repository's journal, before it was asked
    at: float  # seconds since the epoch
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredProject:
    """The repository of a project, and the session of the caller who asks."""

    session: OCISession
    repository: Repository
    name: ProjectName
    who: str  # what the cache knows the caller by
    events: Events
    cache: Cache
    writes: RecentWrites
    read_limit: ReadLimit = field(default_factory=ReadLimit)
    found: dict[Digest, Document] = field(default_factory=dict)  # what was read in this request
    ends: float = field(default_factory=lambda: time.monotonic() + _SECONDS)

    @property
    def seconds_left(self) -> float:
        """How long this request may still wait for a page to be read, by itself or by others."""
        return max(self.ends - time.monotonic(), 0.1)

    # By the registry's word

    def listing(self) -> Listing:
        """The tags. They prove that this caller may read here, and not yet that it is a project: container
        images have tags, too. Raises Absent.
        """
        position, at = self.cache.position(self.repository), self.cache.now()
        try:
            with self.revoked_on_refusal():
                tags = self.session.tags(self.repository)
        except RegistryNotFound as exc:
            self.revoke()
            raise Absent.by(f"there is no project {self.name} here", exc) from exc
        self._prove_reading()
        return Listing(position, at, tags)

    @contextmanager
    def revoked_on_refusal(self) -> Iterator[None]:
        """A refusal in here ends what was proven before."""
        try:
            yield
        except (RegistryUnauthorized, RegistryDenied):
            self.revoke()
            raise

    def versions(self) -> list[tuple[Version, Tag]]:
        """Version and tag of everything that may be a version, oldest first. Raises NotFound."""
        return versions_among(self.listing().tags)

    def look(self, tag: Tag, known: TagState | None = None) -> TagState | None:
        """What stands under a tag; None where nothing does. A HEAD will do where it is what was known."""
        at = self.cache.now()
        if known is not None and self._still_holds(tag, known.digest):
            return replace(known, looked=at)
        document = self._present(tag)
        if document is None:
            return None
        self.read_limit.take(len(document.body))
        digest = document.digest
        self.found[digest] = document
        return TagState(digest, at, self._read(str(tag), digest, document).changed)

    def _present(self, tag: Tag) -> Document | None:
        """The document under a tag; None where there is none, or where just this one can't be had."""
        try:
            return current_document(self.session, self.repository, tag, self.writes)
        except AnswerTooLong as exc:
            self._passed_over(str(tag), exc)
        except (RegistryRefused, RegistryNotSupported) as exc:
            if tag.is_grammatical and not _is_about_one_document(exc):
                raise
            self._passed_over(str(tag), exc)
        return None

    def _still_holds(self, tag: Tag, digest: Digest) -> bool:
        try:
            found = self.session.digest(self.repository, tag)
        except RegistryNotFound:
            return False
        return found == digest and not self.writes.is_stale(self.repository, tag, found)

    @property
    def is_proven(self) -> bool:
        """Whether the registry has let this caller read here lately."""
        proven = self.cache.is_proven(self.who, self.repository)
        self.events.count("cache", "proof", "hit" if proven else "miss")
        return proven

    def revoke(self) -> None:
        """Forget that the registry has let this caller read here."""
        self.cache.revoke(self.who, self.repository)

    def prove(self) -> None:
        """Remember that the registry has just let this caller read something of the project."""
        self.cache.set_existing(self.repository)
        self._prove_reading()

    def _prove_reading(self) -> None:
        self.cache.prove(self.who, self.repository, self.session.trusted_seconds(self.repository))

    # Files

    def find(self, distribution: Distribution, sha256: str = "") -> Entry:
        """A file's entry, by the registry's word to this caller, now or a moment ago. Raises NotFound, also
        where the file's sha256 doesn't start with `sha256`.

        What is remembered counts for nobody else, not even for those who will be asked by the registry when
        they ask for the file itself: it would refuse them in other words than for a file that isn't there.
        """
        if self.is_proven:
            with suppress(
                RegistryNotFound
            ):  # what stood under the tag was replaced elsewhere, and cleaned away
                known = self._find(distribution, fresh=False)
                if known is not None and self._has(known, sha256):
                    return known
        with self.revoked_on_refusal():
            found = self._find(distribution, fresh=True)
        if found is None:
            raise NotFound(f"{self.name} has no file {distribution.filename}")
        if not self._has(found, sha256):
            raise NotFound(
                f"{distribution.filename} with the sha256 {sha256}… is gone; expected an address that the"
                f" page of {self.name} shows now"
            )
        self.prove()
        return found

    def _find(self, distribution: Distribution, *, fresh: bool) -> Entry | None:
        """The entry that bears the file's name; or the one in its place, which may be spelled otherwise."""
        if distribution.name != self.name:
            return None
        close: Entry | None = None
        for tag in self._candidates(distribution, fresh=fresh):
            seen = self._seen_now(tag) if fresh else self._remembered(tag)
            for entry in self.contents(str(tag), seen.digest).entries if seen else ():
                if entry.distribution.filename == distribution.filename:
                    return entry
                if close is None and entry.distribution.suffix == distribution.suffix:
                    close = entry
        return close

    def _has(self, entry: Entry, sha256: str) -> bool:
        return not sha256 or self._sha256(entry).startswith(sha256)

    def _candidates(self, distribution: Distribution, *, fresh: bool) -> Iterator[Tag]:
        """The tags that a file may stand under, the likely ones first: the others take a list of the tags."""
        likely = tuple(file_tags(distribution))
        yield from likely
        if fresh:
            tags = self._listed()
        else:
            state = self.cache.state(self.repository)
            tags = (*state.tags, *state.tag_states)
        yield from tags_of(distribution.version, tags, but=likely)

    def all_tags(self, distribution: Distribution) -> tuple[Tag, ...]:
        """Every tag that a file may stand under; where the tags can't be listed, the likely ones."""
        likely = tuple(file_tags(distribution))
        with suppress(RegistryError):
            return *likely, *tags_of(distribution.version, self._listed(), but=likely)
        return likely

    def _listed(self) -> tuple[str, ...]:
        """The tags; none where the registry doesn't give a list: then the file is looked for without it."""
        try:
            return self.session.tags(self.repository)
        except (
            RegistryUnauthorized,
            RegistryDenied,
            RegistryNotFound,
            RegistryNotSupported,
            RegistryRefused,
        ):
            return ()

    def _remembered(self, tag: Tag) -> TagState | None:
        seen = self.cache.state(self.repository).tag_states.get(str(tag))
        return seen if seen is not None and self.cache.freshness.is_fresh(seen, self.cache.now()) else None

    def _seen_now(self, tag: Tag) -> TagState | None:
        position = self.cache.position(self.repository)
        seen = self.look(tag)
        if seen is not None:
            self.cache.put_tag_state(self.repository, position, str(tag), seen)
        return seen

    def contents(
        self, tag: str, digest: Digest, documents: Mapping[Digest, Document] | None = None
    ) -> Contents:
        """What the document under a tag holds: remembered, among `documents`, or read by its digest."""
        known = self.cache.contents(self.repository, tag, digest)
        if known is not None:
            return known
        document = documents.get(digest) if documents else None
        return self._read(tag, digest, document or self._pulled(digest))

    def complete(self, entry: Entry) -> PackageFile:
        """The file behind an entry. Raises NotFound where its hash stands nowhere."""
        return entry.file(self._sha256(entry))

    def _sha256(self, entry: Entry) -> str:
        """The hash of the file behind an entry, of its own or of its child manifest. Raises NotFound where
        that is gone, or is none of a file.
        """
        sha256 = entry.sha256
        if sha256 is None:
            document = self._pulled(entry.descriptor.digest)
            with suppress(ProtocolError):  # its digest is right and its shape is not
                sha256 = layer_sha256(document.manifest())
        if sha256 is None:
            raise NotFound(f"the registry has no hash for {entry.distribution.filename}")
        return sha256

    def _shown(self, entry: Entry) -> PackageFile | None:
        """The file behind an entry; None where its hash is lost, or where something else than a file stands
        there: the project's other files are to be shown all the same.
        """
        try:
            return self.complete(entry)
        except (NotFound, AnswerTooLong) as exc:
            self._passed_over(entry.distribution.filename, exc)
        except RegistryRefused as exc:
            if not _is_about_one_document(exc):
                raise
            self._passed_over(entry.distribution.filename, exc)
        return None

    def _passed_over(self, what: str, why: PyOCIError) -> None:
        """Log that something in the repository is left out of the page."""
        self.events.warning(
            "store", "passed over", repository=str(self.repository), what=what, why=why.message
        )

    def _pulled(self, digest: Digest) -> Document:
        document = self.cache.document(self.repository, digest)
        self.events.count("cache", "document", "miss" if document is None else "hit")
        if document is None:
            document = self.session.pull(self.repository, digest)
            self.read_limit.take(len(document.body))
            self.cache.put_document(self.repository, digest, document)
        return document

    def _read(self, tag: str, digest: Digest, document: Document) -> Contents:
        """What an image index holds: nothing where it is none, or is nobody's version. It is remembered, so
        that what is passed over is logged once.
        """
        contents = Contents(size=len(document.body))
        told = {"repository": str(self.repository), "what": tag}
        try:
            image_index = self.image_index(document)
        except ProtocolError as exc:
            # Its digest is right and its shape is not: somebody's oddity, no fault on the way.
            self.events.warning("store", "unreadable image index", **told, why=exc.message)
        else:
            if image_index is None:
                self.events.info("store", "passed over", **told, why="it holds no Python package")
            else:
                found = tuple(entries(image_index, self.name, tag))
                files = tuple(file for entry in found if (file := self._shown(entry)) is not None)
                contents = Contents(found, files, changed_at(image_index), len(document.body))
        self.cache.put_contents(self.repository, tag, digest, contents)
        return contents

    def image_index(self, document: Document) -> ImageIndex | None:
        """The image index of a version; None for whatever else stands under a tag that looks like one."""
        return package_in(document.image_index(), self._pulled)


def versions_among(tags: tuple[str, ...]) -> list[tuple[Version, Tag]]:
    """Version and tag of those that may be versions, oldest first."""
    parsed = ((version_of(tag), Tag.listed(tag)) for tag in tags)
    found = [(version, tag) for version, tag in parsed if version is not None and tag is not None]
    # A tag that another implementation spelled un-normalised comes after its normalised twin.
    return sorted(found, key=lambda pair: (pair[0], pair[1] != tag_of(pair[0])))


def file_tags(distribution: Distribution) -> Iterator[Tag]:
    """Where to look for a file: under its normalised tag, then under the tag as its file name spells it."""
    normalized = tag_of(distribution.version)
    yield normalized
    try:
        spelled = spelled_tag(filename_version_text(distribution))
    except InvalidRequest:
        return
    if spelled != normalized:
        yield spelled


def tags_of(version: Version, tags: Iterable[str], *, but: Collection[Tag]) -> list[Tag]:
    """The tags that stand for a version, as another program may have spelled them (`v2.0`), without `but`."""
    named = (Tag.listed(tag) for tag in sorted(set(tags)) if version_of(tag) == version)
    return [tag for tag in named if tag is not None and tag not in but][:_SPELLINGS]


def _is_about_one_document(refusal: RegistryError) -> bool:
    """Whether a registry refuses to give a certain document, and would give others: it is of a type that it
    doesn't convert (406), or is stored broken.
    """
    return refusal.status == 406 or bool(_BROKEN.intersection(refusal.codes))
