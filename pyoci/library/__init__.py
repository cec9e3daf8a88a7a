"""The library: a package index for programs, straight in a registry or behind a PyOCI server.

`open_index` opens one; `docs/library.rst` describes it. The `pyoci` command uses nothing else.

Its names are imported when they are first used (PEP 562): the keyring's backend needs few of the modules, and
clients start it for each password.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyoci.errors import PyOCIError
    from pyoci.library import operations
    from pyoci.library.credentials import find_credentials
    from pyoci.library.explaining import explain
    from pyoci.library.importing import Choice, ImportedFile
    from pyoci.library.index import Index
    from pyoci.library.mirroring_selection import Filter, Selection
    from pyoci.library.models import Explanation, File, Project, WithheldFile
    from pyoci.library.opening import open_index, open_source
    from pyoci.maintenance.check import CheckedProject, Problem
    from pyoci.maintenance.copy import CopiedTag
    from pyoci.maintenance.locks import read_locks
    from pyoci.maintenance.prune import PrunedVersion, Rules
    from pyoci.maintenance.repair import Repaired
    from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, IdentityToken
    from pyoci.simple_api.model import ProjectStatus

_MODULES = {
    "pyoci.errors": ("PyOCIError",),
    "pyoci.library.credentials": ("find_credentials",),
    "pyoci.library.explaining": ("explain",),
    "pyoci.library.importing": ("Choice", "ImportedFile"),
    "pyoci.library.index": ("Index",),
    "pyoci.library.mirroring_selection": ("Filter", "Selection"),
    "pyoci.library.models": ("Explanation", "File", "Project", "WithheldFile"),
    "pyoci.library.opening": ("open_index", "open_source"),
    "pyoci.maintenance.check": ("CheckedProject", "Problem"),
    "pyoci.maintenance.copy": ("CopiedTag",),
    "pyoci.maintenance.locks": ("read_locks",),
    "pyoci.maintenance.prune": ("PrunedVersion", "Rules"),
    "pyoci.maintenance.repair": ("Repaired",),
    "pyoci.oci.credentials": ("Anonymous", "Basic", "Bearer", "Credentials", "IdentityToken"),
    "pyoci.simple_api.model": ("ProjectStatus",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Anonymous",
    "Basic",
    "Bearer",
    "CheckedProject",
    "Choice",
    "CopiedTag",
    "Credentials",
    "Explanation",
    "File",
    "Filter",
    "IdentityToken",
    "ImportedFile",
    "Index",
    "Problem",
    "Project",
    "ProjectStatus",
    "PrunedVersion",
    "PyOCIError",
    "Repaired",
    "Rules",
    "Selection",
    "WithheldFile",
    "explain",
    "find_credentials",
    "open_index",
    "open_source",
    "operations",
    "read_locks",
]


def __getattr__(name: str) -> Any:
    if name == "operations":
        return import_module("pyoci.library.operations")
    if name not in _PLACES:
        raise AttributeError(f"module 'pyoci.library' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
