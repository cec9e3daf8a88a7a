"""Registers the web package with a Flask application, with /health, /ready and the home page, and the route
templates for logs and metrics.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from flask import Blueprint, Flask, Response, request
from werkzeug.routing import Rule, ValidationError

from pyoci.errors import NotFound
from pyoci.web import admission, answers, audit, body, errors, people
from pyoci.web.changes import changes
from pyoci.web.context import EXTENSION, Site, locate, site
from pyoci.web.files import DigestConverter, FilenameConverter, files
from pyoci.web.osv import osv
from pyoci.web.simple import simple
from pyoci.web.upload import upload
from pyoci.web.warm import WarmPages

HOME = "https://github.com/AllexVeldman/pyoci"

_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([a-z_]+)>")
_PROJECT = "{registry}/{namespace}/{project}"
_VERSION = f"{_PROJECT}/{{version}}"
_ROOT = "{registry}/{namespace}"

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
def show_home() -> Response:
    """The home page for browsers. Other clients are sent to PyOCI's home page."""
    if people.wanted():
        return people.home()
    answer = answers.text("see PyOCI's home page", 302)
    answer.headers["Location"] = HOME
    answer.headers["Vary"] = "Accept"
    return answer


def set_route() -> None:
    """Set `pyoci.route` in the environ to the template of the request's path."""
    rule = request.url_rule
    if rule is not None:
        template = _CONVERTER.sub(r"{\1}", rule.rule)
        request.environ["pyoci.route"] = template.replace("{path}", _address_template())


def _address_template() -> str:
    """The template of an index's address: a project's if the address has segments below it or could be a
    project's.
    """
    if request.endpoint == "upload.publish" or request.blueprint == osv.name:
        return _ROOT
    values = request.view_args or {}
    if set(values) - {"path"}:
        return _PROJECT
    try:
        address = locate(values["path"])
        if address.as_project is not None:
            return _PROJECT
        return _ROOT if address.as_version is None else _VERSION
    except (KeyError, NotFound):
        return "{registry}"


class _Route(Rule):
    """A rule from which no URL is built, since PyOCI writes its links itself. The code that builds URLs isn't
    compiled: that took two thirds of the time in which an application is made.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _no_url


def _no_url(*_: object, **__: object) -> tuple[str, str]:
    raise ValidationError("no URL is built from a rule")


def register(app: Flask, site: Site) -> None:
    """Serve `site` from `app`: package indexes below `site.path`, and /health, /ready and / beside them.

    Also handles the errors of all other views of `app`, and reads every request's body to its end before an
    answer starts.
    """
    app.extensions[EXTENSION] = site
    app.url_rule_class = _Route
    app.url_map.merge_slashes = False  # a registry may be written as a URL
    app.url_map.converters["file"] = FilenameConverter
    app.url_map.converters["digest"] = DigestConverter
    app.register_blueprint(health)
    app.register_blueprint(home)
    prefix = site.path.rstrip("/") or None
    if prefix is not None:
        app.register_blueprint(home, url_prefix=prefix, name="home_below")
    for blueprint in (simple, upload, files, changes, osv):
        app.register_blueprint(blueprint, url_prefix=prefix)
    errors.register_errors(app)
    app.before_request(set_route)
    app.before_request(audit.begin)
    app.before_request(admission.refuse_by_head)
    patience = replace(site.patience, cap=max(2 * site.max_body, site.patience.cap))
    reading = body.ReadToTheEnd(app.wsgi_app, patience)
    warm = WarmPages(reading, site, site.pages)
    app.wsgi_app = errors.WithoutMemory(warm, site.events)  # type: ignore[method-assign]
