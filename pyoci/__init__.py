"""A private Python package index that keeps its packages in an OCI registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyoci.library import (
        Anonymous,
        Basic,
        Bearer,
        File,
        IdentityToken,
        Index,
        Project,
        PyOCIError,
        explain,
        open_index,
        open_source,
        operations,
    )

__version__ = "0.1.0"
__all__ = [
    "Anonymous",
    "Basic",
    "Bearer",
    "File",
    "IdentityToken",
    "Index",
    "Project",
    "PyOCIError",
    "explain",
    "open_index",
    "open_source",
    "operations",
]


def __getattr__(name: str) -> Any:
    """The names of the library, imported when they are first used: `pyoci --help` needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module 'pyoci' has no attribute {name!r}")
    import pyoci.library

    return getattr(pyoci.library, name)
