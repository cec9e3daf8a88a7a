"""A project, or one version of it, as a page for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pyoci.distributions.details import Dependency, Details, Person
from pyoci.distributions.filenames import Version
from pyoci.pages import frame, links, tags, usage
from pyoci.pages.description import Description
from pyoci.simple_api.model import File, Page, ProjectStatus, by_version, latest_of

VERSIONS_ON_A_PAGE = 50
_FILES = 200  # of one version that are shown; the raw page has all
_HASHES = 100  # in the lines for a requirements file
_STATUS = {
    "archived": "This project is archived: no new versions are expected.",
    "deprecated": "This project is deprecated: look for another one.",
    "quarantined": "This project is quarantined: its files are not offered.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page is. Addresses are relative, except `index`, and end in a slash."""

    home: str
    project: str  # the project's own page
    index: usage.Index
    root: str = ""  # the root of its namespace
    registry_page: str = ""  # absolute
    registry: str = ""  # the registry's name


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file in a table."""

    file: File
    kind: str
    date: str
    yanked: str | None  # the reason, "" if there is none; None: it isn't yanked

    @classmethod
    def of(cls, file: File, up: str) -> ShownFile:
        url = file.url if "://" in file.url else up + file.url
        return cls(
            file._replace(url=url), tags.kind_of(file.filename), day(file.upload_time), file.yank_reason
        )

    @property
    def sha256(self) -> str:
        return self.file.hashes.get("sha256", "")


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """A version in the list of versions."""

    version: str
    date: str
    files: int
    yanked: bool
    prerelease: bool


@dataclass(frozen=True, slots=True)
class ExtraDependencies:
    """What an extra needs; "" is what all installations need."""

    extra: str
    dependencies: tuple[Dependency, ...]


# What the page says about files that a rule of the server withholds, after their number: `3 too new`.
_WITHHELD = {
    "blocked": "blocked",
    "malware": "reported as malware",
    "min-age": "too new",
    "not-allowed": "not on the list of allowed ones",
    "quarantined": "of a quarantined project",
    "unverifiable": "without a sha256 to verify the download by",
}


def project_html(
    page: Page,
    place: Place,
    details: Details,
    description: Description,
    *,
    one_version: bool = False,
    upstream: bool = False,
    withheld: Mapping[str, int] = MappingProxyType({}),
    number: int = 1,
) -> bytes:
    """The page of a project: its newest version, and a list of all; with `one_version` of that version alone.
    `number` is the page of the list of versions. `upstream`: its files come from another package index.
    `withheld` is how many of them each of this server's rules withholds.
    """
    versions = by_version(page.files)
    newest = latest_of(versions)
    files = versions[newest] if newest is not None else []
    up = place.project if one_version else ""
    shown = [ShownFile.of(file, up) for file in files]
    listed = [] if one_version else _versions(versions)
    on_page, number, pages = frame.page_of(listed, number, VERSIONS_ON_A_PAGE)
    version = str(newest) if newest is not None else ""
    return frame.html(
        "project",
        **_about(page.name, details, files),
        page=page,
        place=place,
        version=version,
        one_version=one_version,
        upstream=upstream,
        withheld=[(count, _WITHHELD.get(rule, rule)) for rule, count in withheld.items()],
        released=min((each.date for each in shown if each.date), default=""),
        prerelease=newest is not None and newest.is_prerelease,
        yanked=next((each.yanked for each in shown if each.yanked is not None), None),
        status=_status(page.status),
        description=description,
        files=shown[:_FILES],
        more_files=max(len(shown) - _FILES, 0),
        versions=on_page,
        versions_in_all=len(listed),
        number=number,
        pages=pages,
        installing=_installing(page, place, version, shown, one_version),
    )


def last_page(page: Page) -> int:
    """The number of the last page of the list of versions."""
    return frame.page_of(list(by_version(page.files)), 1, VERSIONS_ON_A_PAGE)[2]


def _about(name: str, details: Details, files: list[File]) -> dict[str, Any]:
    """What the metadata of a version, and its files, say about the project."""
    return {
        "title": _spelled(name, details),
        "details": details,
        "urls": [(label, url, links.outside(url)) for label, url in _urls(details, files)],
        "people": _people(details),
        "requires_python": next((file.requires_python for file in files if file.requires_python), ""),
        "classifiers": _classifiers(details.classifiers),
        "dependencies": _dependencies(details),
    }


def day(time: str | None) -> str:
    """The day of a time as `2026-11-20`; "" if it isn't known."""
    return "" if time is None else datetime.fromisoformat(time).date().isoformat()


def _versions(versions: dict[Version, list[File]]) -> list[ShownVersion]:
    """All versions, the newest first."""
    return [
        ShownVersion(
            str(version),
            min((day(file.upload_time) for file in files if file.upload_time), default=""),
            len(files),
            any(file.yanked for file in files),
            version.is_prerelease,
        )
        for version, files in reversed(versions.items())
    ]


def _spelled(name: str, details: Details) -> str:
    """The name as its author spells it, if that is the same name."""
    return details.spelling if re.sub(r"[-_.]+", "-", details.spelling).lower() == name else name


def _status(status: ProjectStatus | None) -> tuple[str, str, str] | None:
    """A status that people should know: its word, a sentence, and the reason."""
    if status is None or status.status not in _STATUS:
        return None
    return status.status, _STATUS[status.status], status.reason or ""


def _urls(details: Details, files: list[File]) -> list[tuple[str, str]]:
    """The project's links: from the metadata, or those that a page has for the newest version."""
    known = next((list(file.project_urls.items()) for file in files if file.project_urls), [])
    return list(details.project_urls) or known


def _people(details: Details) -> list[tuple[str, list[tuple[Person, str]]]]:
    groups = (("Maintainers", details.maintainers), ("Authors", details.authors))
    return [
        (title, [(each, links.mail(each.address)) for each in people]) for title, people in groups if people
    ]


def _classifiers(classifiers: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The classifiers by their first part, which is the kind."""
    kinds: dict[str, list[str]] = {}
    for classifier in classifiers:
        kind, _, rest = classifier.partition(" :: ")
        between = " " if kind == "Programming Language" else ": "
        kinds.setdefault(kind if rest else "Other", []).append((rest or kind).replace(" :: ", between))
    return sorted(kinds.items())


def _dependencies(details: Details) -> list[ExtraDependencies]:
    """What all installations need, and then what each extra needs."""
    kinds: dict[str, list[Dependency]] = {"": [], **{extra: [] for extra in details.extras}}
    for dependency in details.dependencies:
        kinds.setdefault(dependency.extra, []).append(dependency)
    return [ExtraDependencies(extra, tuple(found)) for extra, found in kinds.items() if found or extra]


def _installing(
    page: Page, place: Place, version: str, files: list[ShownFile], one_version: bool
) -> tuple[usage.Tool, ...]:
    if not version:
        return ()
    hashes = [file.sha256 for file in files if len(file.sha256) == 64]
    return usage.installing(place.index, page.name, version, hashes[:_HASHES], pinned=one_version)
