"""The marker of a project: an image index without files, which has what concerns the project as a whole.

It keeps the project known when the last version is deleted, because registries forget a repository without
tags. It also has the project's status (PEP 792).
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime

from pyoci.oci.models import ImageIndex
from pyoci.oci.references import Tag
from pyoci.simple_api import model
from pyoci.simple_api.model import ACTIVE, ProjectStatus
from pyoci.store.layout import CHANGED, CREATED, PACKAGE_TYPE, rewritten, stamp

MARKER = "com.pyoci.marker"
STATUS = "com.pyoci.status"
STATUS_REASON = "com.pyoci.status_reason"

# No implementation parses this tag as a version. It begins with the lowest digit, because the Rust PyOCI
# takes the last tag in string order for the newest version.
MARKER_TAG = Tag.parse("0--pyoci")


def marker(now: datetime) -> ImageIndex:
    """The image index of a new marker."""
    return ImageIndex(artifact_type=PACKAGE_TYPE, annotations={CREATED: stamp(now), MARKER: "project"})


def status_in(image_index: ImageIndex) -> ProjectStatus | None:
    """The status that a marker has; None if it has none, or one that PEP 792 doesn't have."""
    annotations = image_index.annotations
    return model.status({"status": annotations.get(STATUS), "reason": annotations.get(STATUS_REASON)})


def is_marker(image_index: ImageIndex) -> bool:
    """Whether this is a marker, and not a version that has lost its files."""
    return MARKER in image_index.annotations and not image_index.manifests


def with_status(present: ImageIndex | None, status: ProjectStatus, now: datetime) -> ImageIndex | None:
    """The marker with this status; a new one if there is none. The same object if nothing changes: without a
    status a project is active.
    """
    annotations = dict((present or marker(now)).annotations)
    before = status_in(present) if present is not None else None
    if status == (before or ACTIVE):
        return present
    for key in (STATUS, STATUS_REASON):
        annotations.pop(key, None)
    if status != ACTIVE:
        annotations[STATUS] = status.status
    if status.reason:
        annotations[STATUS_REASON] = status.reason
    changed = replace(present or marker(now), annotations={**annotations, MARKER: "project"})
    return rewritten(changed, changed.manifests, now, secrets.token_hex(8))


def stamp_of(image_index: ImageIndex | None) -> str:
    """When a status was last set in this marker, and a random part; "" if none ever was."""
    return "" if image_index is None else image_index.annotations.get(CHANGED, "")
