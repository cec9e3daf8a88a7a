"""The embedded registry as a Flask blueprint, and as an application of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Flask, Request, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from pyoci.embedded import blob_views, document_views, list_views
from pyoci.embedded.access import Htpasswd, at_the_keyboard
from pyoci.embedded.disk import Disk
from pyoci.embedded.errors import Busy, Damaged, Refusal, refusal_of
from pyoci.embedded.lock import LOCK_LIMIT
from pyoci.embedded.service import BLOB_LIMIT, EmbeddedRegistry
from pyoci.events import Events

View = Callable[..., Response]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class _Route:
    """A form of path, and what answers each method there."""

    path: re.Pattern[str]
    views: Mapping[str, View]


# Repository names hold slashes, so paths are read from their end: the first that fits counts.
_ROUTES = tuple(
    _Route(re.compile(path), views)
    for path, views in (
        (r"", {"GET": list_views.version, "HEAD": list_views.version}),
        (r"_catalog", {"GET": list_views.catalog}),
        (r"(?P<name>.+)/tags/list", {"GET": list_views.tags, "HEAD": list_views.tags}),
        (r"(?P<name>.+)/referrers/(?P<digest>[^/]+)", {"GET": list_views.referrers}),
        (r"(?P<name>.+)/blobs/uploads/?", {"POST": blob_views.begin}),
        (
            r"(?P<name>.+)/blobs/uploads/(?P<session>[^/]+)",
            {
                "GET": blob_views.status,
                "PATCH": blob_views.append,
                "PUT": blob_views.finish,
                "DELETE": blob_views.cancel,
            },
        ),
        (
            r"(?P<name>.+)/blobs/(?P<digest>[^/]+)",
            {"GET": blob_views.pull, "HEAD": blob_views.pull, "DELETE": blob_views.delete},
        ),
        (
            r"(?P<name>.+)/manifests/(?P<reference>[^/]+)",
            {
                "GET": document_views.pull,
                "HEAD": document_views.pull,
                "PUT": document_views.push,
                "DELETE": document_views.delete,
            },
        ),
    )
)


class _Rest(BaseConverter):
    """The rest of a path, whatever it is: the registry answers for all of it."""

    regex = ".*"
    part_isolating = False


def create_blueprint(
    directory: Path,
    *,
    htpasswd: Htpasswd | None,
    at_door: bool,
    blob_limit: int = BLOB_LIMIT,
    events: Events | None = None,
    disk: Disk | None = None,
    lock_limit: float = LOCK_LIMIT,
) -> Blueprint:
    """The registry over `directory`, below /v2/.

    With `htpasswd` everybody needs a password from it. Without, and `at_door`, only whoever sits at this
    machine is let in; `at_door` is False where requests have passed such a door already. `blob_limit` is in
    bytes, `lock_limit` in seconds.
    Raises OSError where `directory` can't be made.
    """
    registry = EmbeddedRegistry.open(directory, disk, blob_limit, lock_limit)
    told = events or Events()

    def answer(rest: str = "") -> Response:
        try:
            _let_in(htpasswd, at_door)
            response = _dispatch(registry, request, rest)
        except Refusal as refusal:
            response = _refused(refusal)
        except (Busy, Damaged, OSError) as error:
            told.error("embedded", "the registry's directory", problem=str(error) or "busy", path=rest[:300])
            response = _refused(refusal_of(error))
        if response.status_code in {201, 202, 204}:
            del response.headers["Content-Type"]
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    blueprint = Blueprint("embedded", __name__)
    blueprint.record_once(_teach_rest)
    for rule in ("/v2", "/v2/<everything:rest>"):
        blueprint.add_url_rule(rule, view_func=answer, methods=_METHODS, provide_automatic_options=False)
    return blueprint


def create_registry_app(
    directory: Path,
    *,
    htpasswd: Htpasswd | None,
    at_door: bool,
    blob_limit: int = BLOB_LIMIT,
    events: Events | None = None,
    disk: Disk | None = None,
    lock_limit: float = LOCK_LIMIT,
) -> Flask:
    """An application that is the registry and nothing else, for calls within this process.

    As create_blueprint. What goes wrong while a body is read from its caller is raised to the caller.
    """
    app = Flask(__name__, static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    blueprint = create_blueprint(
        directory,
        htpasswd=htpasswd,
        at_door=at_door,
        blob_limit=blob_limit,
        events=events,
        disk=disk,
        lock_limit=lock_limit,
    )
    app.register_blueprint(blueprint)
    return app


def _teach_rest(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["everything"] = _Rest


def _let_in(htpasswd: Htpasswd | None, at_door: bool) -> None:
    if htpasswd is not None:
        htpasswd.check(request.headers.get("Authorization"))
    elif at_door and (obstacle := at_the_keyboard(request.environ)):
        raise Refusal("DENIED", obstacle)


def _dispatch(registry: EmbeddedRegistry, request: Request, rest: str) -> Response:
    for route in _ROUTES:
        found = route.path.fullmatch(rest)
        if found is None:
            continue
        view = route.views.get(request.method)
        if view is None:
            allowed = ", ".join(route.views)
            raise Refusal("UNSUPPORTED", f"expected one of {allowed} here", headers={"Allow": allowed})
        return view(registry, request, **found.groupdict())
    raise Refusal("NAME_UNKNOWN", "there is nothing here; expected a path of the OCI distribution API 1.1")


def _refused(refusal: Refusal) -> Response:
    error = {"code": refusal.code, "message": refusal.message, "detail": refusal.detail}
    body = json.dumps({"errors": [error]})
    return Response(body, refusal.status, refusal.headers, content_type="application/json")
