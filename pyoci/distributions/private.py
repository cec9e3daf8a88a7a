"""PrivateProjects: names and patterns of projects that are never looked up in another package index."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from packaging.utils import canonicalize_name

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest

_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class PrivateProjects:
    """Names in their normalised form (PEP 503), in which `*` stands for any characters and `?` for one."""

    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a list with commas or blanks in between, in any spelling: `Acme_*` covers what `acme-*` does.

        Raises ValueError with every mistake in it, one a line.
        """
        words = re.split(r"[,\s]+", text.strip(" ,\t\r\n"))
        wrong = [word for word in words if word and not _could_be_a_name(word)]
        if wrong:
            raise ValueError(
                "\n".join(
                    f"{word[:80]!a} is not a project name; expected one, or a pattern as acme-*"
                    for word in wrong
                )
            )
        return cls(tuple(canonicalize_name(word) for word in words if word))

    def covers(self, name: str) -> bool:
        """Whether the project called `name`, in any spelling, is one of these."""
        normalized = canonicalize_name(name)
        return any(fnmatchcase(normalized, pattern) for pattern in self.patterns)


def _could_be_a_name(pattern: str) -> bool:
    """Whether a name can match the pattern. `-acme` matches nothing, so it must be a mistake."""
    try:
        ProjectName.parse(_WILD.sub("x", pattern))
    except InvalidRequest:
        return False
    return True
