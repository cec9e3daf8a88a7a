"""File, ProjectStatus and Page: the simple repository API's data about a project, from the registry or
upstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple, Self

from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

API_VERSION = "1.4"


class File(NamedTuple):
    """One file of a page. A field that is None is unknown, and is left out of every representation.

    The first fields are the keys of a file's JSON, in the same order and with the same values; `fields.py`
    declares how each is read and written. It is a tuple because a page creates ten thousand of them.
    """

    filename: str
    url: str  # absolute, or relative to the page; without a fragment, and percent-encoded where it must be
    hashes: dict[str, str]  # hex by algorithm; may be empty
    size: int | None = None  # bytes (PEP 700)
    upload_time: str | None = None  # ISO 8601 with an offset (PEP 700)
    requires_python: str | None = None
    provenance: str | None = None  # an absolute URL (PEP 740)
    gpg_sig: bool | None = None
    core_metadata: bool | dict[str, str] | None = None  # hashes of METADATA, or True (PEP 714)
    yanked: bool | str | None = None  # the reason, never empty, or True (PEP 592)

    # Only the legacy JSON shows these.
    version: Version | None = None  # None: the file name has it
    project_urls: Mapping[str, str] = MappingProxyType({})  # URL by label


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """`active`, `archived`, `quarantined` or `deprecated`, and the reason (PEP 792)."""

    status: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A project's page. `files` may be an iterator that creates the files while they are written."""

    name: str  # normalised
    files: Iterable[File]
    versions: tuple[str, ...]
    status: ProjectStatus | None = None

    def of_version(self, version: Version) -> Self:
        """The page with the files of one version. 1.0 and 1.0.0 are one version."""
        files = tuple(file for file in self.files if version_of(file) == version)
        return replace(self, files=files, versions=tuple(str(version_of(file)) for file in files[:1]))


def version_of(file: File) -> Version | None:
    """The version of a file; None for eggs, installers and others whose names have none."""
    return version_in(file.filename) if file.version is None else file.version


def version_in(filename: str) -> Version | None:
    """The version in the name of a wheel or an sdist; None if there is none."""
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[1]
        return parse_sdist_filename(filename)[1]
    except ValueError:  # packaging's errors are subclasses; int() raises one for 5,000 digits
        return None


def latest(versions: Mapping[Version, bool]) -> Version | None:
    """The newest version that is neither yanked nor a pre-release. If there is none, a pre-release; if all
    are yanked, a yanked one. The values are true for yanked versions.
    """
    return max(versions, key=lambda v: (not versions[v], not v.is_prerelease, v), default=None)


def timestamp(moment: datetime) -> str:
    """`2026-11-20T08:15:30.000000Z`: PEP 700 requires UTC, and uv requires the Z."""
    m = moment.astimezone(UTC)
    # isoformat() or an f-string would take half as long again. This is a fifth of the time of a page.
    return "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (  # noqa: UP031
        m.year, m.month, m.day, m.hour, m.minute, m.second, m.microsecond
    )  # fmt: skip
