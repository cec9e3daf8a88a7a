"""Selection: which files of another package index a mirror copies, and which index that is.

Lock files and names of projects choose the files. The other index is never asked for private projects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pyoci.config.client import MirrorSettings
from pyoci.distributions.compatibility import Platform, PythonVersion, fits
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from pyoci.library.downloading import parse_requirement, pinned
from pyoci.library.importing import ImportedFile, failed
from pyoci.library.locked import PYPI, Lock, LockedVersion, index_url, read_lock_file
from pyoci.library.sources import SourceFile, SourcePage
from pyoci.simple_api.model import version_in

_PRIVATE = "it is private (PYOCI_PRIVATE_PROJECTS), so the source isn't asked for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which files of a version are copied. No platforms, and no Pythons, stand for all of them."""

    platforms: tuple[Platform, ...] = ()
    pythons: tuple[PythonVersion, ...] = ()
    sdists: bool = True

    @classmethod
    def parse(
        cls, platforms: Iterable[str] = (), pythons: Iterable[str] = (), *, sdists: bool = True
    ) -> Self:
        """Raises InvalidRequest."""
        return cls(
            platforms=tuple(map(Platform.parse, platforms)),
            pythons=tuple(map(PythonVersion.parse, pythons)),
            sdists=sdists,
        )

    def takes(self, filename: str, requires_python: str | None = None) -> bool:
        """Whether a file is copied."""
        if self.pythons and not any(python.satisfies(requires_python) for python in self.pythons):
            return False
        return fits(filename, self.platforms, self.pythons) if filename.endswith(".whl") else self.sdists

    def of_each_python(self) -> Iterable[Filter]:
        """A filter for each Python by itself."""
        return [replace(self, pythons=(python,)) for python in self.pythons] or [self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is mirrored: the versions of lock files, and the newest versions of projects that are named.

    `source` is the URL of the package index that has them. `left_out` are packages that it isn't asked for.
    """

    source: str
    locked: Mapping[str, tuple[LockedVersion, ...]]
    specifiers: Mapping[str, tuple[SpecifierSet, ...]]
    newest: int | None  # of each named project; None: every version
    filter: Filter
    left_out: tuple[ImportedFile, ...] = ()

    @classmethod
    def parse(
        cls,
        settings: MirrorSettings,
        *,
        locks: Iterable[Path] = (),
        projects: Iterable[str] = (),
        source: str | None = None,
        any_index: bool = False,
        newest: int | None = 1,
        files: Filter = Filter(),
    ) -> Self:
        """What lock files and requirements (`flask>=3`) choose. `source` is the URL of a package index; by
        default the one in the lock files, or PYOCI_UPSTREAM_INDEX. What a lock file has from another index is
        left out unless `any_index` is true, and so are private projects. Raises InvalidRequest, also if
        nothing tells private projects from others.
        """
        read = [read_lock_file(path) for path in locks]
        wanted: defaultdict[str, list[SpecifierSet]] = defaultdict(list)
        for each in map(parse_requirement, projects):
            wanted[ProjectName.parse(each.name).normalized].append(each.specifier)
        if not read and not wanted:
            raise InvalidRequest("nothing is chosen; expected lock files or projects")
        for lock in read:
            _check_indexes(lock, settings, any_index=any_index)
        named = frozenset[str]().union(*(lock.indexes for lock in read))
        url = _source(source, named, settings)
        private = settings.private_projects.covers
        chosen, left_out = _divided(read, url, named, private, any_index=any_index)
        left_out.update({(name, _PRIVATE): None for name in wanted if private(name)})
        if not chosen and all(map(private, wanted)):
            package, reason = next(iter(left_out))
            raise InvalidRequest(
                f"there is nothing to copy: {package} is left out, because {reason}; expected another source"
            )
        return cls(
            source=url,
            locked={project: tuple(versions) for project, versions in chosen.items()},
            specifiers={name: tuple(each) for name, each in wanted.items() if not private(name)},
            newest=newest,
            filter=files,
            left_out=tuple(_left_out(project, reason) for project, reason in left_out),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The projects that the source is asked for."""
        return tuple(sorted({*self.locked, *self.specifiers}))

    def pick(self, project: str, page: SourcePage, now: datetime) -> Iterator[SourceFile | ImportedFile]:
        """The files of a page that are copied, and what can't be copied of the lock files."""
        if page.is_private:
            yield _left_out(project, f"{self.source} has it in its own registry; see `pyoci copy`")
            return
        if page.status.is_quarantined:
            yield failed(project, "", f"{self.source} has quarantined it")
            return
        chosen: dict[str, SourceFile | ImportedFile] = {}
        for version in self.locked.get(project, ()):
            for each in self._locked(project, page, version):
                before = chosen.get(each.filename)
                if not each.filename:
                    yield each
                elif isinstance(before, SourceFile) and isinstance(each, SourceFile):
                    chosen[each.filename] = _with_hashes(project, before, each.locked)
                elif not isinstance(before, ImportedFile):  # what failed for one lock file has failed
                    chosen[each.filename] = each
        for specifier in self.specifiers.get(project, ()):
            for each in self._newest(project, page, specifier):
                chosen.setdefault(each.filename or str(specifier), each)
        yield from chosen.values()

    def _locked(
        self, project: str, page: SourcePage, version: LockedVersion
    ) -> Iterator[SourceFile | ImportedFile]:
        find = self._named if version.files else self._of_version
        found = list(find(project, page, version))
        yield from found
        if not found:
            yield _left_out(project, f"no file of {version.version} is for these platforms and Pythons")

    def _named(
        self, project: str, page: SourcePage, version: LockedVersion
    ) -> Iterator[SourceFile | ImportedFile]:
        """The files that a lock file names."""
        there = {file.filename: file for file in page.files}
        for locked in version.files:
            file = there.get(locked.filename)
            if not self.filter.takes(locked.filename, file.requires_python if file else None):
                continue
            if file is None:
                yield failed(project, locked.filename, f"{self._owner(page)} doesn't have it (any more)")
            else:
                yield _with_hashes(project, file, locked.hashes)

    def _of_version(
        self, project: str, page: SourcePage, version: LockedVersion
    ) -> Iterator[SourceFile | ImportedFile]:
        """The files of a version with one of its hashes, as a requirements file has them."""
        there = [file for file in page.files if version_in(file.filename) == version.version]
        if not there:
            yield failed(project, "", f"{self._owner(page)} has no version {version.version}")
        unknown = set(version.digests)
        for file in there:
            hashes = version.digests.intersection(file.hashes.items())
            unknown -= hashes
            if (hashes or not version.digests) and self.filter.takes(file.filename, file.requires_python):
                yield _with_hashes(project, file, dict(hashes))
        for algorithm, digest in sorted(unknown) if there else ():
            wanted = f"file of {version.version} with a lock file's {algorithm} {digest}"
            yield failed(project, "", f"{self._owner(page)} has no {wanted}")

    def _newest(
        self, project: str, page: SourcePage, specifier: SpecifierSet
    ) -> Iterator[SourceFile | ImportedFile]:
        """The files of the newest versions: for each Python, those that it can install."""
        pins = pinned(specifier)
        candidates: defaultdict[Version, list[SourceFile]] = defaultdict(list)
        for file in page.files:
            version = version_in(file.filename)
            if version is not None and (file.yanked is None or version in pins):
                candidates[version].append(file)
        chosen: dict[str, SourceFile] = {}
        for each in self.filter.of_each_python():
            fitting = {
                version: [file for file in found if each.takes(file.filename, file.requires_python)]
                for version, found in candidates.items()
            }
            versions = specifier.filter(version for version, found in fitting.items() if found)
            for version in sorted(versions, reverse=True)[: self.newest]:
                chosen.update({file.filename: file for file in fitting[version]})
        if not chosen:
            yield failed(
                project, "", f"{self._owner(page)} has no file of {project}{specifier} that is chosen"
            )
        yield from (_with_hashes(project, file, {}) for file in chosen.values())

    def _owner(self, page: SourcePage) -> str:
        """The source, as the beginning of a sentence about what it lacks."""
        return f"{self.source} withholds files ({page.withheld}), and" if page.withheld else self.source


def _source(given: str | None, named: Collection[str], settings: MirrorSettings) -> str:
    """The URL of the index that files come from."""
    upstream = settings.upstream.url if settings.upstream is not None else None
    if given is not None:
        url = index_url(given)
        if url is None or "@" in given:
            raise InvalidRequest("the source can't be used; expected the URL of an index without password")
        return url
    urls = [each for each in named if each != PYPI]
    if len(named) == 1 and urls:
        return urls[0]
    url = index_url(upstream)
    if url is not None and (not named or url in named or PYPI in named):
        return url
    if urls:
        raise InvalidRequest(
            f"the lock files name several indexes: {', '.join(sorted(named))}; expected --source with one"
        )
    raise InvalidRequest("no package index is named to copy from; expected --source or PYOCI_UPSTREAM_INDEX")


def _check_indexes(lock: Lock, settings: MirrorSettings, *, any_index: bool) -> None:
    """Raises InvalidRequest if nothing says which projects of a lock file are private: the source would hear
    their names.
    """
    is_said = all(version.index is not None for version in lock.versions)
    if not is_said and not any_index and not settings.private_projects.patterns:
        raise InvalidRequest(
            f"{lock.path} doesn't say which index its packages come from; expected your private projects in"
            " PYOCI_PRIVATE_PROJECTS, or --any-index if there are none"
        )


def _is_from(index: str | None, source: str, named: Collection[str]) -> bool:
    """Whether a locked version comes from the source. The file may not say so, and need not name PyPI."""
    return index is None or index == source or (index == PYPI and source not in named)


def _divided(
    locks: Iterable[Lock],
    source: str,
    named: Collection[str],
    private: Callable[[str], bool],
    *,
    any_index: bool,
) -> tuple[dict[str, list[LockedVersion]], dict[tuple[str, str], None]]:
    """The versions in lock files that the source is asked for, by project; and the packages that it isn't
    asked for, each with the reason.
    """
    chosen: defaultdict[str, list[LockedVersion]] = defaultdict(list)
    left_out: dict[tuple[str, str], None] = {}
    for lock in locks:
        for package in lock.elsewhere:
            if package.origin != "a folder":  # the user's own project is one
                reason = f"{lock.path} has it from {package.origin}, not from a package index"
                left_out[package.project, reason] = None
        for version in lock.versions:
            if private(version.project):
                left_out[version.project, _PRIVATE] = None
            elif any_index or _is_from(version.index, source, named):
                chosen[version.project].append(version)
            else:
                reason = f"{lock.path} has it from {version.index}, not from {source}"
                left_out[version.project, reason] = None
    return chosen, left_out


def _with_hashes(project: str, file: SourceFile, hashes: Mapping[str, str]) -> SourceFile | ImportedFile:
    """The file with the hashes that a lock file has, or why it can't be copied."""
    for algorithm, digest in hashes.items():
        if file.hashes.get(algorithm, digest).lower() != digest:
            return failed(
                project,
                file.filename,
                f"its page has the {algorithm} {file.hashes[algorithm]}, and a lock file has {digest}",
            )
    known = {**hashes, **file.hashes}
    if "sha256" not in known:
        return failed(project, file.filename, "neither its page nor a lock file has its sha256")
    return replace(file, hashes=known, locked={**file.locked, **hashes})


def _left_out(project: str, reason: str) -> ImportedFile:
    return ImportedFile(project=project, filename="", outcome="left out", error=reason)
