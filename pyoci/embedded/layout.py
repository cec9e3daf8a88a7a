"""Where things lie: a directory of OCI image layouts, one per repository.

    acme/hello/oci-layout, index.json, blobs/sha256/<hex>   the repository acme/hello, a standard image layout
    acme/hello/_uploads/                                    what isn't complete yet
    acme/hello/_lock                                        held by whoever writes
    acme/hello/world/…                                      the repository acme/hello/world
    acme/hello/blobs_/…                                     the repository acme/hello/blobs

A component of a repository's name neither starts nor ends with `_`: names that end so are free for the
components that would clash with the layout's own files, and names that start so for our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pyoci.embedded.lock import LOCK_LIMIT, locked
from pyoci.oci.references import Digest, Registry, Repository

# The registry that names are parsed for; its name takes little of the 255 characters they may have.
HERE = Registry("embedded", "local", listed=True)
OCI_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}\n'
_STANDARD = frozenset({"blobs", "index.json", "oci-layout"})


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one repository."""

    name: str
    path: Path
    lock_limit: float = LOCK_LIMIT  # seconds

    @property
    def contents(self) -> Path:
        """index.json, which lists the documents and tags. With it the repository comes into being."""
        return self.path / "index.json"

    @property
    def marker(self) -> Path:
        return self.path / "oci-layout"

    @property
    def staging(self) -> Path:
        """Uploads and temporary files: on the same file system as where they go."""
        return self.path / "_uploads"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    def blob(self, digest: Digest) -> Path:
        return self.blobs / digest.algorithm / digest.hex

    def lock(self) -> AbstractContextManager[None]:
        """Keep other writers out. The folder exists. Raises Busy after the limit."""
        return locked(self.path / "_lock", self.lock_limit)


@dataclass(frozen=True, slots=True)
class Layout:
    """All repositories, below the folder `root`."""

    root: Path
    lock_limit: float = LOCK_LIMIT  # seconds that a writer waits for another

    def folder(self, name: str) -> Folder:
        """The folder of a repository, which may not exist yet. Raises InvalidRequest for a bad name."""
        parts = Repository.parse(HERE, name).name.split("/")
        path = self.root.joinpath(*(f"{part}_" if part in _STANDARD else part for part in parts))
        return Folder(name, path, self.lock_limit)

    def folders(self) -> Iterator[Folder]:
        """Every folder that holds something of a repository, in the order of their names."""
        yield from sorted(self._below(self.root, ""), key=lambda folder: folder.name)

    def repositories(self) -> list[str]:
        """The names of the repositories that exist, in order."""
        return [folder.name for folder in self.folders() if folder.contents.is_file()]

    def _below(self, path: Path, prefix: str) -> Iterator[Folder]:
        for child in path.iterdir():
            if child.name.startswith("_") or child.name in _STANDARD or not child.is_dir():
                continue
            name = prefix + child.name.removesuffix("_")
            if any((child / own).exists() for own in ("index.json", "blobs", "_uploads")):
                yield Folder(name, child, self.lock_limit)
            yield from self._below(child, f"{name}/")
