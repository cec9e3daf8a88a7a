"""The marker of a project: an image index without files, which has what concerns the project as a whole.

It keeps the project known when the last version is deleted, because registries forget a repository without
tags. It also has the project's status (PEP 792).
"""

from __future__ import annotations

from datetime import datetime

from pyoci.oci.models import ImageIndex
from pyoci.oci.references import Tag
from pyoci.simple_api import model
from pyoci.simple_api.model import ProjectStatus
from pyoci.store.layout import CREATED, PACKAGE_TYPE, stamp

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
