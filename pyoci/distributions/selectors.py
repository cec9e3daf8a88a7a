"""Selector: the files of some projects and versions, such as `acme-*` or `requests<2.32`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from pyoci.distributions.names import could_be_a_name

_SELECTOR = re.compile(r"\s*([A-Za-z0-9._*?-]+)\s*((?:[<>=!~].*)?)", re.ASCII | re.DOTALL)
_SHOWN = 80  # characters of a wrong text that a message repeats
_LONGEST = 1000  # characters


@dataclass(frozen=True, slots=True)
class Selector:
    """A normalised name or pattern of projects, and the versions that are meant; no specifier means all."""

    pattern: str
    specifiers: SpecifierSet

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a name or a pattern, alone or with a version specifier (PEP 440). Raises ValueError."""
        found = _SELECTOR.fullmatch(text) if len(text) <= _LONGEST else None
        try:
            if found is None or not could_be_a_name(found[1]):
                raise ValueError
            return cls(canonicalize_name(found[1]), SpecifierSet(found[2]))
        except (ValueError, InvalidSpecifier):
            raise ValueError(
                f"{text[:_SHOWN]!a} is not valid; expected the name of a project, or a pattern like acme-*,"
                " and after it a version specifier if needed, like requests<2.32"
            ) from None

    @classmethod
    def parse_exact(cls, text: str) -> Self:
        """Parse a name, a pattern or `name==version`. Raises ValueError for any other specifier."""
        found = cls.parse(text)
        for each in found.specifiers:
            if each.operator != "==" or each.version.endswith(".*") or len(found.specifiers) > 1:
                raise ValueError(
                    f"{text[:_SHOWN]!a} is not valid; expected the name of a project, a pattern like acme-*,"
                    " or name==version"
                )
        return found

    @property
    def is_wild(self) -> bool:
        """Whether it selects projects by a pattern."""
        return "*" in self.pattern or "?" in self.pattern

    @property
    def selects_all_versions(self) -> bool:
        return not len(self.specifiers)

    def covers(self, version: Version | None) -> bool | None:
        """Whether it selects the files of a version, pre-releases included; None if that isn't known, since
        the version isn't.
        """
        if self.selects_all_versions:
            return True
        return None if version is None else self.specifiers.contains(version, prereleases=True)

    def names(self, version: Version | None) -> bool:
        """Whether it certainly selects a version. For `==1.0`, 1.0+local is another version, although PEP
        440 says otherwise: what permits a version must not permit those that others derive from it.
        """
        if version is None or version.local is None or self.selects_all_versions:
            return self.covers(version) is True
        return any(each.version == str(version) for each in self.specifiers if each.operator in {"==", "==="})


@dataclass(frozen=True, slots=True)
class Selectors:
    """Many selectors, found by the project's name."""

    _by_name: dict[str, tuple[Selector, ...]] = field(default_factory=dict)
    _wild: tuple[Selector, ...] = ()

    @classmethod
    def of(cls, selectors: Iterable[Selector]) -> Self:
        by_name: dict[str, list[Selector]] = {}
        wild = []
        for selector in selectors:
            if selector.is_wild:
                wild.append(selector)
            else:
                by_name.setdefault(selector.pattern, []).append(selector)
        return cls({name: tuple(found) for name, found in by_name.items()}, tuple(wild))

    @property
    def patterns(self) -> int:
        """How many of them select projects by a pattern: each is compared with each project."""
        return len(self._wild)

    def of_project(self, name: str) -> tuple[Selector, ...]:
        """Those that select versions of a project, by its normalised name."""
        wild = (selector for selector in self._wild if fnmatchcase(name, selector.pattern))
        return (*self._by_name.get(name, ()), *wild)
