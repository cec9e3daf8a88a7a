"""CatalogUpdater: keeps the catalogue repository up to date with what is published, yanked and deleted.

It does what the caller may do there. Whoever may not write to the catalogue repository publishes all the
same: a project can be added later, by the next publisher or by `pyoci check --repair`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

from packaging.version import InvalidVersion, Version

from pyoci.distributions.labels import SUMMARY_LIMIT
from pyoci.errors import Denied, PyOCIError
from pyoci.oci import errors
from pyoci.oci.models import EMPTY_BLOB, Document, Manifest
from pyoci.oci.references import Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.simple_api.model import latest
from pyoci.store import catalog_repository
from pyoci.store.catalog_repository import CatalogName
from pyoci.store.models import PackageFile, ProjectSummary
from pyoci.store.project import Absent, StoredProject
from pyoci.store.writing.queue import TagLocks
from pyoci.store.writing.steps import TagWriter, push_config

# The project is published, and its client waits: some give up after ten seconds.
_SECONDS = 4.0  # for all documents that are read and written
_LOCK_SECONDS = 2.0  # to wait for others who write the same project's tag
# What registries say of a repository that isn't there yet; the answer to the write decides.
_ABSENT = (errors.RegistryNotFound, errors.RegistryUnauthorized, errors.RegistryDenied)
_LACKS_BLOB = (errors.RegistryNotFound, errors.RegistryRefused)

Difference = Literal["missing", "outdated", "extra"]
Describe = Callable[[StoredProject], ProjectSummary | None]
_Wanted = Callable[[ProjectSummary | None], ProjectSummary]


class CatalogUpdater:
    """Updates the tag of a project. One for the process; a project comes with its caller's session, which
    publishes. `describe` reads what a project is. `limited` limits the seconds of all calls in its block.
    Without a `name` there is no catalogue.

    Methods return why the catalogue was not updated; "" if it is up to date, or if there is none. Nothing is
    raised, because the project itself has been changed already.
    """

    def __init__(
        self,
        name: CatalogName | None,
        tags: TagWriter,
        locks: TagLocks,
        describe: Describe,
        limited: Callable[[float], AbstractContextManager[None]],
    ) -> None:
        self.name, self._tags, self._locks, self._describe = name, tags, locks, describe
        self._limited = limited

    def published(self, project: StoredProject, file: PackageFile, summary: str) -> str:
        """A file was published. Nothing is written unless its version is the newest, and new there."""
        is_yanked = file.yanked is not None
        mine = ProjectSummary(summary[:SUMMARY_LIMIT], str(file.version), file.upload_time, is_yanked)

        def wanted(present: ProjectSummary | None) -> ProjectSummary:
            before = present
            if present is None or _version(present.version) is None:
                before = self._describe(project)  # a project from before the catalogue
            there = _version(before.version) if before is not None else None
            if before is None or there is None:
                return mine
            is_newer = latest({there: before.yanked, file.version: is_yanked}) != there
            return mine if is_newer else before

        return self._update(project, wanted)

    def refresh(self, project: StoredProject) -> str:
        """Write what the project is now, after a version was yanked or deleted, or for a repair. The tag of a
        project without files is removed.
        """
        return self._update(project, lambda _present: self._present_state(project))

    def difference(self, project: StoredProject) -> Difference | None:
        """How the catalogue differs from what the project is now; None if it doesn't, or if it can't have the
        project. Raises the registry's refusal.
        """
        if self.name is None or catalog_repository.tag_of_project(project.name) is None:
            return None
        repository = self.name.beside(project.repository)
        there = catalog_repository.read_entry(project.session, repository, project.name)
        now = self._present_state(project)
        if catalog_repository.is_same(there or ProjectSummary(), now):
            return None
        if not now.version:
            return "extra"
        return "outdated" if there is not None and there.version else "missing"

    def _present_state(self, project: StoredProject) -> ProjectSummary:
        try:
            return self._describe(project) or ProjectSummary()
        except Absent as exc:
            if not exc.is_conclusive:
                raise
            return ProjectSummary()

    def _update(self, project: StoredProject, wanted: _Wanted) -> str:
        if self.name is None:
            return ""
        try:
            with self._limited(_SECONDS):
                self._write(project, self.name.beside(project.repository), wanted)
        except PyOCIError as exc:
            project.events.warning(
                "store", "catalogue not updated", repository=str(project.repository), why=exc.message
            )
            return exc.message
        return ""

    def _write(self, project: StoredProject, repository: Repository, wanted: _Wanted) -> None:
        session, tag = project.session, catalog_repository.tag_of_project(project.name)
        if tag is None:
            raise Denied("names over 128 characters can't be in the catalogue repository")
        with self._locks.held(repository, tag, _LOCK_SECONDS):
            document = self._read(session, repository, tag)
            present = catalog_repository.entry_in(document)
            if document is not None and present is None:
                raise Denied(
                    f"the tag {tag} of {repository} holds something else than an entry of a catalogue"
                )
            entry = wanted(present)
            new = catalog_repository.entry_manifest(project.name, entry)
            if catalog_repository.is_same(present, entry) or (document is None and not entry.version):
                return
            if document is not None and not entry.version:
                self._tags.remove_unmarked(session, repository, tag, document, new)
            else:
                self._push(session, repository, tag, document, new)

    def _read(self, session: OCISession, repository: Repository, tag: Tag) -> Document | None:
        try:
            return self._tags.read(session, repository, tag)
        except _ABSENT:
            return None

    def _push(
        self, session: OCISession, repository: Repository, tag: Tag, old: Document | None, new: Manifest
    ) -> None:
        """Push a manifest, and the empty blob that all of them refer to if the registry lacks it."""
        try:
            self._tags.write(session, repository, tag, old, new)
        except _LACKS_BLOB:
            push_config(session, repository, EMPTY_BLOB)
            self._tags.write(session, repository, tag, old, new)


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except (InvalidVersion, ValueError):
        return None
