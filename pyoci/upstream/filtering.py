"""FilteredUpstream: upstream's pages without the files that the rules withhold."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from cachetools import LRUCache

from pyoci.distributions.filenames import read_version
from pyoci.events import Events
from pyoci.simple_api.model import Page, version_of
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.rules import Judgement, Malware
from pyoci.upstream.rules_file import RulesFile

_JUDGED = 50_000  # files on all pages that are remembered, as far as they differ from upstream's


class Pages(Protocol):
    """Another package index."""

    def page(self, name: str, *, fresh: bool = False) -> UpstreamPage:
        """The page of a project."""
        ...


class MalwareSource(Malware, Protocol):
    """A database of malware that changes."""

    @property
    def projects(self) -> int:
        """How many projects have entries."""
        ...

    @property
    def version(self) -> int:
        """Differs after each change."""
        ...

    def age(self, now: float) -> str | None:
        """How long ago it was changed, `3d`, if that is known."""
        ...


@dataclass(frozen=True, slots=True)
class _Judged:
    """A page as it was judged: of upstream's page with this fingerprint, by the rules of this version."""

    fingerprint: str
    version: tuple[int, int]
    page: UpstreamPage
    judgement: Judgement


class FilteredUpstream:
    """Upstream, as the rules allow it. One for the process.

    A page has to be judged again when it, or the rules, have changed, and when one of its files becomes old
    enough. Each judgement is counted, and logged with the number of files that each rule withholds.
    """

    def __init__(
        self,
        pages: Pages,
        rules: RulesFile,
        malware: MalwareSource | None = None,
        *,
        events: Events | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pages, self._rules, self._malware = pages, rules, malware
        self._events = events or Events()
        self._clock, self._now = clock, now
        self._guard = threading.Lock()
        self._judged: LRUCache[str, _Judged] = LRUCache(
            _JUDGED,
            getsizeof=lambda judged: len(judged.page.files) + 10 if judged.judgement.withholds else 10,
        )

    def log_rules(self, host: str) -> None:
        """Log what is in force: of the upstream at `host`, how old the file of rules is, and the
        database.
        """
        malware, now = self._malware, self._now()
        self._events.info(
            "upstream",
            "rules are in force",
            mode=self._rules.current()[0].mode,
            malware=malware.projects if malware is not None else None,
            upstream=host,
            rules_age=self._rules.age(now),
            malware_age=malware.age(now) if malware is not None else None,
        )

    def version(self) -> tuple[int, int]:
        """Differs after each change of the rules, or of the database of malware."""
        return self._rules.current()[1], self._malware_version()

    def _malware_version(self) -> int:
        return 0 if self._malware is None else self._malware.version

    def page(self, name: str, *, fresh: bool = False) -> UpstreamPage:
        """The page of a project, without the files that are withheld. Raises what `pages` raises."""
        page = self._pages.page(name, fresh=fresh)
        now = self._now()
        judged = self._judge(page, now)
        seconds = judged.judgement.until - now
        return replace(
            page,
            files=judged.page.files,
            versions=judged.page.versions,
            fingerprint=judged.page.fingerprint,
            judgement=judged.judgement,
            until=min(page.until, self._clock() + seconds),
        )

    def judge(self, page: Page) -> Judgement:
        """What the rules say now about copies of upstream's files."""
        self.version()  # has what changed read again
        judgement = self._rules.current()[0].judge(page, self._malware, self._now())
        self._report(page.name, judgement)
        return judgement

    def _judge(self, page: UpstreamPage, now: float) -> _Judged:
        rules, number = self._rules.current()
        version = number, self._malware_version()
        with self._guard:
            known = self._judged.get(page.name)
        if (
            known is not None
            and page.fingerprint
            and known.fingerprint == page.fingerprint
            and known.version == version
            and now < known.judgement.until
        ):
            return known
        # A page that is passed on as it was sent may read its files anew each time: judge these.
        read = replace(page, files=tuple(page.files))
        judgement = rules.judge(read, self._malware, now)
        self._report(page.name, judgement)
        shown = filtered(read, judgement)
        if shown.files is read.files:
            shown = replace(shown, files=page.files)
        judged = _Judged(page.fingerprint, version, shown, judgement)
        with self._guard:
            self._judged.pop(page.name, None)
            if self._judged.getsizeof(judged) <= _JUDGED:
                self._judged[page.name] = judged
        return judged

    def _report(self, name: str, judgement: Judgement) -> None:
        if not judgement.withheld:
            return
        counts = judgement.counts
        for rule, count in counts.items():
            self._events.count("withheld", rule, judgement.mode, "page", amount=count)
        rules = ", ".join(f"{rule}: {count}" for rule, count in counts.items())
        event = "files withheld" if judgement.enforced else "files would be withheld"
        self._events.info("upstream", event, project=name, files=len(judgement.withheld), rules=rules)


def filtered(page: UpstreamPage, judgement: Judgement) -> UpstreamPage:
    """The page without the files that are withheld, and without the versions that have no others."""
    if not judgement.withholds:
        return replace(page, judgement=judgement)
    withheld = {each.position for each in judgement.withheld}
    files = tuple(file for position, file in enumerate(page.files) if position not in withheld)
    gone = {version_of(each.file) for each in judgement.withheld} - {version_of(file) for file in files}
    lost = gone - {None}
    identity = [page.fingerprint, *(f"{each.file.filename} {each.rule}" for each in judgement.withheld)]
    return replace(
        page,
        files=files,
        versions=tuple(text for text in page.versions if read_version(text) not in lost),
        fingerprint=page.fingerprint and hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32],
        judgement=judgement,
    )
