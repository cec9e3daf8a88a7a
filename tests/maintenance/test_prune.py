"""Which versions go, by the rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from packaging.version import Version

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from pyoci.maintenance.prune import Rules, parse_age, parse_match, pruned
from pyoci.store.models import PackageFile, ProjectPage

NOW = datetime(2026, 11, 30, tzinfo=UTC)
DAY = timedelta(days=1)


def page(**days: int | None) -> ProjectPage:
    """A project with one wheel for each version, written v1_0, uploaded so many days ago; None: unknown."""
    files = [_file(text[1:].replace("_", "."), age) for text, age in days.items()]
    return ProjectPage(ProjectName.parse("hello"), tuple(sorted(files, key=lambda file: file.version)))


def _file(version: str, age: int | None, yanked: str | None = None) -> PackageFile:
    return PackageFile(
        distribution=parse_filename(f"hello-{version}-py3-none-any.whl"),
        sha256="0" * 64,
        size=100,
        upload_time=None if age is None else NOW - age * DAY,
        yanked=yanked,
    )


def gone(project: ProjectPage, **rules: object) -> list[str]:
    return [str(each.version) for each in pruned(project, Rules(**rules), NOW)]  # type: ignore[arg-type]


class TestRules:
    def test_keep_counts_versions(self) -> None:
        """By PEP 440 and not by time: 10.0 is newer than 9.0."""
        assert gone(page(v9_0=1, v10_0=5, v8_0=0), keep=2) == ["8.0"]

    def test_keep_newer(self) -> None:
        assert gone(page(v1_0=91, v2_0=89, v3_0=1), keep_newer=90 * DAY) == ["1.0"]

    def test_unknown_time_is_new(self) -> None:
        assert gone(page(v1_0=None, v2_0=1), keep_newer=90 * DAY) == []

    def test_match(self) -> None:
        """A version goes only if the expression fits; the keep rules hold it all the same."""
        project = page(v1_0=9, v1_1rc1=9, v1_1_dev3=9, v2_0_dev1=0)
        assert gone(project, match=re.compile("dev|rc")) == ["1.1.dev3", "1.1rc1", "2.0.dev1"]
        assert gone(project, match=re.compile("dev|rc"), keep=1) == ["1.1.dev3", "1.1rc1"]
        assert gone(project, match=re.compile("dev|rc"), keep_newer=DAY) == ["1.1.dev3", "1.1rc1"]

    def test_each_rule_keeps(self) -> None:
        """What either rule keeps stays."""
        assert gone(page(v1_0=9, v2_0=0, v3_0=9), keep=1, keep_newer=DAY) == ["1.0"]

    def test_locked_versions_stay(self) -> None:
        locked = {"hello": frozenset({Version("1.0.0")}), "other": frozenset({Version("2.0")})}
        assert gone(page(v1_0=9, v2_0=9, v3_0=9), keep=1, locked=locked) == ["2.0"]


class TestNewestFinal:
    def test_stays_whatever_the_rules(self) -> None:
        assert gone(page(v1_0=99, v2_0=98, v3_0rc1=97), keep=0) == ["1.0", "3.0rc1"]

    def test_yanked_is_not_it(self) -> None:
        """A release that nobody installs doesn't protect the project."""
        files = (_file("1.0", 9), _file("2.0", 8, yanked="broken"))
        project = ProjectPage(ProjectName.parse("hello"), files)
        assert gone(project, keep=0) == ["2.0"]

    def test_all_are_yanked(self) -> None:
        files = (_file("1.0", 9, yanked=""), _file("2.0", 8, yanked=""))
        assert gone(ProjectPage(ProjectName.parse("hello"), files), keep=0) == ["1.0"]

    def test_only_pre_releases(self) -> None:
        """There is no final one to keep: the rules decide."""
        assert gone(page(v1_0rc1=9, v1_0rc2=8), keep=1) == ["1.0rc1"]


def test_size_of_what_goes() -> None:
    (first, *_) = pruned(page(v1_0=9, v2_0=8), Rules(keep=1), NOW)
    assert (first.project, first.size) == ("hello", 100)


@pytest.mark.parametrize(
    ("text", "age"), [("90d", 90 * DAY), ("12h", DAY / 2), ("8W", 56 * DAY), ("0s", 0 * DAY)]
)
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "1y", "9" * 9 + "d"])
def test_bad_ages(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an age; expected a number and a unit, like 90d"):
        parse_age(text)


def test_bad_expression() -> None:
    with pytest.raises(InvalidRequest, match="is not a regular expression"):
        parse_match("(dev")
