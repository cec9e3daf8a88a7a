"""The legacy upload API: one form, one file."""

from __future__ import annotations

from flask import Blueprint, Response, request

from pyoci.oci.registries import DEFAULT
from pyoci.web import answers
from pyoci.web.context import body, resolve, site
from pyoci.web.forms import received

upload = Blueprint("upload", __name__)


# Never a redirect: twine, poetry, pdm and hatch refuse one, and flit turns it into a GET.
@upload.post("/<path:path>", strict_slashes=False, provide_automatic_options=False)
@upload.post("/<path:path>/", strict_slashes=False, provide_automatic_options=False)
def publish(path: str) -> Response:
    """Store the file in an upload form. Uploading an identical file again succeeds, as on PyPI."""
    resolved = resolve(path)
    address = resolved.upload_address()
    here = site()
    content_type = request.headers.get("Content-Type", "")
    counted = here.events.outcome("uploads")
    with counted, received(body(), content_type, here.max_body, here.spool) as form:
        try:
            published = here.store.publish(address, form, resolved.caller)
        finally:
            request.environ["pyoci.project"], request.environ["pyoci.file"] = form.project, form.filename
        if address.alias_of is not None:
            resolved.leave_path(published.repository.name.rpartition("/")[0])
        if form.ignored:
            here.events.debug("web", "form fields that are not stored", fields=form.ignored)
    return answers.text(f"{published.file.filename} is published in {published.repository}")


@upload.post("/legacy", strict_slashes=False, provide_automatic_options=False)
@upload.post("/legacy/", strict_slashes=False, provide_automatic_options=False)
def publish_to_default() -> Response:
    """Store the file in an upload form that is sent to the path that PyPI uses."""
    return publish(DEFAULT)
