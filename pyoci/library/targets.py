"""Target: a file or a whole version of a project, as a person names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from packaging.version import InvalidVersion, Version

from pyoci.distributions.filenames import SDIST_ENDINGS, parse_filename
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Target:
    """`name` is a file name or a version: what `Index.yank` and `Index.delete` take."""

    project: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `hello-world==1.0`, or a file name. Raises InvalidRequest."""
        project, equals, version = (part.strip() for part in text.partition("=="))
        if equals:
            try:
                return cls(ProjectName.parse(project).normalized, str(Version(version)))
            except (InvalidVersion, ValueError):
                raise InvalidRequest(
                    f"{version[:100]!a} is not a version; expected one as PEP 440 has it, like 1.0"
                ) from None
        if text.endswith((".whl", *SDIST_ENDINGS)):
            return cls(parse_filename(text).name.normalized, text)
        raise InvalidRequest(
            f"{text[:100]!a} is neither a version nor a file; expected one like hello-world==1.0 or"
            " hello_world-1.0-py3-none-any.whl"
        )
