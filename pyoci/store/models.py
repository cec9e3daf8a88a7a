"""What the store takes and gives: Namespace, PackageFile, ProjectPage, ForeignPage, Absence, Root, Validity,
Upload, Published, ByteRange, FileStream, FileElsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import BinaryIO, Self

from packaging.version import Version

from pyoci.cache.backend import Position
from pyoci.distributions.filenames import Sdist, Wheel
from pyoci.distributions.names import ProjectName
from pyoci.errors import RangeNotSatisfiable
from pyoci.oci.references import Registry, Repository
from pyoci.simple_api.model import File, Page, latest, timestamp
from pyoci.upstream.client import UpstreamPage


@dataclass(frozen=True, slots=True)
class Namespace:
    """The path between registry and project, `acme/python`: one or more segments, lower case."""

    registry: Registry
    path: str

    @classmethod
    def parse(cls, registry: Registry, path: str) -> Self:
        """Lower the capitals (`ghcr.io/AllexVeldman` works) and check the grammar. Raises InvalidRequest."""
        return cls(registry, Repository.parse(registry, path.lower()).name)

    def repository(self, name: ProjectName) -> Repository:
        """The repository that holds the project `name`. Raises InvalidRequest where it grows too long."""
        return Repository.parse(self.registry, f"{self.path}/{name.underscored}")

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One wheel or sdist, as its version's image index describes it."""

    distribution: Sdist | Wheel
    sha256: str
    size: int | None = None  # in bytes; None for files that another implementation published
    upload_time: datetime | None = None  # with a zone
    requires_python: str | None = None
    core_metadata: str | None = None  # sha256 hex of METADATA; None where `.metadata` is not on offer
    yanked: str | None = None  # the reason, "" where none was given; None: not yanked (PEP 592)
    project_urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def filename(self) -> str:
        return self.distribution.filename

    @property
    def version(self) -> Version:
        return self.distribution.version

    def on_page(self, url: str) -> File:
        """The file as a page of the simple API has it, at this URL."""
        # By position, in the order of `File`: keywords make the JSON of 10,000 files take some 5 % longer.
        return File(
            self.distribution.filename,
            url,
            {"sha256": self.sha256},
            self.size,
            timestamp(self.upload_time) if self.upload_time is not None else None,
            self.requires_python or None,
            None,
            None,
            {"sha256": self.core_metadata} if self.core_metadata else None,
            None if self.yanked is None else self.yanked or True,
            self.distribution.version,
            self.project_urls,
        )


@dataclass(frozen=True, slots=True)
class Validity:
    """For how long a page may be given again to the same caller: see `Cache.is_valid`."""

    caller_key: str = field(repr=False)
    journal: str = field(repr=False)
    position: Position
    until: float  # by the cache's own clock
    absent: bool = False  # the page is in the place of a project that the registry doesn't have
    also: Validity | None = field(default=None, repr=False)  # the page ends with this one, too


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """The files of one project, in PEP 440 order, oldest version first.

    Two pages of one project with the same `fingerprint` are the same; "" is unknown.
    """

    name: ProjectName
    files: tuple[PackageFile, ...]
    fingerprint: str = field(default="", compare=False)
    validity: Validity | None = field(default=None, compare=False)

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions that have files, each once, in order."""
        found: list[Version] = []
        for file in self.files:
            # Files of one version share it as a rule; to hash that of each would take as long as their JSON.
            if not found or file.version is not found[-1]:
                found.append(file.version)
        return tuple(dict.fromkeys(found))

    def of_version(self, version: Version) -> ProjectPage:
        """The page with the files of one version. Versions are equal by value: 1.0 is 1.0.0."""
        return replace(self, files=tuple(file for file in self.files if file.version == version))

    @property
    def latest(self) -> Version | None:
        """The newest version that is neither yanked nor a pre-release, else the next best."""
        yanked = {file.version for file in self.files if file.yanked is not None}
        return latest({version: version in yanked for version in self.versions})

    def as_page(self, url_of: Callable[[PackageFile], str]) -> Page:
        """The page that the simple API shows. Its files can be read once."""
        return Page(
            name=self.name.normalized,
            files=(file.on_page(url_of(file)) for file in self.files),
            versions=tuple(map(str, self.versions)),
        )


@dataclass(frozen=True, slots=True)
class ForeignPage:
    """The page of a project that the registry lacks, as the upstream package index gave it."""

    page: UpstreamPage
    validity: Validity | None = None


@dataclass(frozen=True, slots=True)
class Absence:
    """That the registry lacks a project, by an answer that is conclusive; with a validity where it is
    remembered.
    """

    validity: Validity | None = None

    def after(self, other: Absence) -> Absence:
        """The same, which holds no longer than the other."""
        if self.validity is None or other.validity is None:
            return Absence()
        return Absence(replace(self.validity, also=other.validity))


@dataclass(frozen=True, slots=True)
class Root:
    """The projects of a namespace, sorted."""

    projects: tuple[ProjectName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A filled-in upload form. Texts are as the client sent them; `content` is seekable and stands at 0."""

    filename: str
    content: BinaryIO = field(repr=False)
    size: int
    name: str = ""  # "" where the client didn't say: then the file name tells
    version: str = ""
    filetype: str = ""  # bdist_wheel or sdist; "" where the client didn't say
    digests: Mapping[str, str] = field(default_factory=dict)  # hashlib name or "blake2b_256" to hex
    classifiers: tuple[str, ...] = ()
    project_urls: tuple[str, ...] = ()  # "Label, URL"
    attestations: str = field(default="", repr=False)  # a JSON array (PEP 740); "" where there are none


@dataclass(frozen=True, slots=True)
class Published:
    """A file that is there after an upload, and the repository that it is in."""

    file: PackageFile
    repository: Repository


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One range of RFC 9110, section 14.1.2: `first-last`, `first-`, or `-suffix` (first is None).

    werkzeug's parser isn't used, because it ignores `-0`, which is a range that no file satisfies.
    """

    first: int | None
    last: int | None

    @classmethod
    def parse(cls, header: str | None) -> Self | None:
        """Read a Range header. None for what may be ignored: no header, several ranges, another unit."""
        found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", header or "")
        if found is None or not (found[1] or found[2]):
            return None
        first, last = (int(text) if text else None for text in found.groups())
        if first is not None and last is not None and last < first:
            return None
        return cls(first, last)

    def within(self, size: int) -> range:
        """The offsets that this range selects of `size` bytes. Raises RangeNotSatisfiable where none."""
        if self.first is None:
            start, stop = max(size - (self.last or 0), 0), size
        else:
            start, stop = self.first, size if self.last is None else min(self.last + 1, size)
        if start >= stop:
            raise RangeNotSatisfiable(f"the range lies outside the file, which has {size} bytes", size)
        return range(start, stop)


@dataclass(slots=True)
class FileStream:
    """The bytes of a file on their way from the registry. Iterate it to the end, or close it.

    Without a span the bytes are verified: iteration raises before the last piece where they don't match
    their digest, so that a client that counts bytes sees a broken download and not a wrong file.
    """

    file: PackageFile
    size: int  # of the whole file, in bytes
    span: range | None  # the offsets served; None: all of it
    pieces: Iterator[bytes] = field(repr=False)

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        """Give the connection back, or drop it where bytes are left on it."""
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()


@dataclass(frozen=True, slots=True)
class FileElsewhere:
    """A file that the caller may fetch by itself, where the registry redirects to. The URL is signed, and as
    good as a credential: it belongs in no log, and on no page.
    """

    file: PackageFile
    url: str = field(repr=False)
