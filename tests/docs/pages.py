"""The pages of the documents, as a site that hosts code shows them, and as Sphinx builds them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

from docutils.core import publish_string

ROOT = Path(__file__).resolve().parents[2]
# What such sites set for docutils: it includes no file and passes no HTML. They hide its warnings, which the
# tests want to see.
_FORGE = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "syntax_highlight": "none",
    "report_level": 2,
    "halt_level": 5,
    "embed_stylesheet": False,
    "stylesheet_path": "",
    "output_encoding": "unicode",
}
_INLINE = {"a", "cite", "code", "em", "span", "strong", "tt"}
_BESIDE_DOCS = ["README", "CHANGES", "CONTRIBUTING", "SECURITY", "benchmarks/README"]


def names() -> list[str]:
    """All pages, relative to the checkout and without their ending."""
    found = sorted((ROOT / "docs").rglob("*.rst"))
    return [*_BESIDE_DOCS, *(str(path.relative_to(ROOT).with_suffix("")) for path in found)]


def source(page: str) -> Path:
    """The file of a page."""
    return ROOT / f"{page}.rst"


@dataclass
class Rendered(HTMLParser):
    """The text, links and anchors of a page in HTML. `linked` are the texts of the links.

    Texts are those of the first element called `main`, or of that role. The rest is the theme's.
    """

    html: str
    messages: str = ""
    text: str = ""
    links: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    _main: str = ""
    _depth: int = 0
    _permalink: bool = False
    _link: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    @property
    def words(self) -> list[str]:
        return self.text.split()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "a":
            self._permalink = "headerlink" in given.get("class", "")
            self._link = "href" in given and not self._permalink
            if self._link and self._depth:
                self.linked.append("")
        if not self._main and (tag == "main" or given.get("role") == "main"):
            self._main = tag
        self._depth += tag == self._main
        self._end_word(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._permalink = self._link = False
        self._depth -= tag == self._main
        self._end_word(tag)

    def handle_data(self, data: str) -> None:
        if self._depth and not self._permalink:
            self.text += data
            if self._link:
                self.linked[-1] += data

    def _end_word(self, tag: str) -> None:
        """No word goes on from one block to the next, even where no space is between them."""
        if tag not in _INLINE:
            self.text += "\n"


def by_docutils(page: str) -> Rendered:
    """The page as a site that hosts code shows it; `messages` has docutils' warnings."""
    messages = StringIO()
    path = source(page)
    html = publish_string(
        path.read_text(),
        source_path=str(path),
        writer="html5",
        settings_overrides={**_FORGE, "warning_stream": messages},
    )
    return Rendered(html, messages.getvalue())


def built_by_sphinx(folder: Path) -> str:
    """Build all pages into `folder`, as `make docs` does, and return what Sphinx says of it."""
    command = [sys.executable, "-m", "sphinx", "-n", "-q", "-c", "docs", ".", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    return done.stdout + done.stderr


def by_sphinx(folder: Path, page: str) -> Rendered:
    """One of the pages that were built into `folder`."""
    return Rendered((folder / f"{page}.html").read_text())
