"""Route templates for logs and metrics: the same for every project and caller."""

from __future__ import annotations

import re

from flask import request

from pyoci.errors import NotFound
from pyoci.web.context import locate

_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([a-z_]+)>")
_PROJECT = "{registry}/{namespace}/{project}"
_VERSION = f"{_PROJECT}/{{version}}"
_ROOT = "{registry}/{namespace}"


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
    if request.endpoint == "upload.publish":
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
