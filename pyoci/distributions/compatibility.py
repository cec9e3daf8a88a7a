"""Platform and PythonVersion: where a wheel can be installed, by the tags in its name (PEP 425, 600, 656)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from pyoci.errors import InvalidRequest

_PATTERN = re.compile(r"[a-z0-9_*?]{1,100}")
_LIBC = re.compile(r"(manylinux|musllinux)_(\d{1,3})_(\d{1,3})_(\w+)", re.ASCII)
_MACOS = re.compile(r"macosx_(\d{1,3})_(\d{1,3})_(arm64|x86_64)", re.ASCII)
_OLD_NAMES = {
    "manylinux1_": "manylinux_2_5_",
    "manylinux2010_": "manylinux_2_12_",
    "manylinux2014_": "manylinux_2_17_",
}
_PYTHON = re.compile(r"(\d)\.(\d{1,3})(t?)", re.ASCII)
_MICROS = 100  # no minor version has had as many releases


@dataclass(frozen=True, slots=True)
class Platform:
    """A machine, by the newest platform tag that it takes, or a pattern for tags."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `manylinux_2_28_x86_64`, `win_amd64` or `macosx_*_arm64`. Raises InvalidRequest."""
        if not _PATTERN.fullmatch(text):
            raise InvalidRequest(
                f"{text[:100]!a} is not a platform; expected a wheel's platform tag or a pattern, like"
                " manylinux_2_28_x86_64, win_amd64 or 'macosx_*_arm64'"
            )
        return cls(_modern(text))

    def takes(self, tag: str) -> bool:
        """Whether wheels with a platform tag are for it. Those with `any` are for every platform.

        glibc, musl and macOS run what was built for an older release of theirs.
        """
        tag = _modern(tag)
        if tag == "any" or fnmatchcase(tag, self.text):
            return True
        mine, other = _LIBC.fullmatch(self.text), _LIBC.fullmatch(tag)
        if mine and other:
            return (mine[1], mine[2], mine[4]) == (other[1], other[2], other[4]) and int(other[3]) <= int(
                mine[3]
            )
        if mine:
            return tag == f"linux_{mine[4]}"
        macos = _MACOS.fullmatch(self.text)
        return macos is not None and tag in mac_platforms((int(macos[1]), int(macos[2])), macos[3])


@dataclass(frozen=True, slots=True)
class PythonVersion:
    """A minor version of CPython, `3.12`, or `3.13t` without the global interpreter lock."""

    text: str
    _pairs: frozenset[tuple[str, str]]  # interpreter and ABI of the wheels that it takes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest."""
        found = _PYTHON.fullmatch(text)
        if found is None:
            raise InvalidRequest(
                f"{text[:100]!a} is not a version of Python; expected one like 3.12 or 3.13t"
            )
        version, interpreter = (int(found[1]), int(found[2])), f"cp{found[1]}{found[2]}"
        abi = f"{interpreter}{'m' if version < (3, 8) else found[3]}"
        tags = [*cpython_tags(version, [abi], ["any"]), *compatible_tags(version, interpreter, ["any"])]
        return cls(text, frozenset((tag.interpreter, tag.abi) for tag in tags))

    def takes(self, tag: Tag) -> bool:
        """Whether it runs wheels with the Python and ABI of a tag."""
        return (tag.interpreter, tag.abi) in self._pairs

    def satisfies(self, requires_python: str | None) -> bool:
        """Whether one of its releases does. A specifier that can't be read is ignored, as installers do."""
        return _is_satisfied(requires_python or "", self.text.rstrip("t"))


def fits(filename: str, platforms: Collection[Platform], pythons: Collection[PythonVersion]) -> bool:
    """Whether a wheel can be installed on one of the platforms with one of the Pythons; none means all."""
    return any(
        (not platforms or any(platform.takes(tag.platform) for platform in platforms))
        and (not pythons or any(python.takes(tag) for python in pythons))
        for tag in _tags(filename)
    )


def _tags(filename: str) -> Iterable[Tag]:
    try:
        return parse_wheel_filename(filename)[3]
    except (InvalidWheelFilename, ValueError):
        return ()


def _modern(tag: str) -> str:
    """The tag of PEP 600 for an older one."""
    for old, new in _OLD_NAMES.items():
        if tag.startswith(old):
            return new + tag.removeprefix(old)
    return tag


@lru_cache(maxsize=4096)
def _is_satisfied(requires_python: str, release: str) -> bool:
    try:
        specifier = SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True
    return any(specifier.contains(f"{release}.{micro}", prereleases=True) for micro in range(_MICROS))
