"""Catalog: the projects of a namespace for people: where their list comes from, and what they are.

The list is that of the first source that has one. It proves that the names in it are here, and never that
another name isn't: nothing else is decided by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from packaging.version import Version

from pyoci.distributions.metadata import parse_metadata
from pyoci.distributions.names import ProjectName
from pyoci.errors import PyOCIError, RequestEnded
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import Repository, Tag
from pyoci.store.cache import Cache
from pyoci.store.files import Files, look, remembered
from pyoci.store.images import Images
from pyoci.store.layout import SUMMARY_LIMIT
from pyoci.store.models import Namespace, PackageFile, ProjectSummary, Root
from pyoci.store.project import StoredProject, side_by_side, versions_among
from pyoci.store.roots import Roots
from pyoci.store.writing.destination import OpenProject

SUMMARIES = 50  # projects of one page that the registry is asked about
_SECONDS = 8.0  # after which no more projects are asked about
_VERSIONS = 5  # that are read until one has files that aren't yanked
_TAGS = 10  # of a repository that is checked for images; a page of the project checks more

Summaries = Mapping[ProjectName, ProjectSummary | None]


class Catalog:
    """Lists projects. One for the process. `open_project` opens one for reading."""

    def __init__(
        self,
        roots: Roots,
        cache: Cache,
        files: Files,
        images: Images,
        open_project: OpenProject,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots, self._cache, self._files, self._images = roots, cache, files, images
        self._open = open_project
        self._clock = clock

    def root(self, namespace: Namespace, caller: Credentials) -> Root:
        """The projects of a namespace, sorted, without known container images. Raises NotFound if no source
        has a list, or the refusal of a source that wants other credentials.
        """
        return self.without_images(Root(self._roots.projects(namespace, caller), namespace))

    def without_images(self, root: Root) -> Root:
        """The root without the repositories that are known to hold container images alone."""
        namespace = root.namespace
        assert namespace is not None
        images = self._cache.images(Repository(namespace.registry, namespace.path))

        def is_shown(name: ProjectName) -> bool:
            if name.underscored not in images:
                return True
            return self._cache.of(namespace.repository(name)).access.has_existed()

        shown = tuple(filter(is_shown, root.projects)) if images else root.projects
        return Root(shown, namespace, root.source)

    def summaries(self, namespace: Namespace, names: Sequence[ProjectName], caller: Credentials) -> Summaries:
        """What some projects of a root are, by name. None: the repository holds container images alone.

        The registry is asked about the first SUMMARIES of them, for some seconds. A project that it refuses
        to the caller, or that isn't reached in time, is left out.
        """
        begun, found = self._clock(), dict[ProjectName, ProjectSummary | None]()

        def look_at(project: StoredProject) -> None:
            if self._clock() - begun >= _SECONDS:
                return
            try:
                found[project.name] = self._summary(project)
            except RequestEnded:
                raise
            except PyOCIError as exc:
                why = {"repository": str(project.repository), "why": exc.message}
                project.events.debug("store", "no summary", **why)

        asked = [self._open(namespace, name, caller) for name in names[:SUMMARIES]]
        if asked:
            try:
                side_by_side(asked[0], look_at, asked)
            except RequestEnded:
                raise
            except PyOCIError:  # some were late
                pass
        return dict(found)

    def _summary(self, project: StoredProject) -> ProjectSummary | None:
        state = project.cache.state()
        is_fresh = project.is_proven and project.cache.freshness.is_list_fresh(state, project.cache.now())
        tags = state.tags if is_fresh else project.listing().tags
        newest = newest_version(project, tags)
        if newest is None:
            may_be_image = len(tags) <= _TAGS and not project.cache.access.has_existed()
            if may_be_image and self._images.are_all(project, tags):
                project.cache.add_image(project.repository)
                return None
            return ProjectSummary()
        files, summary = newest
        published = [file.upload_time for file in files if file.upload_time is not None]
        return ProjectSummary(
            summary or self._summary_of(project, files),
            str(files[0].version),
            min(published, default=None),
        )

    def _summary_of(self, project: StoredProject, files: Sequence[PackageFile]) -> str:
        """The Summary in METADATA of a version that was published without labels; "" if there is none."""
        for file in files:
            if file.core_metadata is not None:
                with suppress(PyOCIError):
                    text = self._files.metadata(project, file.filename, file.sha256)
                    return (parse_metadata(text, "METADATA", file.distribution).summary or "")[:SUMMARY_LIMIT]
        return ""


def newest_version(
    project: StoredProject, tags: tuple[str, ...]
) -> tuple[tuple[PackageFile, ...], str] | None:
    """The files of the newest version, as `pyoci.simple_api.model.latest` chooses it, and its summary. None
    if no version has files. At most a few versions are read.
    """
    yanked = None
    by_version: dict[Version, list[Tag]] = {}
    for version, tag in versions_among(tags):
        by_version.setdefault(version, []).append(tag)
    best_first = sorted(by_version, key=lambda version: (not version.is_prerelease, version), reverse=True)
    for version in islice(best_first, _VERSIONS):
        files, summary = list[PackageFile](), ""
        for tag in by_version[version]:
            found = remembered(project, tag) or look(project, tag)
            if found is not None:
                contents = project.contents(str(tag), found.digest, {})
                files, summary = [*files, *contents.files], summary or contents.summary
        # A version counts as yanked if one of its files is, as on a page.
        if files and all(file.yanked is None for file in files):
            return tuple(files), summary
        yanked = yanked or (tuple(files), summary) if files else yanked
    return yanked
