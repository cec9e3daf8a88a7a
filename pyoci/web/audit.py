"""The audit log's part of a request: what the request was to change. `pyoci.telemetry` writes the line when
the request has ended, whatever became of it.
"""

from __future__ import annotations

from contextlib import suppress

from flask import request

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from pyoci.store.models import Namespace

# What the views that write do. A yank may turn out to be an unyank, or a change of a project's status.
_ACTIONS = {
    "upload.publish": "publish",
    "upload.publish_to_default": "publish",
    "changes.yank": "yank",
    "changes.set_status": "status",
    "changes.delete": "delete",
    "changes.refuse_change": "delete",
}


def begin() -> None:
    """Note that this request is to change something, if it is."""
    action = _ACTIONS.get(request.endpoint or "")
    if action is not None:
        request.environ["pyoci.audit"] = {"action": action}
        if request.method == "PATCH" and action == "delete":
            note(action="yank")


def note(**facts: object) -> None:
    """Note more of what this request is to change. Facts that are None or empty are left out of the line."""
    request.environ["pyoci.audit"].update(facts)


def note_project(namespace: Namespace, name: str | ProjectName) -> None:
    """Note the repository of a project. A name that no project has is left out."""
    with suppress(InvalidRequest):
        parsed = name if isinstance(name, ProjectName) else ProjectName.parse(name)
        note(repository=namespace.repository(parsed).name)
