"""The files of a page by their versions, for whoever shows a project so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from pyoci.upstream.models import UpstreamFile, UpstreamPage


@dataclass(frozen=True, slots=True)
class Release:
    """A version, and its files in the page's order."""

    version: Version
    files: tuple[UpstreamFile, ...]

    @property
    def is_yanked(self) -> bool:
        """Whether a file of it is."""
        return any(file.yanked for file in self.files)


def releases(files: Iterable[UpstreamFile]) -> tuple[Release, ...]:
    """Oldest first. Files whose names tell no version (eggs, installers) are left out."""
    found: dict[Version, list[UpstreamFile]] = {}
    for file in files:
        version = version_of(file.filename)
        if version is not None:
            found.setdefault(version, []).append(file)
    return tuple(Release(version, tuple(found[version])) for version in sorted(found))


def of_version(page: UpstreamPage, version: Version) -> UpstreamPage:
    """The page with the files of one version. Versions are equal by value: 1.0 is 1.0.0."""
    files = tuple(file for file in page.files if version_of(file.filename) == version)
    spelled = dict.fromkeys(str(version_of(file.filename)) for file in files)
    return replace(page, files=files, versions=tuple(spelled))


def latest(found: Iterable[Release]) -> Release | None:
    """The newest that is neither yanked nor a pre-release, else the next best."""
    return max(found, key=lambda r: (not r.is_yanked, not r.version.is_prerelease, r.version), default=None)


def version_of(filename: str) -> Version | None:
    """The version that a file's name tells, of a wheel or an sdist."""
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[1]
        return parse_sdist_filename(filename)[1]
    except ValueError:  # every one of packaging's is one, and so is what int() says to 5,000 digits
        return None
