"""ProjectName: the name of a Python project, validated and normalised, with `-` or with `_`.

PrivateProjects: names and patterns of projects that are never looked up in another package index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from packaging.utils import InvalidName, canonicalize_name

from pyoci.errors import InvalidRequest

NAME_LIMIT = 200  # characters; leaves room for a namespace in the 255 that a repository's name may have
_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True, order=True)
class ProjectName:
    """The name of a Python project in its normalised form (PEP 503), `hello-world`."""

    normalized: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any spelling of a name (core metadata, "Name"). Raises InvalidRequest."""
        if len(text) > NAME_LIMIT:
            raise InvalidRequest(f"the project name {text[:20]!a}... is over {NAME_LIMIT} characters")
        try:
            if not (text.isascii() and text.isprintable()):  # packaging 25 accepts a newline at the end
                raise InvalidName
            return cls(canonicalize_name(text, validate=True))
        except InvalidName:
            raise InvalidRequest(
                f"{text!a} is not a project name; expected ASCII letters and digits, with . _ - between them"
            ) from None

    @classmethod
    def from_underscored(cls, text: str) -> Self:
        """The name that `underscored` turned into `text`. Raises InvalidRequest if no name could have."""
        name = cls.parse(text)
        if name.underscored != text:
            raise InvalidRequest(f"{text!a} is not a project's repository; expected {name.underscored!a}")
        return name

    @property
    def underscored(self) -> str:
        """`hello_world`: the OCI repository's last segment, and the name in a wheel's file name."""
        return self.normalized.replace("-", "_")

    def __str__(self) -> str:
        return self.normalized


@dataclass(frozen=True, slots=True)
class PrivateProjects:
    """Normalised names (PEP 503) and patterns: `*` matches any characters and `?` matches one."""

    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a list, separated by commas or blanks. Any spelling works: `Acme_*` is the same as `acme-*`.

        Raises ValueError with one line for each mistake.
        """
        words = re.split(r"[,\s]+", text.strip(" ,\t\r\n"))
        wrong = [word for word in words if word and not could_be_a_name(word)]
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


def could_be_a_name(pattern: str) -> bool:
    """Whether a name can match the pattern. `-acme` matches nothing, so it must be a mistake."""
    try:
        ProjectName.parse(_WILD.sub("x", pattern))
    except InvalidRequest:
        return False
    return True
