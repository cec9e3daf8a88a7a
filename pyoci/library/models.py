"""File and Project: what an index tells about its packages, wherever it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from packaging.version import InvalidVersion, Version

from pyoci.errors import InvalidRequest
from pyoci.simple_api import model
from pyoci.simple_api.model import ACTIVE, ProjectStatus
from pyoci.store.models import PackageFile, ProjectPage


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a project. What the index doesn't tell is None."""

    project: str  # normalised
    filename: str
    version: str | None  # None: the file name has none that PEP 440 knows
    sha256: str | None
    size: int | None  # bytes
    upload_time: datetime | None
    requires_python: str | None
    yanked: str | None  # the reason, "" if none was given; None: not yanked
    core_metadata: str | None  # sha256 of METADATA, where the index offers it beside the file
    url: str | None = field(default=None, repr=False)  # at a server: where to download the file
    upstream_url: str | None = None  # in a registry: of the file that this is a copy of

    @classmethod
    def stored(cls, project: str, file: PackageFile) -> Self:
        """A file in a registry."""
        return cls(
            project=project,
            filename=file.filename,
            version=str(file.version),
            sha256=file.sha256,
            size=file.size,
            upload_time=file.upload_time,
            requires_python=file.requires_python,
            yanked=file.yanked,
            core_metadata=file.core_metadata,
            upstream_url=file.upstream_url,
        )

    @classmethod
    def listed(cls, project: str, file: model.File) -> Self:
        """A file on a page of the simple API."""
        version = model.version_of(file)
        core_metadata = file.core_metadata if isinstance(file.core_metadata, dict) else {}
        return cls(
            project=project,
            filename=file.filename,
            version=None if version is None else str(version),
            sha256=file.hashes.get("sha256"),
            size=file.size,
            upload_time=moment(file.upload_time),
            requires_python=file.requires_python,
            yanked=file.yank_reason,
            core_metadata=core_metadata.get("sha256"),
            url=file.url,
        )


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its files, in the order of the index: from a registry the oldest version comes first. An
    index offers no files of a quarantined project.
    """

    name: str  # normalised
    files: tuple[File, ...]
    status: ProjectStatus = ACTIVE

    @classmethod
    def stored(cls, page: ProjectPage) -> Self:
        """A project in a registry."""
        name = page.name.normalized
        files = tuple(File.stored(name, file) for file in page.files)
        return cls(name, files, page.status or ACTIVE)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that have files, each once, oldest first."""
        return tuple(self.by_version())

    def by_version(self) -> dict[str, tuple[File, ...]]:
        """The files of each version, the oldest version first. Files without a version are left out."""
        found: dict[Version, list[File]] = {}
        for file in self.files:
            if file.version is not None:
                found.setdefault(Version(file.version), []).append(file)
        return {str(version): tuple(found[version]) for version in sorted(found)}

    @property
    def latest(self) -> str | None:
        """The newest version that is neither yanked nor a pre-release, else the next best."""
        yanked = {
            Version(version): any(file.yanked is not None for file in files)
            for version, files in self.by_version().items()
        }
        found = model.latest(yanked)
        return None if found is None else str(found)

    def of_version(self, version: str) -> Self:
        """The project with the files of one version. Versions are equal by value: 1.0 is 1.0.0.

        Raises InvalidRequest if `version` isn't one.
        """
        try:
            wanted = Version(version)
        except (InvalidVersion, ValueError):
            raise InvalidRequest(
                f"{version[:100]!a} is not a version; expected one as PEP 440 has it, like 1.0"
            ) from None
        same = (file for file in self.files if file.version is not None and Version(file.version) == wanted)
        return replace(self, files=tuple(same))


@dataclass(frozen=True, slots=True)
class WithheldFile:
    """A file that a server's rules withhold; `until` is when it will be old enough."""

    file: File
    rule: str
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an index serves of a project, and what not. `withheld` are no files of `project`, except with the
    mode `report`: then they would be withheld.
    """

    project: Project
    origin: str | None  # "registry", or "upstream" for another package index; None if the index doesn't say
    mode: str | None = None  # of the rules, "enforce" or "report"; None if there are none for this project
    quarantine: str | None = None  # why the whole project is quarantined; None if it isn't
    withheld: tuple[WithheldFile, ...] = ()


def moment(text: str | None) -> datetime | None:
    """The time of a page's `upload-time`, which has been checked."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
