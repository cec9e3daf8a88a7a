"""The catalogue repository of a namespace, checked and repaired: it has each project once, as it is now."""

from __future__ import annotations

from dataclasses import dataclass

from pyoci.distributions.names import ProjectName
from pyoci.errors import PyOCIError
from pyoci.maintenance.check import Kind, Problem
from pyoci.maintenance.repair import Repaired
from pyoci.oci.credentials import Credentials
from pyoci.store.catalog import Catalog
from pyoci.store.models import Namespace
from pyoci.store.writing.catalog import Difference

_KINDS: dict[Difference, Kind] = {
    "missing": "catalogue lacks it",
    "outdated": "catalogue is outdated",
    "extra": "catalogue has no files for it",
}
KINDS = frozenset(_KINDS.values())


@dataclass(frozen=True, slots=True)
class CatalogMaintenance:
    """The catalogue of one namespace, with a caller's credentials."""

    catalog: Catalog
    namespace: Namespace
    caller: Credentials

    def names(self) -> tuple[ProjectName, ...]:
        """The projects that the catalogue lists; none if the caller may not read it."""
        try:
            return self.catalog.names(self.namespace, self.caller)
        except PyOCIError:
            return ()

    def problems(self, name: ProjectName) -> tuple[Problem, ...]:
        """What is wrong with what the catalogue says of a project."""
        try:
            found = self.catalog.difference(self.namespace, name, self.caller)
        except PyOCIError as exc:
            kind: Kind = "unreadable"
            return (Problem(project=name, tag="", kind=kind, what="catalogue", detail=exc.message),)
        return () if found is None else (Problem(project=name, tag="", kind=_KINDS[found], what=str(name)),)

    def repair(self, problem: Problem) -> Repaired:
        """Write what the project is to the catalogue."""
        why = self.catalog.repair(self.namespace, problem.project, self.caller)
        return Repaired(problem, "left" if why else "repaired", why)
