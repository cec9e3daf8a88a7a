"""search: projects of an index by parts of their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from pyoci.errors import InvalidRequest, PyOCIError
from pyoci.library.index import Index
from pyoci.maintenance.parallel import in_parallel

_JOBS = 8  # projects that are looked at at the same time


@dataclass(frozen=True, slots=True)
class Match:
    """A project that was found. `latest` and `summary` are None if they weren't asked for, or can't be
    read.
    """

    name: str
    latest: str | None = None
    summary: str | None = None


def search(index: Index, word: str, *, names_only: bool = False) -> Iterator[Match]:
    """The projects whose normalised names contain `word`, or match it where it is a pattern with * or ?, by
    name. Raises InvalidRequest, and NotFound where a registry gives no list of its repositories.
    """
    wanted = re.sub(r"[-_.]+", "-", word.strip().lower())
    if not re.fullmatch(r"[a-z0-9*?-]{1,200}", wanted):
        raise InvalidRequest(
            f"{word[:100]!a} can't be part of a project's name; expected letters, digits, - _ . and * or ?"
        )
    pattern = wanted if re.search("[*?]", wanted) else f"*{wanted}*"
    names = [name for name in index.projects() if fnmatchcase(name, pattern)]
    if names_only:
        return map(Match, names)
    found = {match.name: match for match in in_parallel(partial(_look, index), names, _JOBS)}
    return (found[name] for name in names)


def _look(index: Index, name: str) -> Match:
    try:
        project = index.project(name)
        return Match(name, project.latest, index.summary(project) or None)
    except PyOCIError:
        return Match(name)
