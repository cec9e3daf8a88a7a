"""Lock files with the hashes of their files: uv.lock, pylock.toml (PEP 751), poetry.lock, pdm.lock, and
requirements files with `--hash`.

`maintenance.locks` reads names and versions alone, and passes over what it doesn't know. Here every package
counts: one that is passed over would be missing where the packages are installed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from pyoci.distributions.filenames import read_version
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from pyoci.maintenance.locks import decoded, requirement_lines
from pyoci.oci.references import shown
from pyoci.simple_api import model

PYPI = "PyPI"  # stands for its URL, which poetry.lock doesn't have
_LIMIT = 16 * 1024 * 1024  # bytes of one file: large ones have 3 MB, and parsed TOML takes ten times as much
_MOST = 20_000  # packages of one file
_EXPECTED = (
    "expected uv.lock of the version 1, pylock.toml 1.x, poetry.lock 2.x, pdm.lock 4.x, or a requirements"
    " file with == and --hash"
)
# Also shortened, as pip takes them: --index, --extra.
_INDEX = re.compile(r"(?:-i\s*|--(?:i|py|ex)[a-z-]*(?:\s+|=))(.*)")
_FOLDER = re.compile(r"(?:-e|--editable)(?:\s+|=)(\S.*)")
_HASH = re.compile(r"--hash(?:\s+|=)([a-z0-9_]+):([0-9a-fA-F]+)")


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file that a lock file names. Its hashes are hex by algorithm, and may be empty."""

    filename: str
    hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedVersion:
    """A version that a lock file pins, and its files.

    A requirements file has no names of files: `digests` are then the hashes that a file may have. Without
    both, any file of the version will do.
    """

    project: str  # normalised
    version: Version
    index: str | None  # the URL of its package index, or PYPI; None: the file doesn't say
    files: tuple[LockedFile, ...] = ()
    digests: frozenset[tuple[str, str]] = frozenset()  # algorithm and hex


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A package that a lock file has from no package index, and where it has it from."""

    project: str
    origin: str


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file pins. `indexes` are the package indexes that it names."""

    path: Path
    versions: tuple[LockedVersion, ...]
    elsewhere: tuple[Elsewhere, ...]
    indexes: frozenset[str]


def read_lock_file(path: Path) -> Lock:
    """Read a lock file. Raises InvalidRequest if it isn't one that is known whole."""
    text = decoded(path, _LIMIT)
    try:
        if path.suffix in {".toml", ".lock"}:
            found = list(_read_toml(tomllib.loads(text)))
            indexes = frozenset(
                each.index for each in found if isinstance(each, LockedVersion) and each.index
            )
        else:
            found, indexes = _read_requirements(path)
    except (InvalidRequest, ValueError, RecursionError) as exc:
        reason = exc.message if isinstance(exc, InvalidRequest) else f"it is no TOML: {exc}"
        raise InvalidRequest(f"{path} can't be used: {reason}; {_EXPECTED}") from exc
    versions = tuple(each for each in found if isinstance(each, LockedVersion))
    elsewhere = tuple(each for each in found if isinstance(each, Elsewhere))
    if not versions:
        raise InvalidRequest(f"{path} pins no version of a project of a package index; {_EXPECTED}")
    return Lock(path, versions, elsewhere, indexes)


def index_url(text: object) -> str | None:
    """The URL of a package index in one spelling, without user and password; None if it isn't one."""
    try:
        parts = urlsplit(text) if isinstance(text, str) else None
        port = parts.port if parts else None
    except ValueError:
        return None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    netloc = host if port in {None, usual} else f"{host}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}/"


def _read_toml(document: Mapping[str, Any]) -> Iterator[LockedVersion | Elsewhere]:
    metadata = _table(document.get("metadata"))
    if "lock-version" in document:
        _check_version("lock-version", document["lock-version"], "1.")
        return _packages(document.get("packages"), _pylock_origin)
    if "lock-version" in metadata:
        _check_version("lock-version", metadata["lock-version"], "2.")
        return _packages(document.get("package"), _poetry_origin)
    if "lock_version" in metadata:
        _check_version("lock_version", metadata["lock_version"], "4.")
        return _packages(document.get("package"), _pdm_origin)
    if "version" in document:
        _check_version("version", document["version"], "1")
        return _packages(document.get("package"), _uv_origin)
    raise InvalidRequest("it is no lock file")


def _check_version(key: str, value: object, expected: str) -> None:
    """An expected version that ends with a dot is the beginning of one."""
    text = str(value)
    if not (text.startswith(expected) if expected.endswith(".") else text == expected):
        raise InvalidRequest(f"its {key} is {shown(text)}")


Origin = Callable[[Mapping[str, Any]], str | Elsewhere | None]  # the URL of an index; None: not said


def _packages(packages: object, origin: Origin) -> Iterator[LockedVersion | Elsewhere]:
    packages = packages if isinstance(packages, list) else []
    if len(packages) > _MOST:
        raise InvalidRequest(f"it has {len(packages)} packages; expected at most {_MOST}")
    for number, package in enumerate(packages, 1):
        name = package.get("name") if isinstance(package, dict) else None
        if not isinstance(name, str):
            raise InvalidRequest(f"its package {number} has no name")
        project = ProjectName.parse(name).normalized
        found = origin(package)
        if isinstance(found, Elsewhere):
            yield Elsewhere(project, found.origin)
            continue
        text = package.get("version")
        version = read_version(text) if isinstance(text, str) else None
        if version is None:
            raise InvalidRequest(f"its package {shown(name)} has no version")
        files = tuple(_files(package, project))
        yield LockedVersion(project=project, version=version, index=found, files=files)


def _uv_origin(package: Mapping[str, Any]) -> str | Elsewhere | None:
    source = _table(package.get("source"))
    if "registry" in source:
        return index_url(source["registry"]) or Elsewhere("", "a folder")
    origins = {"git": "git", "url": "a URL", "path": "a file"}
    return Elsewhere("", next((origins[key] for key in origins if key in source), "a folder"))


def _pylock_origin(package: Mapping[str, Any]) -> str | Elsewhere | None:
    origins = {"vcs": "a version control system", "directory": "a folder", "archive": "a URL"}
    for key, origin in origins.items():
        if key in package:
            return Elsewhere("", origin)
    return index_url(package.get("index"))


def _poetry_origin(package: Mapping[str, Any]) -> str | Elsewhere | None:
    """A package of PyPI has no source."""
    source = package.get("source")
    if source is None:
        return PYPI
    kind, url = _table(source).get("type"), _table(source).get("url")
    if kind == "legacy":
        return index_url(url) or Elsewhere("", "a source without a usable URL")
    origins = {"git": "git", "url": "a URL", "file": "a file"}
    return Elsewhere("", origins.get(kind, "a folder") if isinstance(kind, str) else "a folder")


def _pdm_origin(package: Mapping[str, Any]) -> str | Elsewhere | None:
    """pdm doesn't record package indexes."""
    origins = {"git": "git", "hg": "hg", "svn": "svn", "bzr": "bzr", "url": "a URL", "path": "a folder"}
    return next((Elsewhere("", origin) for key, origin in origins.items() if key in package), None)


def _files(package: Mapping[str, Any], project: str) -> Iterator[LockedFile]:
    """The files of a package: `files`, or `wheels` and `sdist`."""
    for key in ("files", "wheels"):
        files = package.get(key, [])
        if not isinstance(files, list):
            raise InvalidRequest(f"{key} of {project} is no list")
        yield from (_file(each, project) for each in files)
    if "sdist" in package:
        yield _file(package["sdist"], project)


def _file(entry: object, project: str) -> LockedFile:
    table = _table(entry)
    named = next((table[key] for key in ("file", "filename", "name") if key in table), None)
    place = next((table[key] for key in ("url", "path") if key in table), "")
    if named is None and isinstance(place, str):
        named = unquote(re.split(r"[?#]", place, maxsplit=1)[0]).replace("\\", "/").rpartition("/")[2]
    filename = model.filename(named)
    if filename is None:
        raise InvalidRequest(f"a file of {project} has no usable name")
    hashes = table.get("hashes")
    if hashes is None:
        algorithm, _, digest = str(table.get("hash") or "").partition(":")
        hashes = {algorithm: digest} if digest else {}
    known = model.hashes(hashes)
    if hashes and not known:
        raise InvalidRequest(f"the hash of {filename} can't be read")
    return LockedFile(filename, known)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_requirements(path: Path) -> tuple[list[LockedVersion | Elsewhere], frozenset[str]]:
    """The requirements, and the indexes that the file names. Of several, none is that of a requirement; nor
    is one beside another whose URL can't be read, such as `$PRIVATE_INDEX`.
    """
    lines = list(islice(requirement_lines(path), _MOST + 1))
    if len(lines) > _MOST:
        raise InvalidRequest(f"it has more than {_MOST} lines")
    named = {_index_named(match[1]) for line in lines if (match := _INDEX.fullmatch(line))}
    index = next(iter(named)) if len(named) == 1 else None
    return list(_required(lines, index)), frozenset(url for url in named if url is not None)


def _index_named(text: str) -> str | None:
    """The URL in the rest of a line, maybe quoted; None if it isn't one, or if other options follow it."""
    words = text.split()
    return index_url(words[0].strip("\"'")) if len(words) == 1 else None


def _required(lines: Iterable[str], index: str | None) -> Iterator[LockedVersion | Elsewhere]:
    for line in lines:
        head, *options = re.split(r"\s+(?=--)", line)
        folder = _FOLDER.fullmatch(head)
        if folder is not None or (head and not head.startswith("-")):
            digests = frozenset(
                (match[1], match[2].lower()) for each in options if (match := _HASH.fullmatch(each.strip()))
            )
            yield _requirement(folder[1] if folder else head, digests, index)


def _requirement(
    text: str, digests: frozenset[tuple[str, str]], index: str | None
) -> LockedVersion | Elsewhere:
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, ValueError):
        if "/" in text or text.startswith("."):
            return Elsewhere(_without_login(text), "a URL" if "://" in text else "a folder")
        raise InvalidRequest(f"{shown(text)} is no requirement") from None
    project = ProjectName.parse(requirement.name).normalized
    if requirement.url:
        return Elsewhere(project, "a URL")
    pins = [each.version for each in requirement.specifier if each.operator in {"==", "==="}]
    version = read_version(pins[0]) if len(pins) == 1 else None
    if version is None:
        raise InvalidRequest(f"it has {shown(str(requirement))}, which pins no version with ==")
    return LockedVersion(project=project, version=version, index=index, digests=digests)


def _without_login(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
