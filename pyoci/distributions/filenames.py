"""Sdist and Wheel: the names of distribution files, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version as Version

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest

FILENAME_LIMIT = 255  # characters; what file systems allow
VERSION_LIMIT = 200  # characters
SDIST_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tgz")  # PyPI takes no new files with the last two (PEP 527)

# The characters of names, versions, build numbers and tags. Version() alone would accept blanks.
_SPELLING = re.compile(r"[A-Za-z0-9._+!-]+")
_EXPECTED = "name-version-python-abi-platform.whl, name-version.tar.gz or name-version.zip"


@dataclass(frozen=True, slots=True)
class Sdist:
    """A source distribution (PEP 625, and the legacy spellings). `filename` is spelled as it was given."""

    name: ProjectName
    version: Version
    ending: str
    filename: str

    @property
    def suffix(self) -> str:
        """One of SDIST_ENDINGS."""
        return self.ending

    @property
    def filetype(self) -> Literal["sdist"]:
        return "sdist"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel (binary distribution format, "File name convention"). `filename` is spelled as it was given."""

    name: ProjectName
    version: Version
    tail: str
    filename: str

    @property
    def suffix(self) -> str:
        """The part after `name-version-`: `py3-none-any.whl`, `1-cp311-cp311-linux_x86_64.whl`."""
        return self.tail

    @property
    def filetype(self) -> Literal["bdist_wheel"]:
        return "bdist_wheel"


Distribution = Sdist | Wheel


def parse_filename(text: str, project: ProjectName | None = None) -> Distribution:
    """Read the name of a wheel or sdist. Raises InvalidRequest.

    Both the name and the version of an sdist may have hyphens (`2.1.2-beta`). If the project's name is given,
    it is used to separate them, as in pip and uv. Otherwise the version begins after the last hyphen.
    """
    _check_spelling(text)
    if text.endswith(".whl"):
        return _parse_wheel(text)
    ending = _sdist_ending(text)
    version = read_version(_version_text(text.removesuffix(ending), project)) if project else None
    if project is not None and version is not None:
        return Sdist(project, version, ending, text)
    try:
        spelled, version = parse_sdist_filename(f"{text.removesuffix(ending)}.tar.gz")  # it knows few endings
        return Sdist(ProjectName.parse(spelled), version, ending, text)
    except (ValueError, InvalidRequest):  # packaging's errors are ValueErrors
        raise InvalidRequest(
            f"{text!a} is not the file name of an sdist; expected {project or 'name'}-version{ending}"
            " with a PEP 440 version"
        ) from None


def rebuild_filename(name: ProjectName, version_text: str, suffix: str) -> Distribution:
    """The file name of a file whose entry has none, made from the project, the version and the suffix.

    It also accepts a version that can't be parsed out of a file name (`1.0+ubuntu-1`). Raises InvalidRequest.
    """
    version = _parse_version(version_text)
    if suffix.endswith(".whl"):
        filename = f"{name.underscored}-{version_text}-{suffix}"
        _check_spelling(filename)
        _parse_wheel(f"{name.underscored}-0-{suffix}")
        return Wheel(name, version, suffix, filename)
    filename = f"{name.underscored}-{version_text}{suffix}"
    _check_spelling(filename)
    if suffix not in SDIST_ENDINGS:
        raise InvalidRequest(f"{suffix!a} is not the end of a distribution's file name; expected {_EXPECTED}")
    return Sdist(name, version, suffix, filename)


def filename_version_text(distribution: Distribution) -> str:
    """The version as spelled in the file name, `1.0RC1`; the tag may have that spelling, too."""
    separator = "-" if isinstance(distribution, Wheel) else ""
    stem = distribution.filename.removesuffix(separator + distribution.suffix)
    return _version_text(stem, distribution.name) or stem.rpartition("-")[2]


def _version_text(stem: str, project: ProjectName) -> str:
    """The part after the project's name, in any spelling, and a hyphen; "" if it begins with another name."""
    for found in re.finditer("-", stem):
        if canonicalize_name(stem[: found.start()]) == project.normalized:
            return stem[found.end() :]
    return ""


def _parse_wheel(text: str) -> Wheel:
    try:
        spelled, version, _, _ = parse_wheel_filename(text)
    except (InvalidWheelFilename, ValueError):
        raise InvalidRequest(
            f"{text!a} is not the file name of a wheel; expected"
            " name-version-python-abi-platform.whl with a PEP 440 version, a build number after it or not"
        ) from None
    return Wheel(ProjectName.parse(spelled), version, text.split("-", 2)[2], text)


def read_version(text: str) -> Version | None:
    """A text parsed as a PEP 440 version; None if it isn't one."""
    if len(text) > VERSION_LIMIT or not _SPELLING.fullmatch(text):
        return None
    try:
        return Version(text)
    except ValueError:
        return None


def _parse_version(text: str) -> Version:
    try:
        return Version(text)
    except ValueError:  # InvalidVersion is a ValueError; int() raises another for 5,000 digits
        raise InvalidRequest(
            f"{text[:100]!a} is not a version; expected one as PEP 440 has it, like 1.0"
        ) from None


def _sdist_ending(text: str) -> str:
    for ending in SDIST_ENDINGS:
        if text.endswith(ending):
            return ending
    raise InvalidRequest(f"{text!a} is neither a wheel nor an sdist; expected {_EXPECTED}")


def _check_spelling(text: str) -> None:
    """Raises InvalidRequest for a name that can't stand in a path or a header."""
    if len(text) > FILENAME_LIMIT:
        raise InvalidRequest(f"the file name {text[:20]!a}... is over {FILENAME_LIMIT} characters")
    if "/" in text or "\\" in text or ".." in text:
        raise InvalidRequest(f"{text!a} looks like a path; expected a file name without / \\ and ..")
    if not _SPELLING.fullmatch(text):
        raise InvalidRequest(f"{text!a} is not a file name; expected ASCII letters, digits, and . _ - + !")
