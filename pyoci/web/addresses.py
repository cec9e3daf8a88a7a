"""The address of a request: a decoded URL path, parsed into registry, namespace and project. Pure.

A short URL is replaced by the registry and namespace that it stands for. Other modules don't see short URLs.

WSGI decodes the path, and some proxies merge double slashes. A registry that was written as a URL therefore
arrives in several forms. All of them are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import unquote

from pyoci.distributions.filenames import SDIST_ENDINGS, Version, read_version
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound
from pyoci.oci.registries import DEFAULT, RESERVED, ShortUrls, could_be_a_host

EXPECTED = "/<registry>/<namespace>/ or /<registry>/<namespace>/<project>/"
EXPECTED_BELOW = "<project>/ or <project>/<file> after the package index's own address"
EXPECTED_OF_DEFAULT = f"/{DEFAULT}/<project>/, /pypi/<project>/json, or an upload to /{DEFAULT}/ or /legacy/"
# hatch requests this path. An OCI name can't contain "+", so the path conflicts with no namespace.
SIMPLE = "+simple"
# Below it is the API of OSV, for tools that audit packages.
OSV = "+osv"
# Many clients insist on `<index>/simple/` for reading and on `<index>/legacy/` for uploads.
ALIAS = "simple"
UPLOAD_ALIASES = frozenset({ALIAS, "legacy"})
# Dependabot replaces /simple/ at the end of a URL by /pypi/, and requests <project>/json below that.
JSON_ALIAS = "pypi"
# The number of digits of a file's sha256 in its address: `+0123456789abcdef/<file>`.
DIGEST_DIGITS = 16
# The endings of the file names that have an address here.
SERVED = (".whl", *SDIST_ENDINGS)
# Paths that clients request from any host: uv and pdm, PEP 807, browsers, and robots.
PROBED = frozenset({"_", ".well-known", "favicon.ico", "robots.txt"})

_URL = re.compile(r"(https?):/{0,2}([^/]+)/?", re.IGNORECASE)
# Versions, also those that PEP 440 doesn't allow; and the names of files, of their signatures and hashes.
_LIKE_A_VERSION = re.compile(r"v?[0-9]+(?:[._]|-[0-9])", re.IGNORECASE)
_LIKE_A_FILE = re.compile(rf".*(?:{'|'.join(map(re.escape, SERVED))})(?:\.\w+)*", re.IGNORECASE)


class NoRegistry(NotFound):
    """The first segment can't be a registry. `probed`: clients regularly request it from any host."""

    def __init__(self, message: str, *, probed: bool = False) -> None:
        super().__init__(message)
        self.probed = probed


@dataclass(frozen=True, slots=True)
class IndexAddress:
    """A path below the site's prefix: the registry as written, the segments after it, and the segments after
    `+simple/`.

    `below` is None if the path has no `+simple`. A short URL is parsed as if it had one.
    """

    registry: str
    segments: tuple[str, ...]
    below: tuple[str, ...] | None = None
    short: bool = field(default=False, compare=False)

    @classmethod
    def read(cls, path: str, knows: Callable[[str], bool], short: ShortUrls | None = None) -> Self:
        """Parse a decoded path without outer slashes. `knows` recognises aliases. Raises NoRegistry.

        The segments after a short URL's name count as below `+simple/`: they are not part of a namespace.
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
        """Like `aliased_project`, for `pypi/<project>/`, which is an alias only for the legacy JSON."""
        return self._project_below(JSON_ALIAS)

    def aliased_projects(self, *, for_json: bool = False) -> tuple[tuple[str, str], ...]:
        """All projects that this address is an alias of, in order of precedence. There are several if the
        index above is itself an alias: `acme/simple/simple/<project>/`.
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
        """Whether upstream may be asked for the project at this address. It may not at `<index>/simple/`,
        which clients use as a root, nor for the name of a file, which contains the name of its project.
        """
        last = (self.below or self.segments or ("",))[-1]
        return not self._is_alias({ALIAS}) and _LIKE_A_FILE.fullmatch(last) is None

    @property
    def may_be_in_project(self) -> bool:
        """Whether the last segment looks like a version or a file of a project whose name is the segment
        before. That segment may also be a namespace, and the last one a project in it.
        """
        if self.below is not None or len(self.segments) < 3:
            return False
        above, last = self.segments[-2:]
        if _LIKE_A_VERSION.match(last) or read_version(last) is not None:
            return True
        with suppress(InvalidRequest):
            beginning = f"{ProjectName.parse(above)}-"
            name = ProjectName.parse(last).normalized
            return name.startswith(beginning) and name.removeprefix(beginning)[0].isdecimal()
        return False  # it is no name, so it is sent nowhere

    @property
    def shadowed_project(self) -> tuple[str, str] | None:
        """The path of the namespace above and the project's name, if this address is
        `simple/+simple/<project>/` or `legacy/+simple/<project>/`. hatch requests these addresses for a
        project that it uploads to the alias, although they are not aliases.
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
        """Whether the last segment is one of these names and follows a namespace."""
        return self.below is None and len(self.segments) > 1 and self.segments[-1].lower() in names


def _shortened(path: str, short: ShortUrls) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
    """The registry and namespace that a short URL stands for, and the segments below it; None for another
    permitted path.
    """
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
        raise NoRegistry(f"/{first} does not name a registry; expected {EXPECTED}", probed=first in PROBED)
    if first.lower() in {"http:", "https:"}:
        host, _, rest = rest.removeprefix("/").partition("/")
        first = f"{first}//{host}"
    elif "%" in first:
        first = unquote(first)  # a reverse proxy encoded it a second time
    if url := _URL.fullmatch(first):
        return f"{url[1].lower()}://{url[2]}", rest
    if not could_be_a_host(first) and not knows(first.lower()):
        raise NoRegistry(f"{first[:100]!a} is not a registry; expected {EXPECTED}")
    return first, rest
