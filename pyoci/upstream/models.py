"""What upstream says of a project: UpstreamFile, ProjectStatus, UpstreamPage (simple repository API 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFile:
    """One file of a page, with what upstream tells of it. What it doesn't tell, or tells wrongly, is None."""

    filename: str
    url: str  # absolute, http or https, without credentials and fragment; percent-encoded where it must be
    hashes: Mapping[str, str] = field(default_factory=dict)  # hex by algorithm; empty where none is told
    size: int | None = None  # bytes (PEP 700)
    upload_time: str | None = None  # ISO 8601 with an offset, spelled as upstream spells it (PEP 700)
    requires_python: str | None = None
    core_metadata: bool | Mapping[str, str] = False  # its hashes; True where none is told (PEP 658, 714)
    yanked: bool | str = False  # the reason, never empty; True where none is told (PEP 592)
    provenance: str | None = None  # an absolute URL (PEP 740)
    gpg_sig: bool | None = None

    def document(self) -> dict[str, Any]:
        """The file as the simple API's JSON has it."""
        optional = {
            "size": self.size,
            "upload-time": self.upload_time,
            "requires-python": self.requires_python,
            "provenance": self.provenance,
            "gpg-sig": self.gpg_sig,
        }
        return {
            "filename": self.filename,
            "url": self.url,
            "hashes": dict(self.hashes),
            **{key: value for key, value in optional.items() if value is not None},
            **({"core-metadata": _plain(self.core_metadata)} if self.core_metadata else {}),
            **({"yanked": self.yanked} if self.yanked else {}),
        }


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """`active`, `archived`, `quarantined` or `deprecated`, and why (PEP 792)."""

    status: str
    reason: str | None = None

    def document(self) -> dict[str, str]:
        """The status as the simple API's JSON has it."""
        return {"status": self.status, **({"reason": self.reason} if self.reason else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamPage:
    """A project's page. Pages of the same `fingerprint` are the same in all that is shown.

    `until` is a time on the monotonic clock: as long as it isn't past, the page may be given again without
    asking. `stale` tells that upstream could not be asked when the page was given.
    """

    name: str  # normalised
    files: tuple[UpstreamFile, ...]  # in upstream's order
    versions: tuple[str, ...]
    status: ProjectStatus | None = None
    fingerprint: str = ""
    until: float = field(default=0.0, compare=False)
    stale: bool = field(default=False, compare=False)

    def document(self) -> dict[str, Any]:
        """The page as the simple API's JSON has it, with nothing but what was checked."""
        return {
            "meta": {"api-version": "1.4"},
            "name": self.name,
            "files": [file.document() for file in self.files],
            "versions": list(self.versions),
            **({"project-status": self.status.document()} if self.status else {}),
        }


def _plain(told: bool | Mapping[str, str]) -> bool | dict[str, str]:
    return told if isinstance(told, bool) else dict(told)
