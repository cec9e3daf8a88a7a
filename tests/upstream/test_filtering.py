"""Upstream's pages without withheld files: when they are judged again, and what is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from pyoci.events import Events
from pyoci.simple_api.model import File
from pyoci.simple_api.verbatim import VerbatimFiles, packed, recognize
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.filtering import FilteredUpstream
from pyoci.upstream.rules import MinAge
from pyoci.upstream.rules_file import Circumstances, RulesFile
from tests.clock import Clock
from tests.upstream_pages import make_upstream_file, make_upstream_page

OLD = make_upstream_file("flask-3.0-py3-none-any.whl", upload_time="2026-01-01T00:00:00Z")
NEW = make_upstream_file("flask-3.1-py3-none-any.whl", upload_time="2026-11-30T00:00:00Z")
MORE = make_upstream_file("flask-3.0.tar.gz", upload_time="2026-11-30T00:00:00Z")


class Pages:
    """Upstream with one page."""

    def __init__(self) -> None:
        versions = ("3.0", "3.1")
        self.shown = make_upstream_page("flask", OLD, NEW, MORE, versions=versions, until=5000.0)

    def page(self, name: str, *, fresh: bool = False) -> UpstreamPage:
        return self.shown


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def now() -> Clock:
    return Clock(datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text("")
    return path


@pytest.fixture
def upstream(pages: Pages, now: Clock, told: list[Any], path: Path) -> FilteredUpstream:
    events = Events(
        lambda event, **facts: told.append((event, facts.get("project"), facts.get("rules"))),
        count=lambda *values, amount=1: told.append((*values, amount)),
    )
    rules = RulesFile(path, Circumstances(min_age=MinAge.parse("7d")), events)
    return FilteredUpstream(pages, rules, events=events, clock=Clock(1000.0), now=now)


def test_withheld_files_are_not_on_the_page(upstream: FilteredUpstream) -> None:
    """Nor are versions that have no others. The page has a fingerprint of its own."""
    page = upstream.page("flask")
    assert page.files == (OLD,)
    assert page.versions == ("3.0",)
    assert page.fingerprint not in {"flask", ""}
    assert page.judgement is not None
    assert page.judgement.header == "2; min-age"


class ReadEachTime(Sequence[File]):
    """Files that are other objects with each look at them."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        return self._files[index]._replace()


def test_files_that_are_read_each_time(upstream: FilteredUpstream, pages: Pages) -> None:
    """A page of JSON that is passed on keeps its files only for a while."""
    pages.shown = replace(pages.shown, files=ReadEachTime((OLD, NEW, MORE)))
    assert upstream.page("flask").files == (OLD,)


def test_a_page_is_valid_until_a_file_is_old_enough(
    upstream: FilteredUpstream, pages: Pages, now: Clock
) -> None:
    """It is then judged again, although upstream's page is the same."""
    assert upstream.page("flask").until == 5000.0  # by the monotonic clock, which is at 1000
    pages.shown = replace(pages.shown, until=float("inf"))
    first = upstream.page("flask")
    seconds = 6.5 * 86400
    assert first.until == 1000.0 + seconds
    now.now += seconds
    later = upstream.page("flask")
    assert later.files == (OLD, NEW, MORE)
    assert later.versions == ("3.0", "3.1")
    assert later.fingerprint == "flask"
    assert later.until == float("inf")


def test_a_page_that_reads_its_files_each_time(upstream: FilteredUpstream, pages: Pages, path: Path) -> None:
    """It is too large to be kept in parts. The same is withheld, and without that the page is passed on
    as it was sent.
    """
    count = 25_000
    files = [
        {
            "filename": f"flask-{number}.0.tar.gz",
            "hashes": {"sha256": "ab" * 32},
            "upload-time": f"2026-{'11-30' if number < 3 else '01-01'}T00:00:00Z",
            "url": "https://files.example/flask.tar.gz",
        }
        for number in range(count)
    ]
    versions = [f"{number}.0" for number in range(count)]
    document = {"meta": {"api-version": "1.4"}, "name": "flask", "files": files, "versions": versions}
    body = json.dumps(document).encode()
    about = recognize(document, body, "flask")
    assert about is not None
    sent = VerbatimFiles.of(packed(body), about)
    assert sent[0] is not sent[0]
    pages.shown = UpstreamPage.verbatim("flask", sent)

    page = upstream.page("flask")
    assert len(page.files) == count - 3
    assert page.files[0].filename == "flask-3.0.tar.gz"
    path.write_text('mode = "report"')
    assert upstream.page("flask").files is sent


def test_rules_that_change(upstream: FilteredUpstream, path: Path) -> None:
    """The page changes, and its fingerprint and the version of the rules with it."""
    first, version = upstream.page("flask"), upstream.version()
    path.write_text('[min-age]\nage = "7d"\nexcept = ["flask==3.1"]')
    assert upstream.version() != version
    second = upstream.page("flask")
    assert second.files == (OLD, NEW)
    assert second.fingerprint != first.fingerprint
    path.write_text('mode = "report"')
    third = upstream.page("flask")
    assert (third.files, third.fingerprint) == ((OLD, NEW, MORE), "flask")
    assert third.judgement is not None
    assert len(third.judgement.withheld) == 2


def test_a_page_that_changes(upstream: FilteredUpstream, pages: Pages) -> None:
    """A file that was uploaded this moment isn't served because the page was judged before."""
    upstream.page("flask")
    newest = make_upstream_file("flask-3.2-py3-none-any.whl", upload_time="2026-11-30T11:59:59Z")
    pages.shown = replace(pages.shown, files=(OLD, NEW, MORE, newest), fingerprint="other")
    assert upstream.page("flask").files == (OLD,)
    pages.shown = replace(pages.shown, files=(newest,), fingerprint="")  # unknown: judged each time
    assert upstream.page("flask").files == ()
    pages.shown = replace(pages.shown, files=(OLD,))
    assert upstream.page("flask").files == (OLD,)


def test_a_page_is_judged_once(upstream: FilteredUpstream, told: list[Any]) -> None:
    """One line in the log, with counts, however many files are withheld and however often it is asked for."""
    for _ in range(5):
        upstream.page("flask")
    assert told == [
        ("withheld", "min-age", "enforce", "page", 2),
        ("files withheld", "flask", "min-age: 2"),
    ]


def test_a_version_has_its_own_withheld_files(upstream: FilteredUpstream) -> None:
    """The page of a version whose files are all withheld has none, and says so."""
    page = upstream.page("flask")
    for version, files, header in (("3.0", (OLD,), "1; min-age"), ("3.1", (), "1; min-age")):
        found = page.of_version(Version(version))
        assert found.judgement is not None
        assert (found.files, found.judgement.header) == (files, header)
