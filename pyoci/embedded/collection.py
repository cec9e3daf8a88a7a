"""Garbage collection: removes what nothing refers to, and nothing younger than an hour.

A repository is locked while it is looked through, so that whoever pushes sees it before or after. What a push
relies on is young: a blob that was just uploaded, and one that the registry just said exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pyoci.embedded.contents import Contents
from pyoci.embedded.disk import Disk
from pyoci.embedded.documents import Documents
from pyoci.embedded.errors import Busy, Damaged, Refusal
from pyoci.embedded.layout import Folder, Layout
from pyoci.embedded.lock import LOCK_LIMIT, try_lock
from pyoci.embedded.manifests import Document
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a garbage collection removed, and which repositories it left alone, with the reasons."""

    documents: int = 0
    blobs: int = 0
    uploads: int = 0  # and temporary files
    freed: int = 0  # bytes
    problems: tuple[str, ...] = ()

    def __add__(self, other: Collected) -> Collected:
        return Collected(
            documents=self.documents + other.documents,
            blobs=self.blobs + other.blobs,
            uploads=self.uploads + other.uploads,
            freed=self.freed + other.freed,
            problems=self.problems + other.problems,
        )


def gc(
    directory: Path,
    *,
    older_than: timedelta = _HOUR,
    disk: Disk | None = None,
    lock_limit: float = LOCK_LIMIT,
) -> Collected:
    """Collect the garbage of every repository below `directory`, while others go on reading and writing.

    `older_than` is raised to an hour where it is less. A repository that can't be read is left alone.
    """
    collection = _Collection(disk or Disk(), max(older_than, _HOUR).total_seconds())
    collected = Collected()
    if directory.is_dir():
        for folder in Layout(directory, lock_limit).folders():
            collected += collection.of(folder)
    return collected


class _Collection:
    """One run over the repositories; `age` in seconds."""

    def __init__(self, disk: Disk, age: float) -> None:
        self._disk = disk
        self._documents = Documents(disk)
        self._age = age

    def of(self, folder: Folder) -> Collected:
        try:
            with folder.lock():
                return self._locked(folder)
        except (Damaged, Refusal, Busy, OSError) as error:
            reason = "it is busy" if isinstance(error, Busy) else str(error)
            return Collected(problems=(f"{folder.name}: {reason}",))

    def _locked(self, folder: Folder) -> Collected:
        contents = self._documents.contents(folder) or Contents()
        read = {
            text: replace(
                Document.parse(self._documents.read(folder, entry), entry.media_type), annotations={}
            )
            for text, entry in contents.documents.items()
        }
        kept = _reachable(read, frozenset(self._roots(folder, contents)))
        gone = frozenset(read) - kept
        if gone:
            self._documents.change(folder, lambda contents: contents.without_documents(gone))
        needed = {str(child.digest) for text in kept for child in read[text].children}
        swept = self._sweep_blobs(folder, needed | kept) + self._sweep_uploads(folder)
        return replace(swept, documents=len(gone))

    def _roots(self, folder: Folder, contents: Contents) -> Iterator[str]:
        """The documents that stay by themselves: those with a tag, and the young."""
        for entry in contents.entries:
            if entry.tag is not None or self._is_young(folder.blob(entry.digest)):
                yield str(entry.digest)

    def _sweep_blobs(self, folder: Folder, needed: set[str]) -> Collected:
        blobs = freed = 0
        for path in folder.blobs.glob("*/*"):
            if _is_garbage(path, needed) and not self._is_young(path):
                size = path.stat().st_size
                self._disk.remove(path)
                blobs, freed = blobs + 1, freed + size
        return Collected(blobs=blobs, freed=freed)

    def _sweep_uploads(self, folder: Folder) -> Collected:
        uploads = freed = 0
        for path in folder.staging.glob("*"):
            try:
                with path.open("rb") as file:
                    if self._is_young(path) or not try_lock(file.fileno()):
                        continue
                    size = path.stat().st_size
                    self._disk.remove(path)
            except FileNotFoundError:  # finished, or cancelled, or renamed
                continue
            uploads, freed = uploads + 1, freed + size
        return Collected(uploads=uploads, freed=freed)

    def _is_young(self, path: Path) -> bool:
        return self._disk.age(path) < self._age


def _is_garbage(blob: Path, needed: set[str]) -> bool:
    """Whether a file in a folder of blobs is one, and nothing needs it."""
    try:
        return str(Digest.parse(f"{blob.parent.name}:{blob.name}")) not in needed
    except InvalidRequest:
        return False


def _reachable(documents: Mapping[str, Document], roots: frozenset[str]) -> frozenset[str]:
    """`roots`, what they list, and whatever has one of all these for its subject."""
    kept: set[str] = set()
    new = set(roots)
    while new:
        kept |= new
        listed = {
            str(child.digest) for text in new if text in documents for child in documents[text].children
        }
        referring = {text for text, document in documents.items() if str(document.subject) in kept}
        new = ((listed | referring) & set(documents)) - kept
    return frozenset(kept)
