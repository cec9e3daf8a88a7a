"""The legacy upload API: one form, one file. The form is read as it arrives: uv sends `attestations` after
`content`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import BinaryIO

from flask import Blueprint, Response, request
from werkzeug.sansio.multipart import Data, Field, File

from pyoci.errors import InvalidRequest, PyOCIError
from pyoci.oci.registries import DEFAULT
from pyoci.store.layout import PUBLISHER_LIMIT
from pyoci.store.models import Upload
from pyoci.web import answers, audit, fields, multipart
from pyoci.web.body import PIECE, RequestBody
from pyoci.web.context import body, resolve, site, user_of

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
        if here.record_publisher:
            form.publisher = (user_of(resolved.caller) or "")[:PUBLISHER_LIMIT]
        try:
            published = here.store.publish(address, form, resolved.caller)
        finally:
            request.environ["pyoci.project"], request.environ["pyoci.file"] = form.project, form.filename
            audit.note_project(address.namespace, form.project or "")
        audit.note(repository=published.repository.name, sha256=[published.file.sha256])
        if address.alias_of is not None:
            resolved.leave_path(published.repository.name.rpartition("/")[0])
        if form.ignored:
            here.events.debug("web", "form fields that are not stored", fields=form.ignored)
    answer = answers.text(f"{published.file.filename} is published in {published.repository}")
    if published.catalog_failure:
        answer.headers["X-PyOCI-Catalog"] = f"not updated: {published.catalog_failure}"
    return answer


@upload.post("/legacy", strict_slashes=False, provide_automatic_options=False)
@upload.post("/legacy/", strict_slashes=False, provide_automatic_options=False)
def publish_to_default() -> Response:
    """Store the file in an upload form that is sent to the path that PyPI uses."""
    return publish(DEFAULT)


@contextmanager
def received(body: RequestBody, content_type: str, limit: int, spool: str | None = None) -> Iterator[Form]:
    """An upload form of at most `limit` bytes, to be read in the block. Its file is written to an unnamed
    temporary file in the directory `spool`.

    A refused form is read to its end, too, with the time limits of an accepted one.
    """
    try:
        with tempfile.TemporaryFile(dir=spool) as content:
            yield Form(multipart.Parts(body, content_type, limit), content)
    except PyOCIError:
        with suppress(PyOCIError):
            while max(body.length or 0, body.taken) <= limit and body.read(PIECE):
                pass
        raise


class Form:
    """An upload form that is still arriving. Implements `pyoci.store.writing.incoming.IncomingForm`."""

    def __init__(self, parts: multipart.Parts, spool: BinaryIO) -> None:
        self._parts, self._events = parts, iter(parts)
        self._spool = spool
        self._fields = fields.Fields()
        self._filename: str | None = None
        self._arriving = False  # whether bytes of the file come next
        self._size = 0  # of the file's bytes that have arrived
        self.publisher = ""  # the user who sends it, where that is recorded

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of fields that were accepted but are not kept."""
        return self._fields.ignored

    @property
    def filename(self) -> str | None:
        """The name of the file, as far as it has arrived."""
        return self._filename

    @property
    def project(self) -> str | None:
        """The name of the project as the form spells it, as far as it has arrived."""
        return self._fields.name or None

    def ahead(self) -> Upload | None:
        """The fields before the file; None if a required field is not among them."""
        self._read_ahead()
        size = self._parts.last_size() if self._arriving else None
        if size is None or not self._fields.suffice:
            return None
        return self._fields.upload(self._filename, self._spool, size)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the file that have not been read yet."""
        self._read_ahead()
        while self._arriving:
            event = next(self._events)
            assert isinstance(event, Data)  # after a File comes its Data, up to the last
            self._arriving = event.more_data
            self._spool.write(event.data)
            self._size += len(event.data)
            if event.data:
                yield event.data

    def whole(self) -> Upload:
        """The form, read to its end. Raises InvalidRequest, Withdrawn, TooLarge."""
        for _ in self.pieces():
            pass
        for event in self._events:
            self._take(event)
        self._spool.seek(0)
        upload = self._fields.upload(self._filename, self._spool, self._size)
        return replace(upload, publisher=self.publisher)

    def _read_ahead(self) -> None:
        while self._filename is None and (event := next(self._events, None)) is not None:
            self._take(event)

    def _take(self, event: Field | File | Data) -> None:
        match event:
            case Data(data=data):
                self._fields.take(data)
            case File(name="content") | Field(name="content"):
                self._filename = self._name_of_content(event)
                self._arriving = True
            case _:
                self._fields.begin(event.name)

    def _name_of_content(self, part: Field | File) -> str:
        if self._filename is not None:
            raise InvalidRequest("the form has two parts called content; expected one file in a form")
        if not isinstance(part, File) or not part.filename:
            raise InvalidRequest("the content has no file name; expected the name of a wheel or an sdist")
        # The decoder drops backslashes, which could turn an invalid name into a valid one.
        if (
            "\\" in part.headers["content-disposition"]
            or not part.filename.isprintable()
            or "/" in part.filename
        ):
            raise InvalidRequest(
                f"{part.filename[:100]!a} is not a file name; expected letters, digits, . _ - + and !"
            )
        return part.filename
