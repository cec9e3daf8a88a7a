"""Rules: which files of a page are withheld, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pyoci.distributions.selectors import Selector, Selectors
from pyoci.simple_api.model import File, ProjectStatus
from pyoci.upstream.osv_dump import OsvDump
from pyoci.upstream.rules import Judgement, ListEntry, MinAge, Rules
from tests.upstream.test_osv_dump import ALL, affected, write
from tests.upstream_pages import make_upstream_file, make_upstream_page

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
WHEEL, SDIST = "flask-3.1.0-py3-none-any.whl", "flask-3.1.0.tar.gz"
OLD = "2026-01-02T03:04:05Z"
THIS_MORNING = "2026-11-30T08:00:00Z"


def judge(rules: Rules, *files: File, name: str = "flask", now: float = NOW, **page: Any) -> Judgement:
    return rules.judge(make_upstream_page(name, *files, **page), None, now)


def rules_of(judgement: Judgement) -> list[str]:
    return [each.rule for each in judgement.withheld]


def selectors(*texts: str) -> Selectors:
    return Selectors.of(map(Selector.parse, texts))


def entry(*texts: str, kinds: tuple[str, ...] = (), reason: str = "not here") -> ListEntry:
    return ListEntry(selectors(*texts), frozenset(kinds), reason)


class TestMinAge:
    WEEK = MinAge.parse("7d")

    @pytest.mark.parametrize(
        ("uploaded", "withheld"),
        [
            (OLD, False),
            (THIS_MORNING, True),
            ("2026-11-23T12:00:00Z", False),
            ("2026-11-23T12:00:00.000001Z", True),
            ("2026-11-23T13:00:00+01:00", False),
            ("2026-11-23T11:30:00-01:00", True),
            ("2027-01-01T00:00:00Z", True),
            ("9999-12-31T23:59:59Z", True),
            (None, True),
        ],
    )
    def test_by_upload_time(self, uploaded: str | None, withheld: bool) -> None:
        """To the microsecond, in any time zone. Files from the future, or without a time, are withheld."""
        judgement = judge(Rules(min_age=self.WEEK), make_upstream_file(upload_time=uploaded))
        assert rules_of(judgement) == ["min-age"] * withheld

    def test_each_file_has_its_own_age(self) -> None:
        """A takeover adds a file to an old version this morning."""
        old = make_upstream_file(SDIST, upload_time=OLD)
        new = make_upstream_file(upload_time=THIS_MORNING)
        [withheld] = judge(Rules(min_age=self.WEEK), old, new).withheld
        assert withheld.file is new
        assert withheld.reason == (
            "it was uploaded less than 7d ago; from 2026-12-07T08:00:00Z on it is served"
        )

    def test_the_judgement_ends_when_the_next_file_is_old_enough(self) -> None:
        """Then the page is judged again."""
        times = ("2026-11-30T08:00:00Z", "2026-11-29T08:00:00Z", OLD)
        files = [make_upstream_file(upload_time=time) for time in times]
        rules = Rules(min_age=self.WEEK)
        judgement = judge(rules, *files)
        assert judgement.until == datetime(2026, 12, 6, 8, tzinfo=UTC).timestamp()
        assert judge(rules, *files, now=judgement.until).header == "1; min-age"
        assert judge(rules, *files, now=judgement.until - 0.001).header == "2; min-age"

    @pytest.mark.parametrize(
        ("exception", "withheld"),
        [("flask", 0), ("fl*", 0), ("flask==3.1.0", 0), ("flask==3.1", 0), ("flask==3.0", 1), ("django", 1)],
    )
    def test_exceptions(self, exception: str, withheld: int) -> None:
        """By name, by pattern, and by version, for security fixes. Files without a time, too."""
        age = MinAge(self.WEEK.age, "7d", exceptions=selectors(exception))
        for time in (THIS_MORNING, None):
            judgement = judge(Rules(min_age=age), make_upstream_file(upload_time=time))
            assert len(judgement.withheld) == withheld

    def test_files_without_a_time_may_be_served(self) -> None:
        """If the rule says so. HTML of upstream has no upload times."""
        age = MinAge(self.WEEK.age, "7d", serve_without_time=True)
        files = (make_upstream_file(upload_time=None), make_upstream_file(SDIST, upload_time=THIS_MORNING))
        [withheld] = judge(Rules(min_age=age), *files).withheld
        assert withheld.file.filename == SDIST

    @pytest.mark.parametrize("text", ["", "7", "0d", "7 days", "-1d", "1.5d", "999999d"])
    def test_not_an_age(self, text: str) -> None:
        """The message says what was expected."""
        with pytest.raises(ValueError, match="expected a number of hours, days or weeks, as 7d"):
            MinAge.parse(text)


class TestBlock:
    @pytest.mark.parametrize(
        ("blocked", "filename", "withheld"),
        [
            (entry("flask"), WHEEL, True),
            (entry("fla*"), WHEEL, True),
            (entry("django", "flask<3"), WHEEL, False),
            (entry("flask<3.2"), WHEEL, True),
            (entry("*", kinds=("sdist",)), WHEEL, False),
            (entry("*", kinds=("sdist",)), SDIST, True),
            (entry("flask>=3", kinds=("wheel",)), WHEEL, True),
            (entry("flask<2"), "flask-1.0-2.tar.gz", True),  # 1.0.post2 for pip, which knows the name
            (entry("flask<2"), "flask-what-2.5.tar.gz", False),
            (entry("flask<2"), "flask-what.tar.gz", True),
            (entry("flask"), "flask-what.tar.gz", True),
            (entry("django<2"), "flask-what.tar.gz", False),
        ],
    )
    def test_by_name_version_and_kind(self, blocked: ListEntry, filename: str, withheld: bool) -> None:
        """A file whose version can't be read is withheld if the entry is for some versions of its project."""
        judgement = judge(Rules(block=(blocked,)), make_upstream_file(filename))
        assert rules_of(judgement) == ["blocked"] * withheld

    def test_people_are_shown_the_reason(self) -> None:
        """With whom to ask, if the rules name somebody."""
        rules = Rules(block=(entry("flask", reason="We use quart"),), contact="Ask security@example.com")
        judgement = judge(rules, make_upstream_file())
        [withheld] = judgement.withheld
        assert judgement.sentence(WHEEL, withheld.rule, withheld.reason) == (
            f"{WHEEL} is withheld by the rule blocked: We use quart. Ask security@example.com"
        )


class TestAllow:
    @pytest.mark.parametrize(
        ("allowed", "filename", "withheld"),
        [
            (entry("flask"), WHEEL, False),
            (entry("flask>=3"), WHEEL, False),
            (entry("flask>=3.2"), WHEEL, True),
            (entry("*", kinds=("wheel",)), SDIST, True),
            (entry("django"), WHEEL, True),
            (entry("flask>=3"), "flask-what.tar.gz", True),
            (entry("flask==3.1.0"), "flask-3.1.0+evil-py3-none-any.whl", True),
        ],
    )
    def test_what_no_entry_covers_is_withheld(
        self, allowed: ListEntry, filename: str, withheld: bool
    ) -> None:
        """So is what can't be judged."""
        judgement = judge(Rules(allow=(allowed,)), make_upstream_file(filename))
        assert rules_of(judgement) == ["not-allowed"] * withheld

    def test_the_reason(self) -> None:
        """It is that of an entry for the project, if there is one."""
        rules = Rules(allow=(entry("numpy"), entry("flask>=4", reason="Flask from 4 on")))
        assert judge(rules, make_upstream_file()).withheld[0].reason == "Flask from 4 on"
        [withheld] = judge(rules, make_upstream_file("django-1.0.tar.gz"), name="django").withheld
        assert withheld.reason == "the project is not on the list of allowed ones"

    def test_block_comes_first(self) -> None:
        """What is both allowed and blocked is blocked."""
        rules = Rules(allow=(entry("*"),), block=(entry("flask"),))
        assert rules_of(judge(rules, make_upstream_file())) == ["blocked"]


@pytest.mark.parametrize(
    "file",
    [
        make_upstream_file(hashes={}),
        make_upstream_file(hashes={"md5": "ab" * 16}),
        make_upstream_file("flask-3.1.0-py2.6.egg"),
        make_upstream_file("flask-3.1.0.win32.exe"),
    ],
    ids=["no hash", "md5", "egg", "installer"],
)
def test_files_that_do_not_come_through_this_server(file: File) -> None:
    """Their URLs lead elsewhere, where no rule holds."""
    assert rules_of(judge(Rules(), file)) == ["unverifiable"]


def test_a_quarantined_project_offers_nothing() -> None:
    """Whatever is allowed, and also files that its page lacks."""
    rules = Rules(allow=(entry("*"),))
    files = (make_upstream_file(), make_upstream_file(SDIST))
    judgement = judge(rules, *files, status=ProjectStatus("quarantined", "taken over"))
    assert judgement.header == "2; quarantined"
    assert judgement.quarantine == "the upstream package index has quarantined the project (taken over)"
    for status in ("active", "archived", "deprecated"):
        assert not judge(rules, *files, status=ProjectStatus(status)).withheld


def test_yanked_files_are_served() -> None:
    """They stay marked as yanked; clients know what to do."""
    file = make_upstream_file(upload_time=OLD, yanked="broken")
    assert not judge(Rules(min_age=MinAge.parse("7d")), file).withheld


def test_the_header_is_short() -> None:
    """Proxies have small buffers for headers: it has a count, and each rule's name once."""
    files = [make_upstream_file(hashes={})] * 20_000 + [make_upstream_file(SDIST)] * 3
    rules = Rules(min_age=MinAge.parse("7d"))
    assert judge(rules, *files).header == "20003; min-age, unverifiable"


def test_a_report_withholds_nothing() -> None:
    """It lists what would be withheld."""
    judgement = judge(Rules(enforced=False, block=(entry("*"),)), make_upstream_file())
    assert (judgement.header, rules_of(judgement)) == ("", ["blocked"])


class TestMalware:
    @pytest.fixture
    def dump(self, tmp_path: Path) -> OsvDump:
        write(tmp_path, "MAL-2026-1", affected("flask", versions=["3.1.0"]))
        write(tmp_path, "MAL-2026-2", affected("evil", **ALL))
        return OsvDump(tmp_path)

    @pytest.mark.parametrize(
        ("filename", "reason"),
        [
            (WHEEL, "MAL-2026-1 reports it as malware"),
            (SDIST, "MAL-2026-1 reports it as malware"),
            ("flask-3.0.0.tar.gz", None),
            (
                "flask-what.tar.gz",
                "MAL-2026-1 reports it as malware (for some versions, and this file's version can't be read)",
            ),
        ],
    )
    def test_by_version(self, dump: OsvDump, filename: str, reason: str | None) -> None:
        """A file that can't be compared is withheld."""
        page = make_upstream_page("flask", make_upstream_file(filename))
        withheld = Rules().judge(page, dump, NOW).withheld
        assert [(each.rule, each.reason) for each in withheld] == [("malware", reason)] * bool(reason)

    def test_whatever_else_is_allowed(self, dump: OsvDump) -> None:
        """Malware comes before other rules. An exception is for what was reported wrongly."""
        page = make_upstream_page("evil", make_upstream_file("evil-1.0.tar.gz", upload_time=THIS_MORNING))
        rules = Rules(allow=(entry("evil"),), block=(entry("evil"),))
        assert rules_of(rules.judge(page, dump, NOW)) == ["malware"]
        for exception, rule in (("evil==1.0", "min-age"), ("evil==2.0", "malware"), ("ev*", "min-age")):
            rules = Rules(malware_exceptions=selectors(exception), min_age=MinAge.parse("7d"))
            assert rules_of(rules.judge(page, dump, NOW)) == [rule]
