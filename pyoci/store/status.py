"""The status of a project (PEP 792): what the registry has, and what follows from it.

Who has just proven that the registry lets them read the project may learn its status: these functions are
called after that.
"""

from __future__ import annotations

from contextlib import suppress

from pyoci.errors import Denied, InvalidRequest, NotFound, Unauthorized
from pyoci.simple_api import model
from pyoci.simple_api.model import ProjectStatus
from pyoci.store.marker import MARKER_TAG
from pyoci.store.project import StoredProject
from pyoci.store.state import TagState

REASON_LIMIT = 1000  # characters; a page of one version shows a reason for each file
_TAG = str(MARKER_TAG)


def parse_status(status: str, reason: str) -> ProjectStatus:
    """A status as a caller names it. Raises InvalidRequest."""
    found = model.status({"status": status})
    if found is None:
        raise InvalidRequest(
            f"{status[:40]!a} is no status; expected active, archived, deprecated or quarantined"
        )
    return ProjectStatus(found.status, checked_reason(reason) or None)


def checked_reason(reason: str) -> str:
    """A reason that pages can show. Raises InvalidRequest."""
    if len(reason) > REASON_LIMIT or not (reason.isprintable() or not reason):
        raise InvalidRequest(
            f"the reason can't be shown; expected one line of at most {REASON_LIMIT} characters"
        )
    return reason


def yank_reason(file: model.File) -> str | None:
    """The reason why a file of another package index is yanked, cut to what the store takes; "" if none was
    given, None if the file isn't yanked.
    """
    reason = file.yank_reason
    return reason if reason is None else reason[:REASON_LIMIT]


def status_of(project: StoredProject) -> ProjectStatus | None:
    """The project's status; None for an active project. The registry is asked for the marker, unless that
    or the list of tags was read within the time to live.
    """
    cache, state = project.cache, project.cache.state()
    known, now = state.tag_states.get(_TAG), cache.now()
    if known is not None and cache.freshness.is_current(known.looked, now):
        return project.contents(_TAG, known.digest, {}).status
    is_listed = _TAG in state.tags or known is not None
    if not is_listed and (cache.freshness.is_list_fresh(state, now) or cache.is_unmarked()):
        return None
    return _read(project, known)


def require_download(project: StoredProject) -> None:
    """Raises Denied if the project is quarantined: nobody may download its files."""
    status = status_of(project)
    if status is not None and status.is_quarantined:
        raise Denied(f"{_sentence(project, status)}; its files can't be downloaded")


def require_upload(project: StoredProject) -> None:
    """Raises Denied if the project takes no uploads. The registry is asked each time.

    A refusal of the registry is no answer: some registries deny what they don't have, and the upload itself
    shows whether the caller may publish.
    """
    status = None
    with suppress(NotFound, Unauthorized, Denied):
        status = _read(project, None)
    if status is not None and not status.takes_uploads:
        raise Denied(f"{_sentence(project, status)}; it takes no uploads until its status is active again")


def _read(project: StoredProject, known: TagState | None) -> ProjectStatus | None:
    """The status as the registry has it now. A HEAD request is enough if `known` is still there."""
    position = project.cache.position()
    found = project.look(MARKER_TAG, known)
    if found is None:
        project.cache.put_unmarked(position)
        return None
    project.cache.put_tag_state(position, _TAG, found)
    return project.contents(_TAG, found.digest, {}).status


def _sentence(project: StoredProject, status: ProjectStatus) -> str:
    reason = f": {status.reason}" if status.reason else ""
    return f"{project.name} is {status.status}{reason}"
