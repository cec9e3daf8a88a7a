"""The address of a request: a decoded URL path, parsed into registry, namespace and project. Pure.

A short URL is replaced by what it stands for: no other module knows by which URL a page was asked for.

WSGI decodes the path, and some proxies merge double slashes. So a registry that was written as a URL arrives
in several forms, all of which are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import unquote

from pyoci.distributions.filenames import Version, read_version
from pyoci.errors import NotFound
from pyoci.oci.registries import DEFAULT, RESERVED, ShortUrls, could_be_a_host

EXPECTED = "/<registry>/<namespace>/ or /<registry>/<namespace>/<project>/"
EXPECTED_BELOW = "<project>/ or <project>/<file> after the package index's own address"
EXPECTED_OF_DEFAULT = f"/{DEFAULT}/<project>/, /pypi/<project>/json, or an upload to /{DEFAULT}/ or /legacy/"
# hatch asks here. "+" can't stand in an OCI name, so this hides nobody's namespace.
SIMPLE = "+simple"
# Many clients insist on `<index>/simple/` for reading and on `<index>/legacy/` for uploads.
ALIAS = "simple"
UPLOAD_ALIASES = frozenset({ALIAS, "legacy"})
# Of a URL that ends in /simple/ Dependabot makes one that ends in /pypi/, and asks for <project>/json there.
JSON_ALIAS = "pypi"
# How much of its sha256 an address of a file has: `+0123456789abcdef/<file>`.
DIGEST_DIGITS = 16
# What clients and browsers probe for: uv and pdm, PEP 807, and whatever has an icon or a robot.
PROBED = frozenset({"_", ".well-known", "favicon.ico", "robots.txt"})

_URL = re.compile(r"(https?):/{0,2}([^/]+)/?", re.IGNORECASE)


class NoRegistry(NotFound):
    """The first segment can't be a registry. `probed`: clients ask any host for it, again and again."""

    def __init__(self, message: str, *, probed: bool = False) -> None:
        super().__init__(message)
        self.probed = probed


@dataclass(frozen=True, slots=True)
class IndexAddress:
    """A path below the site: the registry as written, the segments after it, and those after `+simple/`.

    `below` is None where the path has no `+simple`. A short URL is read as if it had one.
    """

    registry: str
    segments: tuple[str, ...]
    below: tuple[str, ...] | None = None
    short: bool = field(default=False, compare=False)

    @classmethod
    def read(cls, path: str, knows: Callable[[str], bool], short: ShortUrls | None = None) -> Self:
        """Parse a decoded path without outer slashes. `knows` recognises aliases. Raises NoRegistry.

        What follows the name of a short URL counts as below `+simple/`: it is not part of a namespace.
        """
        if short is not None and (found := _shortened(path, short)) is not None:
            return cls(*found, short=True)
        registry, rest = _registry(path, knows)
        # An address joined from `https://…/<registry>/` and `/<namespace>/` has two slashes in its middle.
        rest = rest.removeprefix("/")
        segments = tuple(rest.split("/")) if rest else ()
        if SIMPLE not in segments:
            return cls(registry, segments)
        cut = segments.index(SIMPLE)
        return cls(registry, segments[:cut], segments[cut + 1 :])

    @property
    def expected(self) -> str:
        """The correct form of such an address, for error messages."""
        return EXPECTED if self.below is None else EXPECTED_BELOW

    @property
    def as_root(self) -> str | None:
        """The namespace's path, if this address can be a root."""
        return None if self.below or not self.segments else "/".join(self.segments)

    @property
    def as_project(self) -> tuple[str, str] | None:
        """The namespace's path and the project's name as spelled, if this address can be a project's."""
        if self.below is None:
            above, name = self.segments[:-1], self.segments[-1:]
        else:
            above, name = self.segments, self.below
        return ("/".join(above), name[0]) if above and len(name) == 1 else None

    @property
    def as_version(self) -> tuple[Self, Version] | None:
        """The address of a project's page and a version of it, if this address can be that version's page."""
        last, below = (
            (self.below or self.segments or ("",))[-1],
            None if self.below is None else self.below[:-1],
        )
        project = replace(self, segments=self.segments[:-1] if below is None else self.segments, below=below)
        version = read_version(last)
        return None if version is None or project.as_project is None else (project, version)

    @property
    def aliased_root(self) -> str | None:
        """The path of the namespace above, if this address is its `simple/`."""
        return self._above if self._is_alias({ALIAS}) else None

    @property
    def aliased_index(self) -> str | None:
        """The path of the namespace above, if uploads may be sent to this address instead."""
        return self._above if self._is_alias(UPLOAD_ALIASES) else None

    @property
    def aliased_project(self) -> tuple[str, str] | None:
        """The path of the namespace above and the project's name as spelled, if this address is its
        `simple/<project>/`.
        """
        return self._project_below(ALIAS)

    @property
    def aliased_json(self) -> tuple[str, str] | None:
        """The same, if this address is its `pypi/<project>/`, which is an alias for the legacy JSON alone."""
        return self._project_below(JSON_ALIAS)

    def aliased_projects(self, *, for_json: bool = False) -> tuple[tuple[str, str], ...]:
        """All projects that this address is an alias of, in the order in which they count. There are several
        where the index above is an alias, too: `acme/simple/simple/<project>/`.
        """
        found: list[tuple[str, str]] = []
        next_one = self.aliased_project or (self.aliased_json if for_json else None)
        while next_one is not None:
            found.append(next_one)
            path, name = next_one
            next_one = IndexAddress(self.registry, (*path.split("/"), name)).aliased_project
        return tuple(found)

    @property
    def may_go_upstream(self) -> bool:
        """Whether a project of this name may be asked for outside: `<index>/simple/` is meant as a root."""
        return self.below is not None or not self._is_alias({ALIAS})

    @property
    def shadowed_project(self) -> tuple[str, str] | None:
        """The same, if this address is `simple/+simple/<project>/` or `legacy/+simple/<project>/`. hatch asks
        there for a project that it uploads to the alias, though this is none.
        """
        above = IndexAddress(self.registry, self.segments)
        if self.short or not self.below or len(self.below) != 1 or not above._is_alias(UPLOAD_ALIASES):
            return None
        return above._above, self.below[0]

    @property
    def _above(self) -> str:
        return "/".join(self.segments[:-1])

    def _project_below(self, alias: str) -> tuple[str, str] | None:
        above = IndexAddress(self.registry, self.segments[:-1], self.below)
        return (above._above, self.segments[-1]) if above._is_alias({alias}) else None

    def _is_alias(self, names: Container[str]) -> bool:
        """Whether a namespace stands before the last segment, and that is one of these names."""
        return self.below is None and len(self.segments) > 1 and self.segments[-1].lower() in names


def _shortened(path: str, short: ShortUrls) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
    """What a short URL stands for, and the segments below it; None for another path that may be asked for."""
    first, slash, rest = path.partition("/")
    meant = short.find(first)
    if meant is not None:
        below = tuple(rest.split("/")) if slash else ()
        return meant.registry, meant.path, below[1:] if below[:1] == (SIMPLE,) else below
    if first in {"pypi", "legacy"} and short.find(DEFAULT):
        raise NoRegistry(f"there is nothing at this address; expected {EXPECTED_OF_DEFAULT}")
    if short.alone and first not in PROBED:
        raise NoRegistry("there is no package index at this address")
    return None


def _registry(path: str, knows: Callable[[str], bool]) -> tuple[str, str]:
    """Split off the registry."""
    first, _, rest = path.partition("/")
    if first in RESERVED | PROBED and not knows(first):
        raise NoRegistry(f"/{first} is not a registry's; expected {EXPECTED}", probed=first in PROBED)
    if first.lower() in {"http:", "https:"}:
        host, _, rest = rest.removeprefix("/").partition("/")
        first = f"{first}//{host}"
    elif "%" in first:
        first = unquote(first)  # a proxy in front encoded it once more
    if url := _URL.fullmatch(first):
        return f"{url[1].lower()}://{url[2]}", rest
    if not could_be_a_host(first) and not knows(first.lower()):
        raise NoRegistry(f"{first[:100]!a} is not a registry; expected {EXPECTED}")
    return first, rest
