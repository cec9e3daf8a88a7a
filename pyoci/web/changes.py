"""Changes: yank and delete files and versions, and set the status of a project."""

from __future__ import annotations

from flask import Blueprint, Response, request

from pyoci.errors import InvalidRequest, NotSupported
from pyoci.store.status import REASON_LIMIT, checked_reason
from pyoci.web import answers, audit
from pyoci.web.body import SMALL_BODY, read_json
from pyoci.web.context import ResolvedRequest, body, resolve, site

changes = Blueprint("changes", __name__)

_SHORT = 40  # characters of a status that may be none

_EXPECTED_YANK = 'expected JSON, {"yanked": "reason"} or {"yanked": true} or {"yanked": false}'
_EXPECTED_STATUS = 'expected JSON, {"status": "archived"} or {"status": "archived", "reason": "why"}'


@changes.patch("/<path:path>/", strict_slashes=False, provide_automatic_options=False)
def set_status(path: str) -> Response:
    """Set the status of a project (PEP 792)."""
    return _set_status(resolve(path), read_json(body(), SMALL_BODY, _EXPECTED_STATUS))


@changes.patch("/<path:path>/<target>", provide_automatic_options=False)
def yank(path: str, target: str) -> Response:
    """Yank or unyank a file or a version (PEP 592). A body with a status is for the project whose page has
    this address with a slash.
    """
    resolved = resolve(path)
    change = read_json(body(), SMALL_BODY, _EXPECTED_YANK)
    if isinstance(change, dict) and "status" in change:
        return _set_status(resolve(f"{path}/{target}"), change)
    request.environ["pyoci.file"] = target
    namespace, name = resolved.project()
    audit.note_project(namespace, name)
    reason = _read_yank(change)
    audit.note(action="unyank" if reason is None else "yank", reason=reason)
    audit.note(sha256=site().store.yank(namespace, name, target, reason, resolved.caller))
    return answers.text(f"{target} is {'no longer yanked' if reason is None else 'yanked'}")


@changes.delete("/<path:path>/<target>", provide_automatic_options=False)
def delete(path: str, target: str) -> Response:
    """Delete a file or a whole version."""
    request.environ["pyoci.file"] = target
    resolved = resolve(path)
    namespace, name = resolved.project()
    audit.note_project(namespace, name)
    audit.note(sha256=site().store.delete(namespace, name, target, resolved.caller))
    return answers.text(f"{target} is deleted")


@changes.route(
    "/<path:path>/<digest:digest>/<target>", methods=["PATCH", "DELETE"], provide_automatic_options=False
)
def refuse_change(path: str, digest: str, target: str) -> Response:
    """Refuse to yank or delete at an address with a digest."""
    resolve(path).project()
    raise NotSupported(
        f"this address is read-only; expected the file's address without +{digest}/ to yank or delete it"
    )


def _set_status(resolved: ResolvedRequest, change: object) -> Response:
    namespace, name = resolved.project()
    audit.note_project(namespace, name)
    audit.note(action="status")
    match change:
        case {"status": str(status), **rest} if not rest:
            reason = ""
        case {"status": str(status), "reason": str(reason), **rest} if not rest:
            pass
        case _:
            raise InvalidRequest(f"the body has the wrong content; {_EXPECTED_STATUS}")
    audit.note(status=status[:_SHORT], reason=reason[:REASON_LIMIT])
    site().store.set_status(namespace, name, status, reason.strip(), resolved.caller)
    return answers.text(f"{name} is {status}")


def _read_yank(change: object) -> str | None:
    """The reason to yank; "" if none is given, None to unyank. Raises InvalidRequest."""
    match change:
        case {"yanked": bool(yanked), **rest} if not rest:
            return "" if yanked else None
        case {"yanked": str(reason), **rest} if not rest and not reason.strip():
            raise InvalidRequest(f"the reason is empty; {_EXPECTED_YANK}")
        case {"yanked": str(reason), **rest} if not rest:
            return checked_reason(reason.strip())
    raise InvalidRequest(f"the body has the wrong content; {_EXPECTED_YANK}")
