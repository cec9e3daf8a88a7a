"""The embedded registry as a Flask blueprint, and as an application of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

from flask import Blueprint, Flask, Response, request
from werkzeug.routing import BaseConverter

from pyoci.embedded import access, parsing, views
from pyoci.embedded.errors import Busy, Damaged, Refusal, refusal_of
from pyoci.embedded.registry import BLOB_LIMIT, EmbeddedRegistry, Options
from pyoci.errors import Unauthorized
from pyoci.events import Events
from pyoci.net.transport import DOCUMENT_LIMIT
from pyoci.oci.credentials import Credentials, parse_authorization
from pyoci.oci.registries import LOCAL

View = Callable[..., Response]
Describe = Callable[[Credentials], Mapping[str, str | None]]

_OTHER_LIMIT = 64 * 1024  # bytes of a body that isn't stored
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# Repository names contain slashes, so a path is matched from its end: the first pattern that fits is used.
# A group's name is the view's parameter.
_ROUTES: tuple[tuple[str, Mapping[str, View]], ...] = (
    (r"", {"GET": views.version, "HEAD": views.version}),
    (r"_catalog", {"GET": views.catalog}),
    (r"(?P<folder>.+)/tags/list", {"GET": views.tags, "HEAD": views.tags}),
    (r"(?P<folder>.+)/referrers/(?P<digest>[^/]+)", {"GET": views.referrers}),
    (r"(?P<folder>.+)/blobs/uploads/?", {"POST": views.begin_upload}),
    (
        r"(?P<folder>.+)/blobs/uploads/(?P<session_id>[^/]+)",
        {
            "GET": views.upload_status,
            "PATCH": views.append_to_upload,
            "PUT": views.finish_upload,
            "DELETE": views.cancel_upload,
        },
    ),
    (
        r"(?P<folder>.+)/blobs/(?P<digest>[^/]+)",
        {"GET": views.pull_blob, "HEAD": views.pull_blob, "DELETE": views.delete_blob},
    ),
    (
        r"(?P<folder>.+)/manifests/(?P<reference>[^/]+)",
        {
            "GET": views.pull_manifest,
            "HEAD": views.pull_manifest,
            "PUT": views.push_manifest,
            "DELETE": views.delete_manifest,
        },
    ),
)

# The views that write, with the action and the kind of document for the audit log.
_WRITES: Mapping[View, tuple[str, str]] = {
    views.begin_upload: ("push", "blob"),
    views.finish_upload: ("push", "blob"),
    views.delete_blob: ("delete", "blob"),
    views.push_manifest: ("push", "manifest"),
    views.delete_manifest: ("delete", "manifest"),
}
_LOGGED = 500  # characters of a refusal in the log


def body_limit(method: str, path: str) -> int:
    """The limit of a request's body in bytes, by its method and its path below /v2/."""
    if method == "PUT" and "/manifests/" in path:
        return DOCUMENT_LIMIT
    return BLOB_LIMIT if method in {"POST", "PATCH", "PUT"} else _OTHER_LIMIT


def _describe_nobody(_caller: Credentials) -> Mapping[str, str | None]:
    """The log says nothing about callers."""
    return {}


class _Everything(BaseConverter):
    """Any path: the registry answers for all of them."""

    regex = ".*"
    part_isolating = False


def create_blueprint(
    directory: Path,
    *,
    htpasswd: access.Htpasswd | None,
    local_only: bool,
    events: Events | None = None,
    describe: Describe = _describe_nobody,
    **options: Unpack[Options],
) -> Blueprint:
    """The registry over `directory`, below /v2/.

    With `htpasswd` every request needs a password from it. Without it, `local_only` accepts requests from
    programs on this machine alone; it is False if the caller has checked its requests. `describe` returns
    what the log may say about who sent a request: keys of the environ and their values.
    Raises OSError if `directory` can't be created.
    """
    registry = EmbeddedRegistry.open(directory, **options)
    events = events or Events()

    def answer(rest: str = "") -> Response:
        groups, by_method = _route(rest)
        _begin_audit(by_method.get(request.method), groups, describe)
        try:
            _authorize(htpasswd, local_only)
            response = _dispatch(registry, groups, by_method)
        except Refusal as refusal:
            response = _refused(refusal)
        except (Busy, Damaged, OSError) as error:
            problem = str(error) or "busy"
            events.error("embedded", "embedded registry's directory failed", problem=problem, path=rest[:300])
            response = _refused(refusal_of(error))
        _end_audit(response)
        if response.status_code in {201, 202, 204}:
            del response.headers["Content-Type"]
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    blueprint = Blueprint("embedded", __name__)
    blueprint.record_once(lambda state: state.app.url_map.converters.update(everything=_Everything))
    for rule in ("/v2", "/v2/<everything:rest>"):
        blueprint.add_url_rule(rule, view_func=answer, methods=_METHODS, provide_automatic_options=False)
    return blueprint


def create_registry_app(
    directory: Path,
    *,
    htpasswd: access.Htpasswd | None,
    local_only: bool,
    events: Events | None = None,
    **options: Unpack[Options],
) -> Flask:
    """An application that consists of the registry, for calls within this process; see create_blueprint.

    An error while a request's body is read from its caller is raised to the caller.
    """
    app = Flask(__name__, static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_blueprint(
        create_blueprint(directory, htpasswd=htpasswd, local_only=local_only, events=events, **options)
    )
    return app


def _authorize(htpasswd: access.Htpasswd | None, local_only: bool) -> None:
    if htpasswd is not None:
        htpasswd.check(request.headers.get("Authorization"))
    elif local_only and (reason := access.refusal_for_remote_peer(request.environ)):
        raise Refusal("DENIED", reason)


def _dispatch(
    registry: EmbeddedRegistry, groups: Mapping[str, str], by_method: Mapping[str, View]
) -> Response:
    if not by_method:
        raise Refusal(
            "NAME_UNKNOWN", "there is nothing here; expected a path of the OCI distribution API 1.1"
        )
    view = by_method.get(request.method)
    if view is None:
        allowed = ", ".join(by_method)
        raise Refusal("UNSUPPORTED", f"expected one of {allowed} here", headers={"Allow": allowed})
    return view(registry, **_arguments(registry, groups))


def _route(rest: str) -> tuple[Mapping[str, str], Mapping[str, View]]:
    """What stands in a path below /v2/, and its views by method; none if nothing is there."""
    for pattern, by_method in _ROUTES:
        found = re.fullmatch(pattern, rest)
        if found is not None:
            return found.groupdict(), by_method
    return {}, {}


def _begin_audit(view: View | None, groups: Mapping[str, str], describe: Describe) -> None:
    """Note what this request is to write, if it is, before anything can refuse it. `pyoci.telemetry` writes
    the line when the request has ended.
    """
    if view is None or view not in _WRITES:
        return
    action, kind = _WRITES[view]
    environ, args = request.environ, request.args
    reference = groups.get("reference", "")
    is_tag = ":" not in reference
    digest = groups.get("digest") or args.get("digest") or args.get("mount") or reference
    environ["pyoci.audit"] = {
        "action": action,
        "kind": kind,
        "tag": reference if is_tag else None,
        "digest": None if digest == reference and is_tag else digest,
    }
    environ["pyoci.registry"], environ["pyoci.path"] = LOCAL, groups["folder"]
    with suppress(Unauthorized):
        environ |= describe(parse_authorization(request.headers.get("Authorization")))


def _end_audit(response: Response) -> None:
    """Note what was written. To open an upload session writes nothing that anybody can read."""
    audit = request.environ.get("pyoci.audit")
    if audit is None:
        return
    if "Docker-Upload-UUID" in response.headers and response.status_code == 202:
        del request.environ["pyoci.audit"]
    elif "Docker-Content-Digest" in response.headers:
        audit["digest"] = response.headers["Docker-Content-Digest"]


def _arguments(registry: EmbeddedRegistry, groups: Mapping[str, str]) -> dict[str, Any]:
    parsers: Mapping[str, Callable[[str], Any]] = {
        "folder": lambda name: parsing.parse_folder(registry.layout, name),
        "digest": parsing.parse_digest,
        "reference": parsing.parse_reference,
        "session_id": str,
    }
    return {name: parsers[name](text) for name, text in groups.items()}


def _refused(refusal: Refusal) -> Response:
    request.environ["pyoci.error"] = f"{refusal.code}: {refusal.message}"[:_LOGGED]
    error = {"code": refusal.code, "message": refusal.message, "detail": refusal.detail}
    body = json.dumps({"errors": [error]})
    return Response(body, refusal.status, refusal.headers, content_type="application/json")
