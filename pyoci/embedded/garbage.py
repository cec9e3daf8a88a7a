"""Garbage collection: removes what nothing refers to and what is older than an hour.

Each repository is locked while it is examined, so a push happens before or after. A push may rely on blobs
that were just uploaded, or that the registry has just confirmed: both are newer than an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pyoci.embedded.errors import Busy, Damaged, Refusal
from pyoci.embedded.manifests import Manifest, RepositoryIndex
from pyoci.embedded.registry import EmbeddedRegistry
from pyoci.embedded.storage import LOCK_LIMIT, Disk, RepositoryFolder
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest

_RECENT = 3600.0  # seconds

# Called with the repository, `manifest` or `blob`, and the digest.
Removed = Callable[[str, str, str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a garbage collection removed, and which repositories it skipped, with the reasons."""

    manifests: int = 0
    blobs: int = 0
    uploads: int = 0  # and temporary files
    freed: int = 0  # bytes
    problems: tuple[str, ...] = ()

    def __add__(self, other: Collected) -> Collected:
        return Collected(
            manifests=self.manifests + other.manifests,
            blobs=self.blobs + other.blobs,
            uploads=self.uploads + other.uploads,
            freed=self.freed + other.freed,
            problems=self.problems + other.problems,
        )


def gc(
    directory: Path,
    *,
    disk: Disk | None = None,
    lock_limit: float = LOCK_LIMIT,
    removed: Removed = lambda repository, kind, digest: None,
) -> Collected:
    """Collect the garbage of every repository below `directory`, while other processes read and write.

    What can't be read is skipped and reported. Unfinished uploads expire by their own limit. `removed` is
    called for each manifest and blob that was removed.
    """
    collected = Collected()
    if directory.is_dir():
        disk = disk or Disk()
        registry = EmbeddedRegistry.open(directory, disk=disk, lock_limit=lock_limit)
        collection = _Collection(registry, disk, removed)
        try:
            folders = list(registry.layout.folders())
        except OSError as error:
            folders, collected = [], Collected(problems=(f"repositories: {error}",))
        for folder in folders:
            collected += collection.collect(folder)
        collected += _remove_expired_uploads(registry)
    return collected


def remove_expired_uploads(directory: Path, disk: Disk | None = None) -> Collected:
    """Remove the unfinished uploads below `directory` that have expired, and nothing else."""
    return (
        _remove_expired_uploads(EmbeddedRegistry.open(directory, disk=disk or Disk()))
        if directory.is_dir()
        else Collected()
    )


def _remove_expired_uploads(registry: EmbeddedRegistry) -> Collected:
    try:
        expired = registry.uploads.remove_expired().expired
    except OSError as error:
        return Collected(problems=(f"unfinished uploads: {error}",))
    return Collected(uploads=len(expired), freed=sum(expired))


class _Collection:
    """One run over the repositories."""

    def __init__(self, registry: EmbeddedRegistry, disk: Disk, removed: Removed) -> None:
        self._manifests = registry.manifests
        self._disk = disk
        self._removed = removed

    def collect(self, folder: RepositoryFolder) -> Collected:
        try:
            with folder.lock():
                return self._collect_locked(folder)
        except (Damaged, Refusal, Busy, OSError) as error:
            if not folder.path.exists():  # an operator has removed it
                return Collected()
            reason = "it is busy" if isinstance(error, Busy) else str(error)
            return Collected(problems=(f"{folder.name}: {reason}",))

    def _collect_locked(self, folder: RepositoryFolder) -> Collected:
        index = self._manifests.find_index(folder) or RepositoryIndex()
        manifests = {}
        for digest, entry in index.manifests.items():
            manifest = Manifest.parse(self._manifests.read(folder, entry), entry.media_type)
            manifests[digest] = replace(manifest, annotations={})  # they may be large
        kept = _reachable(manifests, frozenset(self._roots(folder, index)))
        removed = frozenset(manifests) - kept
        if removed:
            self._manifests.update_index(folder, lambda index: index.without_manifests(removed))
            for digest in sorted(removed):
                self._removed(folder.name, "manifest", digest)
        needed = {str(child.digest) for digest in kept for child in manifests[digest].children}
        swept = self._sweep_blobs(folder, needed | kept) + self._sweep_temporary_files(folder)
        return replace(swept, manifests=len(removed))

    def _roots(self, folder: RepositoryFolder, index: RepositoryIndex) -> Iterator[str]:
        """The manifests that are kept for themselves: tagged ones and recent ones."""
        for entry in index.entries:
            if entry.tag is not None or self._is_recent(folder.blob(entry.digest)):
                yield str(entry.digest)

    def _sweep_blobs(self, folder: RepositoryFolder, needed: set[str]) -> Collected:
        blobs = freed = 0
        for path in folder.blobs.glob("*/*"):
            if _is_garbage(path, needed) and not self._is_recent(path):
                size = path.stat().st_size
                self._disk.remove(path)
                self._removed(folder.name, "blob", f"{path.parent.name}:{path.name}")
                blobs, freed = blobs + 1, freed + size
        return Collected(blobs=blobs, freed=freed)

    def _sweep_temporary_files(self, folder: RepositoryFolder) -> Collected:
        files = freed = 0
        for path in folder.staging.glob("*"):
            try:
                if self._is_recent(path):
                    continue
                size = path.stat().st_size
            except FileNotFoundError:  # renamed by another request
                continue
            self._disk.remove(path)
            files, freed = files + 1, freed + size
        return Collected(uploads=files, freed=freed)

    def _is_recent(self, path: Path) -> bool:
        return self._disk.age(path) < _RECENT


def _is_garbage(blob: Path, needed: set[str]) -> bool:
    """Whether a file below blobs/ is a blob that nothing needs."""
    try:
        return str(Digest.parse(f"{blob.parent.name}:{blob.name}")) not in needed
    except InvalidRequest:
        return False


def _reachable(manifests: Mapping[str, Manifest], roots: frozenset[str]) -> frozenset[str]:
    """`roots`, the manifests they list, and those whose subject is kept."""
    kept: set[str] = set()
    new = set(roots)
    while new:
        kept |= new
        listed = {
            str(child.digest) for text in new if text in manifests for child in manifests[text].children
        }
        referring = {text for text, manifest in manifests.items() if str(manifest.subject) in kept}
        new = ((listed | referring) & set(manifests)) - kept
    return frozenset(kept)
