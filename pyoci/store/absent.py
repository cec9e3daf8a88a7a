"""Absent: a registry has said that there is no such project; and what that is worth."""

from __future__ import annotations

from pyoci.errors import NotFound
from pyoci.oci.errors import RegistryNotFound

# What registries say of a repository that they don't have; NOT_FOUND is Harbor's.
_UNKNOWN = frozenset({"NAME_UNKNOWN", "NOT_FOUND"})


class Absent(NotFound):
    """The registry has no such project, or shows none to this caller."""

    is_from_registry = False  # by a registry, and not by a web server that stands in its place
    is_conclusive = False  # in the registry's own words for what it doesn't have

    @classmethod
    def by(cls, message: str, refusal: RegistryNotFound) -> Absent:
        """What the registry's 404 means."""
        absent = cls(message)
        absent.is_from_registry = bool(refusal.codes)
        # One that gives another reason, too, has not said that there is none.
        absent.is_conclusive = absent.is_from_registry and _UNKNOWN.issuperset(refusal.codes)
        return absent

    @classmethod
    def image(cls, message: str) -> Absent:
        """The registry has listed a repository of that name, and holds a container image there."""
        absent = cls(message)
        absent.is_from_registry = absent.is_conclusive = True
        return absent
