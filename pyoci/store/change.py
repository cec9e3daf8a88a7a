"""Change: one change of a version's image index, as pure functions of what stands there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pyoci.oci.models import ImageIndex


class Already(Enum):
    """What `apply` says instead of an image index to write."""

    SO = "nothing has to be done"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an image index.

    `apply` gets the present one (None: no such tag) and returns the wanted one, or why none is to be written;
    one without manifests means that the tag is to go. It may be asked again, and may raise. `holds` tells
    whether the change is in what was read back. A neighbour's changes don't matter: putting back what
    somebody deleted elsewhere would be as wrong as losing a file.
    """

    apply: Callable[[ImageIndex | None], ImageIndex | Already]
    holds: Callable[[ImageIndex | None], bool]
