"""/health, /ready and the page at /, which redirects to PyOCI's home page."""

from __future__ import annotations

from flask import Blueprint, Response, request

from pyoci.web import answers
from pyoci.web.context import site

HOME = "https://github.com/AllexVeldman/pyoci"

health = Blueprint("health", __name__)  # never under PYOCI_PATH
home = Blueprint("home", __name__)  # also under PYOCI_PATH


@health.get("/health", provide_automatic_options=False)
def alive() -> Response:
    """Whether this process answers. Neither a registry nor a disk is asked."""
    return answers.text("ok")


@health.get("/ready", provide_automatic_options=False)
def ready() -> Response:
    """Whether to send requests here. A registry that is down makes no difference, and is not asked."""
    stopping = "this server is stopping" if request.environ.get("server.stopping") else None
    reason = stopping or site().not_ready_reason()
    return answers.text("ready") if reason is None else answers.text(f"not ready: {reason}", 503)


@home.get("/", provide_automatic_options=False, strict_slashes=False)
def redirect_home() -> Response:
    answer = answers.text("PyOCI's home is elsewhere", 302)
    answer.headers["Location"] = HOME
    return answer
