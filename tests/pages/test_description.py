"""Descriptions: what is rendered, what is shown as text, and what never gets onto a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.pages import readme
from pyoci.pages.description import Description, Descriptions
from pyoci.pages.frame import TEMPLATES
from pyoci.pages.readme import render

ROWS = "a\n" * 60_000
HARMLESS = {"href", "title", "id", "class", "rel", "start", "colspan", "rowspan", "tabindex"}


@pytest.fixture(scope="module")
def descriptions() -> Descriptions:
    return Descriptions()


class Tags(HTMLParser):
    """The tags and the attributes of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def assert_harmless(html: str) -> None:
    """Nothing in it runs, loads, styles, submits or leads to this site."""
    found = Tags(html)
    assert (
        found.tags & {"script", "style", "img", "iframe", "form", "input", "object", "svg", "link"} == set()
    )
    assert {name for name, _ in found.attributes} <= HARMLESS
    for name, value in found.attributes:
        if name == "href":
            assert value.startswith(("https://", "http://", "mailto:", "#user-content-"))
        if name == "id":
            assert value.startswith("user-content-")
        if name == "class":
            assert len(value) <= 2  # only Pygments' classes are that short


def test_markdown(descriptions: Descriptions) -> None:
    """Headings go below the page's own, images become links, and code is coloured."""
    text = "# Title\n\n[![badge](https://x.example/b.svg)](https://ci.example) ![a logo](https://x.example/l.png)"
    found = descriptions.render(f"{text}\n\n- [x] done\n\n```python\nprint(1)\n```\n", "text/markdown")
    assert '<h3 id="user-content-title">Title</h3>' in found.html
    assert ">[badge]</a>" in found.html
    assert '<a href="https://x.example/l.png" rel="nofollow noopener noreferrer">[a logo]</a>' in found.html
    assert '<span class="nb">print</span>' in found.html
    assert "\N{BALLOT BOX WITH CHECK}" in found.html
    assert_harmless(found.html)


def test_restructured_text(descriptions: Descriptions) -> None:
    """The default, for old metadata names no type."""
    image = ".. image:: https://x.example/l.png\n   :alt: logo\n"
    found = descriptions.render(f"Title\n=====\n\nA `link <https://x.example>`_.\n\n{image}", "")
    assert "Title</h3>" in found.html
    assert '<a href="https://x.example"' in found.html
    assert ">[logo]</a>" in found.html
    assert_harmless(found.html)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param("# no markup", "text/plain", id="plain text"),
        pytest.param("Title\n===\n\n`broken <https://x.example>", "text/x-rst", id="an error in it"),
        pytest.param("# x\n" * 100_000, "text/markdown", id="too large"),
        pytest.param("<b>x</b>", "text/html", id="a type that isn't rendered"),
    ],
)
def test_shown_as_text(descriptions: Descriptions, text: str, kind: str) -> None:
    """What can't be rendered is shown as it is."""
    assert descriptions.render(text, kind) == Description(text=text[: 256 * 1024])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<script>alert(1)</script>", id="script"),
        pytest.param("<style>body { display: none }</style>", id="style"),
        pytest.param('<img src="https://x.example/a.png" onerror="alert(1)">', id="image"),
        pytest.param('<iframe src="https://x.example/"></iframe>', id="frame"),
        pytest.param('<form action="/x" method="post"><input name="a"><button>go</button></form>', id="form"),
        pytest.param('<a href="javascript:alert(1)">x</a> [y](javascript:alert(1))', id="javascript"),
        pytest.param('<a href="data:text/html,x">x</a> <a href="/local/acme/">y</a>', id="other links"),
        pytest.param('<div class="notice bad" style="position:fixed" id="main">x</div>', id="dressed up"),
        pytest.param('<svg onload="alert(1)"></svg><math><mtext></mtext></math>', id="svg"),
        pytest.param('<base href="https://x.example/"><meta http-equiv="refresh" content="0">', id="head"),
        pytest.param("</div></main></body><h1>Another page</h1>", id="closed elements"),
        pytest.param(
            '<link rel="stylesheet" href="https://x.example/"><object data="x"></object>', id="loaded"
        ),
        pytest.param(
            "[x]: https://x.example/'onclick='a'\n\n[x] <https://x.example/\"onclick=\"a\">", id="quoted"
        ),
        pytest.param('<td background="https://x.example/a.png">x</td>', id="background"),
    ],
)
def test_hostile(text: str) -> None:
    """Whatever a description has, the page stays the page."""
    html = render(text, "text/markdown")
    assert html is not None
    assert_harmless(html)


@given(st.text(alphabet="<>\"'=/ ahrefscriptonimg[]()!`*:#&;\n", max_size=200))
def test_any_text_is_harmless(text: str) -> None:
    """Nothing slips through in parts."""
    html = render(text, "text/markdown")
    if html:
        assert_harmless(html)


def test_classes_of_the_page_are_not_those_of_a_description() -> None:
    """A role of reStructuredText becomes a class. Pygments' class of a regular expression is `sr`."""
    html = render(".. role:: bad\n\n:bad:`x`\n\n.. code:: ruby\n\n   a = /x+/\n", "text/x-rst")
    assert html is not None
    assert "<span>x</span>" in html
    assert '<span class="sr">/x+/</span>' in html
    assert_harmless(html)
    style = (TEMPLATES / "style.css").read_text()
    selectors = [part for each in re.findall(r"([^{}]+)\{", style) for part in each.split(",")]
    classes = {
        name
        for selector in selectors
        if not selector.strip().startswith(".description ")
        for name in re.findall(r"\.([a-z][\w-]*)", selector)
    }
    assert "bad" in classes
    assert [name for name in classes if len(name) <= 2] == []


def test_a_process_that_takes_too_long() -> None:
    """The text is shown for now, and the page isn't kept."""
    found = Descriptions(seconds=0.0).render("# Title", "text/markdown")
    assert found == Description(text="# Title", final=False)


def test_a_text_that_takes_too_much_time(descriptions: Descriptions) -> None:
    """docutils takes minutes for so many sections. Its process has 4 seconds of processor time."""
    text = "x\n=\n\nz\n\n" * 20_000
    assert descriptions.render(text, "text/x-rst").text == text


def test_a_text_that_takes_too_much_memory(descriptions: Descriptions) -> None:
    """Each substitution doubles the one before."""
    lines = [f".. |a{each}| replace:: |a{each - 1}| |a{each - 1}|\n" for each in range(1, 26)]
    text = f".. |a0| replace:: xxxxxxxxxx\n{''.join(lines)}\n|a25|"
    assert descriptions.render(text, "text/x-rst").text == text


def test_a_process_takes_little_memory(tmp_path: Path) -> None:
    """A table of 60,000 short rows, each of which is filled up to 200 columns, ends its process early."""
    (tmp_path / "text").write_text(f"text/markdown\n{'|a' * 200}\n{'|-' * 200}\n{ROWS}")
    program = (
        "import resource, subprocess, sys\n"
        "text = open(sys.argv[2], 'rb').read()\n"
        "done = subprocess.run([sys.executable, '-P', sys.argv[1]], input=text, capture_output=True)\n"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, readme.__file__, tmp_path / "text"],
        capture_output=True,
        check=True,
        text=True,
    )
    code, kilobytes = map(int, found.stdout.split())
    assert code != 0
    assert kilobytes < 384 * 1024


def test_nothing_is_told_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment has no setting of the server."""
    monkeypatch.setenv("PYTHONWARNINGS", "error::DeprecationWarning,error")
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@proxy.example")
    assert "Title</h3>" in Descriptions().render("# Title", "text/markdown").html
    assert os.environ["HTTP_PROXY"]


def test_files_of_the_server_are_not_included(descriptions: Descriptions) -> None:
    """docutils' directives that read files are off."""
    directives = (
        "include:: /etc/passwd",
        "raw:: html\n   :file: /etc/passwd",
        "csv-table::\n   :file: /etc/passwd",
    )
    found = descriptions.render("".join(f"x\n\n.. {each}\n\n" for each in directives), "text/x-rst")
    assert "root:" not in found.html + found.text
