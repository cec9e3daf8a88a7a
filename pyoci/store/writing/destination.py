"""Which namespace an upload goes to if its address can mean more than one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied, InvalidRequest, NotFound, NotSupported, Unauthorized
from pyoci.oci.credentials import Credentials
from pyoci.store.marker import MARKER_TAG
from pyoci.store.models import Namespace
from pyoci.store.pages import Pages
from pyoci.store.project import StoredProject
from pyoci.store.roots import Roots

OpenProject = Callable[[Namespace, ProjectName, Credentials], StoredProject]


@dataclass(frozen=True, slots=True)
class UploadAddress:
    """The address that an upload is sent to. It spells `namespace`.

    If its last segment is an alias such as `simple`, `alias_of` is the namespace above, which is meant unless
    `namespace` is in use. `pages` are the projects whose page has the same address.
    """

    namespace: Namespace
    alias_of: Namespace | None = None
    pages: tuple[tuple[Namespace, ProjectName], ...] = ()


class Destinations:
    """Asks the registry which namespace is meant. One for the process; `open_project` opens a project to
    publish to.
    """

    def __init__(self, roots: Roots, pages: Pages, open_project: OpenProject) -> None:
        self._roots = roots
        self._pages = pages
        self._open = open_project

    def choose(self, address: UploadAddress, name: ProjectName, caller: Credentials) -> Namespace:
        """The namespace for an upload of the project `name`. Raises InvalidRequest if the address is the page
        of that project, and what the registry says.
        """
        namespace = address.namespace
        if address.alias_of is not None and not self._is_in_use(namespace, name, caller):
            return address.alias_of
        for package_index, project in address.pages:
            if project == name and self._is_misplaced(namespace, package_index, name, caller):
                raise InvalidRequest(
                    f"{package_index}/{name} is the address of a project; expected that of its package index,"
                    f" {package_index}/"
                )
        return namespace

    def _is_in_use(self, namespace: Namespace, name: ProjectName, caller: Credentials) -> bool:
        """Whether the namespace has this project, or the registry lists anything else in it."""
        if self._is_there(self._open(namespace, name, caller)):
            return True
        try:
            return self._roots.is_in_use(namespace, caller, fresh=True)
        except (NotFound, NotSupported, Unauthorized, Denied):
            return False

    def _is_misplaced(
        self, namespace: Namespace, package_index: Namespace, name: ProjectName, caller: Credentials
    ) -> bool:
        """Whether the project is in `package_index`, and there is none of that name in `namespace`, which has
        the address of its page. GitLab's namespaces are `<group>/<project>`, and may have a `<project>`, too.
        """
        if self._is_there(self._open(namespace, name, caller)):
            return False
        project = self._open(package_index, name, caller)
        try:
            return str(MARKER_TAG) in project.listing().tags or bool(self._pages.page(project).files)
        except (NotFound, Unauthorized, Denied):
            return False

    @staticmethod
    def _is_there(project: StoredProject) -> bool:
        """Whether the registry lists tags of the repository to this caller, or lags behind our own write.

        A denied repository counts as absent, for some registries deny what they don't have. So does one with
        an empty list of tags, which is what gcr.io answers for an absent one.
        """
        existed = project.cache.access.has_existed()
        try:
            return bool(project.listing().tags) or existed
        except NotFound:
            return existed
        except (Unauthorized, Denied):
            return False
