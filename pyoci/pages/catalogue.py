"""The root of a namespace as a page: its projects, sorted, searched and in pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from pyoci.distributions.labels import shown_line
from pyoci.pages import frame, usage

ON_A_PAGE = 100
_SEARCH = 200  # characters


@dataclass(frozen=True, slots=True)
class Listed:
    """A project in a list. What isn't known is empty; `date` is like `2026-11-20`."""

    name: str
    summary: str = ""
    version: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """What a visitor wants to see of a list."""

    text: str = ""
    sort: str = "name"
    number: int = 1

    @classmethod
    def of(cls, text: str, sort: str, number: str) -> Search:
        """Read the parameters of a query. What is wrong counts as missing."""
        line = shown_line(text[:_SEARCH], _SEARCH)
        return cls(line, "date" if sort == "date" else "name", frame.page_number(number))

    def query(self, sort: str) -> str:
        """The query of the same search in another order."""
        return urlencode([("q", self.text)] * bool(self.text) + [("sort", sort)])

    def among(self, projects: Iterable[Listed]) -> list[Listed]:
        """The projects that have all the words in their name or summary, in order."""
        words = self.text.lower().split()
        found = [p for p in projects if all(word in f"{p.name} {p.summary}".lower() for word in words)]
        found.sort(key=lambda project: project.name)
        if self.sort == "date":
            found.sort(key=lambda project: project.date, reverse=True)
        return found


def root_html(
    projects: Iterable[Listed], home: str, index: usage.Index, search: Search, *, source: str = ""
) -> bytes:
    """The page of a namespace. `source` is a sentence about where the list comes from."""
    listed = list(projects)
    found = search.among(listed)
    shown, number, pages = frame.page_of(found, search.number, ON_A_PAGE)
    return frame.html(
        "root",
        home=home,
        index=index,
        search=search,
        source=source,
        in_all=len(listed),
        found=len(found),
        projects=shown,
        number=number,
        pages=pages,
        tools=usage.tools(index),
    )
