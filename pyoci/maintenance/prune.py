"""Prune: which versions of a project may go by the rules of its owner."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from packaging.version import Version

from pyoci.errors import InvalidRequest
from pyoci.store.models import PackageFile, ProjectPage

_AGE = re.compile(r"([0-9]{1,5})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A version goes if `match` fits and no other rule keeps it. The newest final version always stays.

    `keep`: so many of the newest versions stay. `keep_newer`: versions stay of which a file was uploaded in
    this time, or at a time that is unknown. `locked`: versions that lock files name stay, by project.
    """

    match: re.Pattern[str] = re.compile("")
    keep: int | None = None
    keep_newer: timedelta | None = None
    locked: Mapping[str, frozenset[Version]] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        *,
        match: str | None = None,
        keep: int | None = None,
        keep_newer: str | None = None,
        locked: Mapping[str, frozenset[Version]] | None = None,
    ) -> Self:
        """The rules of some texts: a regular expression, and an age (`90d`). Raises InvalidRequest."""
        return cls(
            match=parse_match(match or ""),
            keep=keep,
            keep_newer=None if keep_newer is None else parse_age(keep_newer),
            locked=locked or {},
        )

    @property
    def keeps_nothing(self) -> bool:
        """Whether there is neither a rule that keeps versions nor one that says which are meant."""
        return self.keep is None and self.keep_newer is None and not self.locked and not self.match.pattern


@dataclass(frozen=True, slots=True)
class PrunedVersion:
    """A version that goes, with its files. Files of unknown size count as 0 bytes."""

    project: str
    version: Version
    files: tuple[PackageFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size or 0 for file in self.files)


def parse_age(text: str) -> timedelta:
    """`90d`, `12h`, `8w`. Raises InvalidRequest."""
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidRequest(
            f"{text[:40]!a} is not an age; expected a number and a unit, like 90d, 12h or 8w"
        )
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def parse_match(text: str) -> re.Pattern[str]:
    """A regular expression, which is searched for in the version. Raises InvalidRequest."""
    try:
        return re.compile(text)
    except re.error as exc:
        raise InvalidRequest(f"{text[:80]!a} is not a regular expression: {exc}") from exc


def pruned(page: ProjectPage, rules: Rules, now: datetime) -> list[PrunedVersion]:
    """The versions of a project that go, oldest first."""
    versions = sorted(page.versions)
    kept = _always_kept(versions, page.files) | rules.locked.get(page.name.normalized, frozenset())
    if rules.keep is not None:
        kept |= frozenset(versions[-rules.keep :] if rules.keep else ())
    found = []
    for version in versions:
        files = page.of_version(version).files
        is_new = rules.keep_newer is not None and _newest_upload(files, now) > now - rules.keep_newer
        if version not in kept and not is_new and rules.match.search(str(version)):
            found.append(PrunedVersion(page.name.normalized, version, files))
    return found


def _always_kept(versions: Sequence[Version], files: Iterable[PackageFile]) -> frozenset[Version]:
    """The newest final version that isn't yanked; where all are yanked, the newest final one."""
    yanked = {file.version for file in files if file.yanked is not None}
    finals = [version for version in versions if not version.is_prerelease]
    usable = [version for version in finals if version not in yanked]
    return frozenset((usable or finals)[-1:])


def _newest_upload(files: Collection[PackageFile], now: datetime) -> datetime:
    """The time of the last upload; now, where that of a file is unknown."""
    return max((file.upload_time or now for file in files), default=now)
