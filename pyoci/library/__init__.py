"""The library: a package index for programs, straight in a registry or behind a PyOCI server.

`open_index` opens one; `docs/library.rst` describes it. The `pyoci` command uses nothing else.
"""

from pyoci.errors import PyOCIError
from pyoci.library import operations
from pyoci.library.credentials import find_credentials
from pyoci.library.importing import Choice, ImportedFile
from pyoci.library.index import Index
from pyoci.library.mirroring import Filter, Selection
from pyoci.library.models import File, Project
from pyoci.library.opening import open_index, open_source
from pyoci.maintenance.check import CheckedProject, Problem
from pyoci.maintenance.copy import CopiedTag
from pyoci.maintenance.locks import read_locks
from pyoci.maintenance.prune import PrunedVersion, Rules
from pyoci.maintenance.repair import Repaired
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, IdentityToken

__all__ = [
    "Anonymous",
    "Basic",
    "Bearer",
    "CheckedProject",
    "Choice",
    "CopiedTag",
    "Credentials",
    "File",
    "Filter",
    "IdentityToken",
    "ImportedFile",
    "Index",
    "Problem",
    "Project",
    "PrunedVersion",
    "PyOCIError",
    "Repaired",
    "Rules",
    "Selection",
    "find_credentials",
    "open_index",
    "open_source",
    "operations",
    "read_locks",
]
