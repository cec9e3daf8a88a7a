"""/health, /ready and the page at /, which redirects to PyOCI's home page."""

from __future__ import annotations

from flask import Blueprint, Response, request

from pyoci.web import answers
from pyoci.web.context import site

HOME = "https://github.com/AllexVeldman/pyoci"

health = Blueprint("health", __name__)  # served at the root, regardless of PYOCI_PATH
home = Blueprint("home", __name__)  # also under PYOCI_PATH


@health.get("/health", provide_automatic_options=False)
def alive() -> Response:
    """Whether this process answers. Neither registries nor disks are checked."""
    return answers.text("ok")


@health.get("/ready", provide_automatic_options=False)
def ready() -> Response:
    """Whether this server is ready for requests. Registries are not checked: a registry that is down makes no
    difference.
    """
    stopping = "this server is stopping" if request.environ.get("server.stopping") else None
    reason = stopping or site().not_ready_reason()
    return answers.text("ready") if reason is None else answers.text(f"not ready: {reason}", 503)


@home.get("/", provide_automatic_options=False, strict_slashes=False)
def redirect_home() -> Response:
    answer = answers.text("see PyOCI's home page", 302)
    answer.headers["Location"] = HOME
    return answer
