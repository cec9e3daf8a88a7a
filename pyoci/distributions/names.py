"""ProjectName: the name of a Python project, validated and normalised, with `-` or with `_`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from packaging.utils import InvalidName, canonicalize_name

from pyoci.errors import InvalidRequest

NAME_LIMIT = 200  # characters; leaves room for a namespace in the 255 that a repository's name may have


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
        """The name that `underscored` turned into `text`. Raises InvalidRequest where no name could have."""
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
