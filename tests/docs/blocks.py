"""The code blocks of the documents, and what is done with each. A comment before a block says it: `.. file:
NAME` writes it to a file, `.. schema: NAME` validates it with a schema of check-jsonschema, `.. not run:
REASON` skips it. Any other `sh` block is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from docutils import nodes
from docutils.core import publish_doctree

from tests.docs.pages import names, source

_COMMENT = re.compile(r"(file|schema|not run): (.+)", re.DOTALL)
_SETTINGS = {"report_level": 5, "halt_level": 5, "syntax_highlight": "none", "file_insertion_enabled": False}


@dataclass(frozen=True, slots=True)
class Block:
    """A literal block of a page: `language` is empty where none is given."""

    page: str
    line: int
    language: str
    text: str
    file: str = ""
    schema: str = ""
    reason: str = ""

    @property
    def runs(self) -> bool:
        return self.language == "sh" and not self.file and not self.reason

    def __str__(self) -> str:
        return f"{self.page}.rst, line {self.line}"


def blocks(page: str) -> list[Block]:
    """The literal blocks of a page, in their order."""
    tree = publish_doctree(source(page).read_text(), settings_overrides=_SETTINGS)
    return [_block(page, node) for node in tree.findall(nodes.literal_block)]


def all_blocks() -> Iterator[Block]:
    """Those of all pages."""
    for page in names():
        yield from blocks(page)


def _block(page: str, node: nodes.literal_block) -> Block:
    classes = [each for each in node["classes"] if each != "code"]
    before = node.previous_sibling()
    said = _COMMENT.fullmatch(before.astext()) if isinstance(before, nodes.comment) else None
    verb, rest = (said[1], " ".join(said[2].split())) if said else ("", "")
    return Block(
        page,
        node.line or 0,
        classes[0] if classes else "",
        node.astext() + "\n",
        file=rest if verb == "file" else "",
        schema=rest if verb == "schema" else "",
        reason=rest if verb == "not run" else "",
    )
