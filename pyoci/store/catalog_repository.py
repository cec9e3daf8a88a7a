"""CatalogRepository: the catalogue repository of a namespace, as `docs/storage.rst` specifies it.

It has a tag for each project, whose manifest says what the project is. So one request lists the projects of a
registry that doesn't list its repositories, and publishers of different projects never write the same tag.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyoci.distributions.labels import DESCRIPTION, SUMMARY_LIMIT, TITLE, VERSION, shown_line
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, ProtocolError
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import EMPTY_DESCRIPTOR, Document, Manifest
from pyoci.oci.references import Repository, Tag
from pyoci.oci.session import OCISession
from pyoci.store.layout import CREATED, YANKED, parsed_time, stamp
from pyoci.store.models import Namespace, ProjectSummary

CATALOG_TYPE = "application/pyoci.catalog.v1"
_VERSION_LIMIT = 200  # characters


@dataclass(frozen=True, slots=True)
class CatalogName:
    """The last segment of the name of each namespace's catalogue repository."""

    text: str

    @property
    def project(self) -> ProjectName:
        """The project that could be confused with the catalogue repository."""
        return ProjectName.parse(self.text)

    def repository(self, namespace: Namespace) -> Repository:
        """The catalogue repository of a namespace. Raises InvalidRequest if its name is too long."""
        return Repository.parse(namespace.registry, namespace.prefix + self.text)

    def beside(self, project: Repository) -> Repository:
        """The catalogue repository of a project's namespace."""
        return self.repository(Namespace(project.registry, project.name.rpartition("/")[0]))


def tag_of_project(name: ProjectName) -> Tag | None:
    """The tag of a project; None for a name over 128 characters, which no tag can have."""
    try:
        return Tag.parse(name.normalized)
    except InvalidRequest:
        return None


def listed_projects(session: OCISession, repository: Repository) -> tuple[ProjectName, ...]:
    """The projects that have a tag. Tags that no project of the namespace can have are passed over. Raises
    RegistryError.
    """
    namespace = Namespace(repository.registry, repository.name.rpartition("/")[0])
    found = []
    for tag in session.tags(repository):
        try:
            name = ProjectName.parse(tag)
            namespace.repository(name)  # refuses a name that is too long there
        except InvalidRequest:
            continue
        if name.normalized == tag:
            found.append(name)
    return tuple(sorted(found))


def read_entry(session: OCISession, repository: Repository, name: ProjectName) -> ProjectSummary | None:
    """What the catalogue says of a project; None if it has nothing. Raises RegistryError."""
    tag = tag_of_project(name)
    if tag is None:
        return None
    try:
        return entry_in(session.pull(repository, tag))
    except RegistryNotFound:
        return None


def entry_in(document: Document | None) -> ProjectSummary | None:
    """What a document in a catalogue repository says of its project; None for any other document."""
    try:
        manifest = document.manifest() if document is not None else None
    except ProtocolError:
        return None
    if manifest is None or manifest.artifact_type != CATALOG_TYPE:
        return None
    annotations = manifest.annotations
    return ProjectSummary(
        shown_line(annotations.get(DESCRIPTION, ""), SUMMARY_LIMIT),
        shown_line(annotations.get(VERSION, ""), _VERSION_LIMIT),
        parsed_time(annotations.get(CREATED, "")),
        YANKED in annotations,
    )


def entry_manifest(name: ProjectName, entry: ProjectSummary) -> Manifest:
    """The manifest of a project. A project without files has neither version nor summary."""
    annotations = {TITLE: name.normalized}
    if entry.version:
        annotations[VERSION] = entry.version
    if entry.summary:
        annotations[DESCRIPTION] = entry.summary
    if entry.released is not None:
        annotations[CREATED] = stamp(entry.released)
    if entry.yanked:
        annotations[YANKED] = ""
    return Manifest(
        artifact_type=CATALOG_TYPE,
        config=EMPTY_DESCRIPTOR,
        layers=(EMPTY_DESCRIPTOR,),
        annotations=annotations,
    )


def is_same(one: ProjectSummary | None, other: ProjectSummary) -> bool:
    """Whether two entries are the same as the catalogue stores them: it has times in whole seconds."""
    return one is not None and _in_seconds(one) == _in_seconds(other)


def _in_seconds(entry: ProjectSummary) -> ProjectSummary:
    released = entry.released
    return entry if released is None else replace(entry, released=released.replace(microsecond=0))
