"""Pages and roots as bytes, parsed by pypi-simple, by hatch's regex, and by an HTML parser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypi_simple import IndexPage as OracleRoot
from pypi_simple import ProjectPage as OraclePage

from pyoci.distributions.names import ProjectName
from pyoci.simple_api.model import timestamp
from pyoci.store.models import PackageFile, ProjectPage
from pyoci.web.negotiation import Representation
from pyoci.web.rendering import WrittenFiles, render_page, render_root
from tests.web.doubles import make_file, make_page

BASE = "https://packages.example/ghcr.io/acme/hello-world/"
SHA = "ab" * 32


def as_json(page: ProjectPage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_page(page, Representation.JSON))
    return document


def as_html(page: ProjectPage) -> str:
    return render_page(page, Representation.HTML).decode()


def by_json(page: ProjectPage) -> OraclePage:
    return OraclePage.from_json_data(as_json(page), BASE)


def by_html(page: ProjectPage) -> OraclePage:
    return OraclePage.from_html("hello-world", as_html(page), BASE)


class Links(HTMLParser):
    """The attributes of each link, and all other markup."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            self.links.append(dict(attrs))


class TestJson:
    """Version 1.4 in JSON."""

    def test_all_that_is_known(self) -> None:
        """A file with every field has every key, and the page has the required ones."""
        file = make_file(requires_python=">=3.9,<4", core_metadata=SHA, yanked="broken")
        assert as_json(make_page(file)) == {
            "meta": {"api-version": "1.4"},
            "name": "hello-world",
            "versions": ["1.0"],
            "files": [
                {
                    "filename": file.filename,
                    "url": f"+{file.sha256[:16]}/{file.filename}",
                    "hashes": {"sha256": file.sha256},
                    "size": 1234,
                    "upload-time": "2026-11-20T08:15:30.000000Z",
                    "requires-python": ">=3.9,<4",
                    "core-metadata": {"sha256": SHA},
                    "yanked": "broken",
                }
            ],
        }

    def test_unknown_fields_have_no_key(self) -> None:
        """uv rejects a whole page for one null."""
        file = make_file(size=None, upload_time=None, requires_python="")
        (entry,) = as_json(make_page(file))["files"]
        assert set(entry) == {"filename", "url", "hashes"}

    def test_yanked_without_a_reason(self) -> None:
        """It is true (PEP 691), because a reason is never empty."""
        assert as_json(make_page(make_file(yanked="")))["files"][0]["yanked"] is True

    def test_versions(self) -> None:
        """Every version that has a file, once, in the order of the page."""
        names = ["hello_world-1.0.zip", "hello_world-1.0.tar.gz", "hello_world-1!2.0+cu121.zip"]
        page = make_page(*(make_file(name) for name in names))
        assert as_json(page)["versions"] == ["1.0", "1!2.0+cu121"]

    def test_empty(self) -> None:
        """A repository exists even without versions."""
        assert as_json(make_page())["files"] == []


class TestHtml:
    """Version 1.4 in HTML."""

    def test_all_that_is_known(self) -> None:
        """Each link has the attributes that installers read, including size and time for uv."""
        file = make_file(requires_python=">=3.9", core_metadata=SHA, yanked="broken")
        (link,) = Links(as_html(make_page(file))).links
        assert link == {
            "href": f"+{file.sha256[:16]}/{file.filename}#sha256={file.sha256}",
            "data-requires-python": ">=3.9",
            "data-core-metadata": f"sha256={SHA}",
            "data-dist-info-metadata": f"sha256={SHA}",
            "data-yanked": "broken",
            "data-size": "1234",
            "data-upload-time": "2026-11-20T08:15:30.000000Z",
        }

    def test_nothing_known(self) -> None:
        """A file without further fields has a link with the hash."""
        file = make_file(size=None, upload_time=None)
        (link,) = Links(as_html(make_page(file))).links
        assert set(link) == {"href"}

    def test_yanked_without_a_reason(self) -> None:
        """An empty attribute (PEP 592)."""
        (link,) = Links(as_html(make_page(make_file(yanked="")))).links
        assert link["data-yanked"] == ""

    def test_epochs_and_local_versions(self) -> None:
        """`!` and `+` are encoded in the link, and not in its text."""
        file = make_file("hello_world-1!2.0+cu121-py3-none-any.whl")
        html = as_html(make_page(file))
        link = f"+{file.sha256[:16]}/hello_world-1%212.0%2Bcu121-py3-none-any.whl"
        assert f'href="{link}#sha256=' in html
        assert ">hello_world-1!2.0+cu121-py3-none-any.whl</a>" in html

    def test_hatch(self) -> None:
        """hatch parses links with a regex: each needs an attribute, and no ">" inside one."""
        file = make_file(requires_python=">=3.9", yanked="a > b")
        assert re.findall(r"<a [^>]+>([^<]+)</a>", as_html(make_page(file))) == [file.filename]

    def test_version_of_the_api(self) -> None:
        """PEP 629."""
        html = as_html(make_page())
        assert '<meta name="pypi:repository-version" content="1.4">' in html
        assert html.startswith("<!DOCTYPE html>")


class TestRoot:
    """The list of projects."""

    NAMES = tuple(ProjectName.parse(name) for name in ("a", "hello-world", "zope-interface"))

    def test_json(self) -> None:
        """pypi-simple parses the names."""
        data = json.loads(render_root(self.NAMES, Representation.JSON))
        assert OracleRoot.from_json_data(data).projects == ["a", "hello-world", "zope-interface"]

    def test_html(self) -> None:
        """poetry uses the link, undecoded, as the name."""
        html = render_root(self.NAMES, Representation.HTML).decode()
        assert OracleRoot.from_html(html).projects == ["a", "hello-world", "zope-interface"]
        assert [link["href"] for link in Links(html).links] == ["a/", "hello-world/", "zope-interface/"]


# What other implementations may have written into annotations: anything but what no XML or HTML can hold.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
FILENAMES = st.sampled_from(
    ["hello_world-1.0-py3-none-any.whl", "hello-world-1.0.tar.gz", "hello_world-1!2+a.1-py3-none-any.whl"]
)
FILES = st.builds(
    make_file,
    FILENAMES,
    size=st.none() | st.integers(0, 10**12),
    upload_time=st.none() | st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)),  # noqa: DTZ001
    requires_python=st.none() | TEXTS,
    core_metadata=st.none() | st.just(SHA),
    yanked=st.none() | st.just("") | TEXTS,
)


@given(st.lists(FILES, max_size=4))
def test_oracle_reads_json(files: list[PackageFile]) -> None:
    """pypi-simple parses the same values that the store had."""
    page = make_page(*files)
    packages = by_json(page).packages
    assert [(p.filename, p.digests, p.size) for p in packages] == [
        (f.filename, {"sha256": f.sha256}, f.size) for f in files
    ]
    assert [(p.requires_python, p.upload_time) for p in packages] == [
        (f.requires_python, f.upload_time) for f in files
    ]
    assert [(p.is_yanked, p.yanked_reason or "") for p in packages] == [
        (f.yanked is not None, f.yanked or "") for f in files
    ]
    assert [p.metadata_digests for p in packages] == [
        f.core_metadata and {"sha256": f.core_metadata} for f in files
    ]


@given(st.lists(FILES, max_size=4))
def test_html_and_json_agree(files: list[PackageFile]) -> None:
    """In everything that both formats have."""
    page = make_page(*files)

    def facts(oracle: OraclePage) -> list[tuple[Any, ...]]:
        return [
            (
                p.filename,
                p.url,
                p.digests,
                p.requires_python,
                p.is_yanked,
                p.yanked_reason or "",
                p.metadata_digests,
            )
            for p in oracle.packages
        ]

    assert facts(by_html(page)) == facts(by_json(page))
    assert by_html(page).repository_version == by_json(page).repository_version == "1.4"


@given(st.lists(FILES | st.builds(make_file, yanked=st.text(), requires_python=st.text()), max_size=4))
def test_nothing_becomes_markup(files: list[PackageFile]) -> None:
    """Whatever a reason contains, the page has only links, and hatch finds each."""
    html = as_html(make_page(*files))
    parsed = Links(html)
    assert parsed.tags <= {"html", "head", "meta", "title", "body", "h1", "a", "br"}
    assert len(parsed.links) == len(files)
    assert re.findall(r"<a [^>]+>([^<]+)</a>", html) == [file.filename for file in files]
    assert {name for link in parsed.links for name in link} <= {
        "href",
        "data-requires-python",
        "data-core-metadata",
        "data-dist-info-metadata",
        "data-yanked",
        "data-size",
        "data-upload-time",
    }


@given(st.text(), st.text())
def test_any_text_is_written(yanked: str, requires_python: str) -> None:
    """Control characters and lone surrogates, which registries may have, don't prevent a page."""
    page = make_page(make_file(yanked=yanked, requires_python=requires_python))
    (entry,) = as_json(page)["files"]
    assert (entry["yanked"] or True) == (yanked or True)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", as_html(page))


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        pytest.param(
            datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC), "2026-11-20T08:15:30.000000Z", id="seconds"
        ),
        pytest.param(datetime(2026, 11, 20, 8, 15, 30, 5, UTC), "2026-11-20T08:15:30.000005Z", id="micros"),
        pytest.param(
            datetime(2026, 11, 20, 8, 15, 30, tzinfo=timezone(timedelta(hours=2))),
            "2026-11-20T06:15:30.000000Z",
            id="another zone",
        ),
    ],
)
def test_times(moment: datetime, text: str) -> None:
    """Times are in UTC, with microseconds and a Z."""
    assert timestamp(moment) == text


def test_surrogates() -> None:
    """A lone surrogate from a registry's JSON can be sent in both formats."""
    page = make_page(make_file(yanked="a\ud800b"))
    assert b'"yanked":"a\\ud800b"' in render_page(page, Representation.JSON)
    assert b'data-yanked="a b"' in render_page(page, Representation.HTML)


MANY = tuple(
    make_file(f"hello_world-1.{version}-{tag}-none-any.whl")
    for version in range(500)
    for tag in ("py2", "py3")
)


class Writing:
    """Writes files as their names, and remembers which."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, files: Iterable[PackageFile]) -> bytes:
        names = [file.filename for file in files]
        self.names += names
        return " ".join(names).encode()


def names(files: Iterable[PackageFile]) -> list[str]:
    return [file.filename for file in files]


CHANGED = [
    pytest.param((), [], id="nothing"),
    pytest.param((7, replace(MANY[7], yanked="broken")), [6, 7], id="one file"),
    pytest.param((7, replace(MANY[7], sha256=SHA)), [6, 7], id="the bytes of one file"),
    pytest.param((6, None), [7], id="one file is gone"),
]


class TestWrittenFiles:
    @pytest.mark.parametrize(("change", "written"), CHANGED)
    def test_only_changed_versions_are_written(
        self, change: tuple[int, PackageFile | None] | tuple[()], written: list[int]
    ) -> None:
        """Of the files that were written before, only those of a changed version are written again."""
        kept, write = WrittenFiles(), Writing()
        assert b" ".join(kept.pieces("page", MANY, write)).decode().split() == names(MANY) == write.names
        files = list(MANY)
        if change:
            files[change[0] : change[0] + 1] = [file for file in change[1:] if file is not None]
        write.names.clear()
        assert b" ".join(kept.pieces("page", files, write)).decode().split() == names(files)
        assert write.names == names(MANY[number] for number in written)

    def test_keys(self) -> None:
        """Nothing is taken from another key: its files may have other URLs."""
        kept, write = WrittenFiles(), Writing()
        for key in ("page", "another"):
            assert b" ".join(kept.pieces(key, MANY, write)).decode().split() == names(MANY)
        assert write.names == names(MANY) * 2

    def test_too_large(self) -> None:
        """Files that are larger than what may be kept are written each time."""
        kept, write = WrittenFiles(size=1000), Writing()
        for _ in range(2):
            assert b" ".join(kept.pieces("page", MANY, write)).decode().split() == names(MANY)
        assert write.names == names(MANY) * 2
        assert len(kept) == 0

    def test_one_version_of_many_files(self) -> None:
        """They are written some at a time, and a file may be there twice."""
        kept = WrittenFiles()
        files = [make_file(f"hello_world-1.0-py3-none-tag{number}.whl") for number in range(450)] * 2
        for _ in range(2):
            pieces = list(kept.pieces("page", files, Writing()))
            assert b" ".join(pieces).decode().split() == names(files)
            assert [len(piece.split()) for piece in pieces] == [200, 200, 200, 200, 100]

    @pytest.mark.parametrize("home", ["", "https://packages.example/acme/hello-world/"])
    @pytest.mark.parametrize("up", ["", "../"])
    def test_page(self, up: str, home: str) -> None:
        """A page of kept files has the same bytes as one that is written as a whole."""
        written = WrittenFiles()
        yanked = replace(MANY[7], yanked="broken", provenance=SHA)
        for files in (MANY, (*MANY[:7], yanked, *MANY[8:]), MANY[2:], (*MANY[2:], make_file())):
            page = make_page(*files)
            whole = render_page(page, Representation.JSON, up, home=home)
            kept = render_page(page, Representation.JSON, up, home=home, written=written)
            assert kept == whole
