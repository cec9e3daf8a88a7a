"""Sphinx's configuration. `make docs` builds the documents into build/html, and any warning fails it.

The pages are plain reStructuredText without Sphinx's roles and directives, so docutils alone renders them, as
sites that host code do. Their links are paths in the checkout. Sphinx needs two things for that:

* A link to another page (`settings.rst#port`) leads to the page that was built from it. A link to any other
  file (`examples/nginx.conf`) becomes a download.
* A list of links after the comment `.. navigation` is a toctree, too, with its section's title. A page that
  several lists link to is in the first one's toctree, so that the sidebar has it once.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

import pyoci

project = "PyOCI"
version = release = pyoci.__version__
# The source directory is the checkout: a path between two pages is the same there and in what is built.
root_doc = "docs/index"
include_patterns = [
    "README.rst",
    "CHANGES.rst",
    "CONTRIBUTING.rst",
    "SECURITY.rst",
    "benchmarks/README.rst",
    "docs/**.rst",
]
exclude_patterns = [".*", "build", "pyoci*", "tests", "docs/examples"]
html_theme = "furo"
html_title = f"PyOCI {release}"
html_show_copyright = False
html_copy_source = False
# The text stays as it is written, as on a site that hosts code.
smartquotes = False

_log = logging.getLogger(__name__)
# The section's title, where the list is the first thing in it, and the list.
_NAVIGATION = re.compile(
    r"^(?:(?P<title>.+)\n-+\n\n)?\.\. navigation\n\n(?P<items>(?:\* .+\n)+)", re.MULTILINE
)


def add_toctrees(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Puts a hidden toctree after each list that the comment marks."""
    listed: set[str] = set()
    source[0] = _NAVIGATION.sub(partial(_with_toctree, listed), source[0])


def _with_toctree(listed: set[str], found: re.Match[str]) -> str:
    linked = dict.fromkeys(re.findall(r"<(.+)>`_$", found["items"], re.MULTILINE))
    new = [page for page in linked if page not in listed]
    listed.update(new)
    caption = f"   :caption: {found['title']}\n" if found["title"] else ""
    pages = "".join(f"   {page}\n" for page in new)
    return f"{found[0]}\n.. toctree::\n   :hidden:\n{caption}\n{pages}"


class Downloads(SphinxTransform):
    """Turns links to files that are no pages into downloads; Sphinx warns of a file that isn't there."""

    default_priority = 870  # after links have their targets, before Sphinx collects the downloads

    def apply(self, **_options: Any) -> None:
        for link in list(self.document.findall(nodes.reference)):
            target = link.get("refuri", "")
            if _is_relative(target) and not urlsplit(target).path.endswith(".rst"):
                link.replace_self(
                    addnodes.download_reference(link.rawsource, "", *link.children, reftarget=target)
                )


class Pages(SphinxPostTransform):
    """Leads links to pages to what was built from them; warns of a page or a section that isn't there."""

    default_priority = 5

    def run(self, **_options: Any) -> None:
        for link in self.document.findall(nodes.reference):
            target = link.get("refuri", "")
            if not _is_relative(target):
                continue
            page, anchor = _page(self.env.docname, target), urlsplit(target).fragment
            if page not in self.env.found_docs:
                _log.warning("no such page: %s", target, location=link)
            elif anchor and anchor not in _ids(self.env, page):
                _log.warning("no such section: %s", target, location=link)
            else:
                built = self.app.builder.get_relative_uri(self.env.docname, page)
                link["refuri"] = f"{built}#{anchor}" if anchor else built
                link["internal"] = True


def _is_relative(target: str) -> bool:
    """Whether a link leads to a file of the checkout."""
    parts = urlsplit(target)
    return bool(parts.path) and not parts.scheme and not parts.netloc


def _page(docname: str, target: str) -> str:
    """The name of the page that a link in the page `docname` leads to."""
    path = posixpath.join(posixpath.dirname(docname), urlsplit(target).path)
    return posixpath.normpath(path).removesuffix(".rst")


@cache
def _ids(env: BuildEnvironment, page: str) -> set[str]:
    """The anchors of a page."""
    return {name for node in env.get_doctree(page).findall(nodes.Element) for name in node["ids"]}


def setup(app: Sphinx) -> None:
    """Sphinx calls this, as it does for an extension."""
    app.connect("source-read", add_toctrees)
    app.add_transform(Downloads)
    app.add_post_transform(Pages)
