"""Registers the web package with a Flask application."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask

from pyoci.web.admission import refuse_by_head
from pyoci.web.body import ReadToTheEnd
from pyoci.web.context import EXTENSION, Site
from pyoci.web.errors import WithoutMemory, register_errors
from pyoci.web.files import DigestConverter, FilenameConverter, files
from pyoci.web.routes import set_route
from pyoci.web.simple import simple
from pyoci.web.status import health, home
from pyoci.web.upload import upload
from pyoci.web.warm import WarmPages


def register(app: Flask, site: Site) -> None:
    """Serve `site` from `app`: package indexes below `site.path`, and /health, /ready and / beside them.

    Also handles the errors of all other views of `app`, and reads every request's body to its end before an
    answer starts.
    """
    app.extensions[EXTENSION] = site
    app.url_map.merge_slashes = False  # a registry may be written as a URL
    app.url_map.converters["file"] = FilenameConverter
    app.url_map.converters["digest"] = DigestConverter
    app.register_blueprint(health)
    app.register_blueprint(home)
    prefix = site.path.rstrip("/") or None
    if prefix is not None:
        app.register_blueprint(home, url_prefix=prefix, name="home_below")
    for blueprint in (simple, upload, files):
        app.register_blueprint(blueprint, url_prefix=prefix)
    register_errors(app)
    app.before_request(set_route)
    app.before_request(refuse_by_head)
    patience = replace(site.patience, cap=max(2 * site.max_body, site.patience.cap))
    reading = ReadToTheEnd(app.wsgi_app, patience)
    warm = WarmPages(reading, site, site.pages)
    app.wsgi_app = WithoutMemory(warm, site.events)  # type: ignore[method-assign]
