"""Rules: which files of upstream's pages are withheld from clients, and the reasons that people are shown.

A file that a rule can't be applied to is withheld.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Protocol, Self

from pyoci.distributions.filenames import SDIST_ENDINGS, Version, parse_filename
from pyoci.distributions.names import ProjectName
from pyoci.distributions.selectors import Selector, Selectors
from pyoci.errors import InvalidRequest
from pyoci.simple_api.model import File, Page

# The names of the rules, as clients, logs and metrics show them.
QUARANTINED = "quarantined"
UNVERIFIABLE = "unverifiable"
MALWARE = "malware"
BLOCKED = "blocked"
NOT_ALLOWED = "not-allowed"
MIN_AGE = "min-age"

SDIST, WHEEL = KINDS = ("sdist", "wheel")
_ENDINGS = (".whl", *SDIST_ENDINGS)
_AGE = re.compile(r"([0-9]{1,5})([hdw])", re.ASCII)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Withheld:
    """A file that is withheld, its position on the page, by which rule, and why; `until` is when it will be
    old enough.
    """

    file: File
    position: int
    rule: str
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules say about the files of a page. It holds `until` a time in seconds since the epoch.

    Without `enforced` nothing is withheld: `withheld` has the files that would be. If the project is
    quarantined, `quarantine` says why, and covers files that the page lacks, too.
    """

    enforced: bool
    withheld: tuple[Withheld, ...] = ()
    quarantine: str = ""
    until: float = math.inf
    contact: str = ""

    @property
    def mode(self) -> str:
        """`enforce` or `report`."""
        return _mode(self.enforced)

    @property
    def withholds(self) -> bool:
        """Whether clients lack files of the page."""
        return self.enforced and bool(self.withheld)

    @property
    def counts(self) -> dict[str, int]:
        """How many files each rule withholds, the names of the rules in alphabetical order."""
        return dict(sorted(Counter(each.rule for each in self.withheld).items()))

    @property
    def counts_of_packages(self) -> dict[str, int]:
        """The same without files that are neither wheels nor sdists, such as eggs: clients don't install them
        anyway.
        """
        packages = (each.rule for each in self.withheld if each.file.filename.endswith(_ENDINGS))
        return dict(sorted(Counter(packages).items()))

    @property
    def header(self) -> str:
        """The value of X-PyOCI-Withheld: `3; blocked, min-age`. "" if nothing is withheld."""
        if not self.withholds:
            return ""
        return f"{len(self.withheld)}; {', '.join(self.counts)}"

    def of(self, filename: str, sha256: str) -> Withheld | None:
        """The entry of a file by its name and the beginning of its sha256."""
        for each in self.withheld:
            if each.file.filename == filename and each.file.hashes.get("sha256", "").startswith(sha256):
                return each
        return None

    def sentence(self, filename: str, rule: str, reason: str) -> str:
        """The message to whoever asks for a withheld file."""
        contact = f". {self.contact}" if self.contact else ""
        return f"{filename} is withheld by the rule {rule}: {reason}{contact}"


def age_text(seconds: float) -> str:
    """An age in whole units, as rules have them: `3d`, `5h`."""
    hours = max(int(seconds // 3600), 0)
    return f"{hours // 24}d" if hours >= 48 else f"{hours}h"


@dataclass(frozen=True, slots=True)
class ListEntry:
    """An entry of the block list or the allow list. No `kinds` means wheels and sdists."""

    selectors: Selectors
    kinds: frozenset[str]
    reason: str


@dataclass(frozen=True, slots=True)
class MinAge:
    """How long a file has to be at upstream. `text` is the age as it was configured, `7d`. A file whose
    upload time is unknown is withheld unless `serve_without_time`.
    """

    age: timedelta
    text: str
    serve_without_time: bool = False
    exceptions: Selectors = field(default_factory=Selectors)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `12h`, `7d` or `2w`. Raises ValueError."""
        found = _AGE.fullmatch(text)
        if found is None or not int(found[1]):
            raise ValueError(f"{text[:80]!r} is not an age; expected a number of hours, days or weeks, as 7d")
        return cls(timedelta(**{_UNITS[found[2]]: int(found[1])}), text)


class Report(Protocol):
    """An entry of a database of malware."""

    @property
    def id(self) -> str:
        """`MAL-2026-1234`."""
        ...

    def covers(self, version: Version | None) -> bool | None:
        """Whether a version is malware; None if that isn't known."""
        ...


class Malware(Protocol):
    """A database of malware."""

    def of_project(self, name: str) -> tuple[Report, ...]:
        """The entries of a project, by its normalised name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules. Without `enforced` they only report. `contact` is a sentence that ends each message."""

    enforced: bool = True
    min_age: MinAge | None = None
    block: tuple[ListEntry, ...] = ()
    allow: tuple[ListEntry, ...] = ()
    malware_exceptions: Selectors = field(default_factory=Selectors)
    contact: str = ""

    @property
    def mode(self) -> str:
        """`enforce` or `report`."""
        return _mode(self.enforced)

    def judge(self, page: Page, malware: Malware | None, now: float) -> Judgement:
        """Judge the files of a page at a time in seconds since the epoch."""
        if page.status is not None and page.status.is_quarantined:
            reason = "the upstream package index has quarantined the project"
            if page.status.reason:
                reason += f" ({page.status.reason})"
            withheld = tuple(
                Withheld(file, position, QUARANTINED, reason) for position, file in enumerate(page.files)
            )
            return Judgement(self.enforced, withheld, reason, contact=self.contact)
        judge = _ProjectJudge(self, page.name, malware, datetime.fromtimestamp(now, UTC))
        judged = (judge.judge(file, position) for position, file in enumerate(page.files))
        found = tuple(each for each in judged if each is not None)
        until = min((each.until.timestamp() for each in found if each.until is not None), default=math.inf)
        return Judgement(self.enforced, found, until=until, contact=self.contact)


class _File:
    """A file that is judged."""

    def __init__(self, file: File, project: ProjectName) -> None:
        self.file = file
        self.kind = WHEEL if file.filename.endswith(".whl") else SDIST
        self._project = project

    @cached_property
    def version(self) -> Version | None:
        """The version, as clients find it in the file's name; None if it has none."""
        try:
            return parse_filename(self.file.filename, self._project).version
        except InvalidRequest:
            return None


class _ProjectJudge:
    """The rules for the files of one project."""

    def __init__(self, rules: Rules, name: str, malware: Malware | None, now: datetime) -> None:
        self._rules = rules
        self._project = ProjectName(name)
        self._now = now
        self._reports = malware.of_project(name) if malware is not None else ()
        self._cleared = rules.malware_exceptions.of_project(name)
        self._block = [(entry, entry.selectors.of_project(name)) for entry in rules.block]
        self._allow = [(entry, entry.selectors.of_project(name)) for entry in rules.allow]
        self._old_enough = rules.min_age.exceptions.of_project(name) if rules.min_age is not None else ()

    def judge(self, file: File, position: int) -> Withheld | None:
        """The first rule that withholds a file of a page; None if none does."""
        found = self._rule_for(file)
        return None if found is None else Withheld(file, position, *found)

    def _rule_for(self, file: File) -> tuple[str, str] | tuple[str, str, datetime] | None:
        if "sha256" not in file.hashes:
            return UNVERIFIABLE, "the upstream package index doesn't tell its sha256"
        if not file.filename.endswith(_ENDINGS):
            return UNVERIFIABLE, "it is neither a wheel nor an sdist"
        judged = _File(file, self._project)
        for rule, reason_of in (
            (MALWARE, self._malware),
            (BLOCKED, self._blocked),
            (NOT_ALLOWED, self._not_allowed),
        ):
            reason = reason_of(judged)
            if reason is not None:
                return rule, reason
        return self._too_new(judged)

    def _malware(self, file: _File) -> str | None:
        for report in self._reports:
            covered = report.covers(file.version)
            if covered is not False and not _names(self._cleared, file.version):
                return _unread(f"{report.id} reports it as malware", covered)
        return None

    def _blocked(self, file: _File) -> str | None:
        for entry, selectors in self._block:
            if entry.kinds and file.kind not in entry.kinds:
                continue
            covered = [selector.covers(file.version) for selector in selectors]
            if True in covered:
                return entry.reason
            if None in covered:
                return _unread(entry.reason, None)
        return None

    def _not_allowed(self, file: _File) -> str | None:
        """The reason of an entry that names the project, but not this version or kind of file, if any."""
        if not self._allow:
            return None
        near = []
        for entry, selectors in self._allow:
            if (not entry.kinds or file.kind in entry.kinds) and _names(selectors, file.version):
                return None
            if selectors:
                near.append(entry.reason)
        return near[0] if near else "the project is not on the list of allowed ones"

    def _too_new(self, file: _File) -> tuple[str, str] | tuple[str, str, datetime] | None:
        rule = self._rules.min_age
        if rule is None or (self._old_enough and _names(self._old_enough, file.version)):
            return None
        uploaded = file.file.upload_time
        if uploaded is None:
            if rule.serve_without_time:
                return None
            return MIN_AGE, "the upstream package index doesn't tell when it was uploaded"
        try:
            until = datetime.fromisoformat(uploaded).astimezone(UTC) + rule.age
        except OverflowError:
            return MIN_AGE, "its upload time lies too far in the future"
        if until <= self._now:
            return None
        reason = f"it was uploaded less than {rule.text} ago; from {until:%Y-%m-%dT%H:%M:%SZ} on it is served"
        return MIN_AGE, reason, until


def _mode(enforced: bool) -> str:
    return "enforce" if enforced else "report"


def _names(selectors: Iterable[Selector], version: Version | None) -> bool:
    return any(selector.names(version) for selector in selectors)


def _unread(reason: str, covered: bool | None) -> str:
    """The reason; with a note if the version of the file couldn't be compared."""
    return reason if covered else f"{reason} (for some versions, and this file's version can't be read)"
