"""Every page is whole and its links lead somewhere, on a site that hosts code and as built by Sphinx.

Roles and directives that only Sphinx knows vanish on such a site, with all that is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT, Rendered

NAMES = pages.names()
FILE = re.compile(r"``([\w.-]+/[\w./-]*\w\.(?:py|rst|yaml|conf|service|socket))``")
by_docutils = cache(pages.by_docutils)


class Built:
    """What Sphinx makes of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages = pages.built_by_sphinx(folder)
        self.page = cache(lambda name: pages.by_sphinx(folder, name))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("built"))


def internal(rendered: Rendered) -> set[tuple[str, str]]:
    """The links that lead to no other host: path and anchor, either of which may be empty."""
    parts = [urlsplit(link) for link in rendered.links]
    return {(unquote(each.path), each.fragment) for each in parts if not each.scheme and not each.netloc}


def broken(
    rendered: Rendered, file: Path, top: Path, other: Callable[[str], Rendered]
) -> list[tuple[str, str]]:
    """The links that lead to nothing. `file` is the page's, and `other` renders any page below `top`."""

    def is_broken(path: str, anchor: str) -> bool:
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or not target.is_relative_to(top):
            return True
        return bool(anchor) and anchor not in other(str(target.relative_to(top).with_suffix(""))).anchors

    return [link for link in sorted(internal(rendered)) if is_broken(*link)]


def test_sphinx_has_no_warnings(built: Built) -> None:
    assert built.messages == ""


def test_the_sidebar_has_each_page_once(built: Built) -> None:
    """Also a page that two lists of the start page link to."""
    html = (built.folder / "docs" / "index.html").read_text()
    entries = re.findall(r'<li class="toctree-l1[^"]*"><a class="reference internal" href="([^"]+)"', html)
    assert len(entries) > 20
    assert sorted(set(entries)) == sorted(entries)


@pytest.mark.parametrize("name", NAMES)
class TestPage:
    def test_docutils_alone_has_no_warnings(self, name: str) -> None:
        """An unknown role or directive is an error of docutils."""
        assert by_docutils(name).messages == ""

    def test_both_show_the_same_words(self, name: str, built: Built) -> None:
        words = by_docutils(name).words
        assert len(words) > 50
        assert words == built.page(name).words

    def test_both_have_the_same_links(self, name: str, built: Built) -> None:
        """By their texts: where they lead differs."""
        assert by_docutils(name).linked == built.page(name).linked

    def test_files_that_it_names_are_there(self, name: str) -> None:
        """Paths in literals are relative to the checkout, to pyoci/ or to the page."""
        file = pages.source(name)
        paths = FILE.findall(file.read_text())
        tops = (ROOT, ROOT / "pyoci", file.parent)
        assert [path for path in paths if not any((top / path).exists() for top in tops)] == []

    def test_links_lead_to_files_of_the_checkout(self, name: str) -> None:
        assert broken(by_docutils(name), pages.source(name), ROOT, by_docutils) == []

    def test_links_lead_to_what_is_built(self, name: str, built: Built) -> None:
        """Those of the navigation are among them."""
        file = built.folder / f"{name}.html"
        assert broken(built.page(name), file, built.folder, built.page) == []

    def test_the_navigation_leads_to_it(self, name: str, built: Built) -> None:
        """README has that, as all pages do; the page that is open has an empty link."""
        linked = {(built.folder / path).resolve() for path, _ in internal(built.page("README")) if path}
        assert name == "README" or built.folder / f"{name}.html" in linked
