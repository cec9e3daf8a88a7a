"""Lock files: the projects and versions that uv.lock, pylock.toml, poetry.lock or requirements.txt name."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest

_LIMIT = 64 * 1024 * 1024  # bytes of one file
_EXPECTED = "expected uv.lock, pylock.toml, poetry.lock or a requirements file"

_INCLUDE = re.compile(r"(?:-r\s*|--requirement(?:\s+|=))(\S.*)")

Pins = dict[str, frozenset[Version]]  # by normalised name


def read_locks(paths: Iterable[Path]) -> Pins:
    """The pinned versions of several files together. Raises InvalidRequest."""
    found: Pins = {}
    for path in paths:
        for name, versions in read_lock(path).items():
            found[name] = found.get(name, frozenset()) | versions
    return found


def read_lock(path: Path) -> Pins:
    """The pinned versions by project: in a requirements file those with `==`. Raises InvalidRequest, also
    if the file names none: `prune` would delete what was meant to stay, and `import` would take everything.
    """
    try:
        is_toml = path.suffix in {".toml", ".lock"}
        pairs = list(_locked(decoded(path)) if is_toml else _required(path))
    # tomllib raises a bare ValueError for a number of 5,000 digits.
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"{path} is not a lock file: {exc}; {_EXPECTED}") from exc
    found: defaultdict[str, set[Version]] = defaultdict(set)
    for name, version in pairs:
        try:
            found[ProjectName.parse(name).normalized].add(Version(version))
        except (InvalidRequest, InvalidVersion):  # a package from elsewhere: from a folder, from git
            continue
    if not found:
        raise InvalidRequest(f"{path} pins no version of any project; {_EXPECTED}")
    return {name: frozenset(versions) for name, versions in found.items()}


def decoded(path: Path, limit: int = _LIMIT) -> str:
    """The text of a file of at most `limit` bytes. Raises InvalidRequest."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as exc:
        raise InvalidRequest(f"{path} can't be read: {exc.strerror}; {_EXPECTED}") from exc
    if len(content) > limit:
        raise InvalidRequest(f"{path} has more than {limit} bytes; {_EXPECTED}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"{path} is not a lock file: {exc}; {_EXPECTED}") from exc


def _locked(text: str) -> Iterator[tuple[str, str]]:
    """Names and versions in the TOML of a lock file: `[[package]]` of uv and poetry, `[[packages]]` of
    pylock.toml.
    """
    document = tomllib.loads(text)
    packages = document.get("package") or document.get("packages") or []
    for package in packages if isinstance(packages, list) else []:
        name, version = (
            (package.get("name"), package.get("version")) if isinstance(package, dict) else ("", "")
        )
        if isinstance(name, str) and isinstance(version, str):
            yield name, version


def read_requirements(paths: Iterable[Path]) -> dict[str, SpecifierSet]:
    """Which versions of which projects some requirements files ask for. Raises InvalidRequest, also if a file
    names no project.
    """
    found: dict[str, SpecifierSet] = {}
    for path in paths:
        requirements = list(_requirements(path))
        if not requirements:
            raise InvalidRequest(f"{path} names no project; expected a requirements file")
        for requirement in requirements:
            with suppress(InvalidRequest):
                name = ProjectName.parse(requirement.name).normalized
                found[name] = found.get(name, SpecifierSet()) & requirement.specifier
    return found


def _requirements(path: Path) -> Iterator[Requirement]:
    """The requirements in a file, and in those that it includes. Other options don't count."""
    for line in requirement_lines(path):
        with suppress(InvalidRequirement):
            yield Requirement(line.split(" --", 1)[0].strip())


def requirement_lines(path: Path, *, seen: set[Path] | None = None) -> Iterator[str]:
    """The lines of a requirements file, and of the files that it includes with `-r`, each file once.
    Continued lines are joined, and comments are left out. Raises InvalidRequest.
    """
    seen = set() if seen is None else seen
    if path.resolve() in seen:
        return
    seen.add(path.resolve())
    for line in re.sub(r"\\\r?\n", " ", decoded(path)).splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        included = _INCLUDE.fullmatch(text)
        if included is not None:
            yield from requirement_lines(path.parent / included[1], seen=seen)
        elif text:
            yield text


def _required(path: Path) -> Iterator[tuple[str, str]]:
    """Names and versions of `name==version`."""
    for requirement in _requirements(path):
        for each in requirement.specifier:
            if each.operator in {"==", "==="} and not each.version.endswith(".*"):
                yield requirement.name, each.version
