"""The legacy upload form: what its fields mean, and which of them may be missing.

Fields are read as uploaders write them: pdm sends "" for every None, flit leaves out what others send, uv
sends `attestations` after `content`, and nobody agrees on which digests to give.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from werkzeug.sansio.multipart import Data, Field, File

from pyoci.errors import InvalidRequest, TooLarge, Withdrawn
from pyoci.store.models import Upload
from pyoci.web.body import RequestBody
from pyoci.web.multipart import read_parts

TEXT_LIMIT = 8 * 1024 * 1024  # bytes of all fields but `content`: a README may well have half a megabyte
NOTED = ("attestations", "gpg_signature")  # accepted, and not kept
_DIGESTS = {
    "sha256_digest": ("sha256", 64),
    "blake2_256_digest": ("blake2b_256", 64),
    "md5_digest": ("md5", 32),
}
_LISTS = ("classifiers", "project_urls")
_SINGLE = (":action", "protocol_version", "name", "version", "filetype", "requires_python", *_DIGESTS)
_WITHDRAWN = ("submit", "doc_upload")


@dataclass(frozen=True, slots=True)
class Form:
    """An upload, and the names of the fields in it that were accepted but are not kept."""

    upload: Upload
    noted: tuple[str, ...] = ()


@contextmanager
def received(body: RequestBody, content_type: str, limit: int, spool: str | None = None) -> Iterator[Form]:
    """Read an upload form of at most `limit` bytes; its file waits in a nameless file in `spool`.

    Raises InvalidRequest, Withdrawn and TooLarge, and what reading the body raises.
    """
    with tempfile.TemporaryFile(dir=spool) as content:
        reader = _Reader(content)
        for event in read_parts(body, content_type, limit):
            reader.take(event)
        yield reader.form()


class _Reader:
    """Takes a form's parts one after the other. Only fields that mean something here are kept."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._texts: dict[str, list[bytearray]] = {name: [] for name in (*_SINGLE, *_LISTS)}
        self._noted: list[str] = []
        self._filename: str | None = None
        self._taken = 0  # bytes of text
        self._into: BinaryIO | bytearray | None = None

    def take(self, event: Field | File | Data) -> None:
        match event:
            case Data(data=data):
                self._keep(data)
            case File(name="content") | Field(name="content"):
                self._filename = self._name_of_content(event)
                self._into = self._content
            case _:
                self._into = self._field(event.name)

    def form(self) -> Form:
        """What was sent, if it is whole. Raises InvalidRequest, Withdrawn."""
        _check_action(self._required(":action"))
        if (protocol := self._required("protocol_version")) != "1":
            raise InvalidRequest(f"protocol_version {protocol[:20]!a} is not known; expected 1")
        name, version = self._required("name"), self._required("version")
        if self._filename is None:
            raise _missing("content")
        size = self._content.tell()
        self._content.seek(0)
        upload = Upload(
            filename=self._filename,
            content=self._content,
            size=size,
            name=name,
            version=version,
            filetype=self._single("filetype"),
            digests=self._digests(),
            classifiers=self._list("classifiers"),
            project_urls=self._list("project_urls"),
            requires_python=self._single("requires_python"),
        )
        return Form(upload, tuple(dict.fromkeys(self._noted)))

    def _keep(self, data: bytes) -> None:
        if self._into is self._content:
            self._content.write(data)
            return
        self._taken += len(data)
        if self._taken > TEXT_LIMIT:
            raise TooLarge(f"the form has more than {TEXT_LIMIT} bytes beside its file, which is the limit")
        if isinstance(self._into, bytearray):
            self._into += data

    def _field(self, name: str) -> bytearray | None:
        """Where the data of this field goes; None for fields that mean nothing here."""
        if name in NOTED:
            self._noted.append(name)
        texts = self._texts.get(name)
        if texts is None:
            return None
        texts.append(bytearray())
        return texts[-1]

    def _name_of_content(self, part: Field | File) -> str:
        if self._filename is not None:
            raise InvalidRequest("the form has two parts called content; expected one file in a form")
        if not isinstance(part, File) or not part.filename:
            raise InvalidRequest("the content has no file name; expected the name of a wheel or an sdist")
        # The decoder drops backslashes, which would turn some other name into a good one.
        if (
            "\\" in part.headers["content-disposition"]
            or not part.filename.isprintable()
            or "/" in part.filename
        ):
            raise InvalidRequest(
                f"{part.filename[:100]!a} is not a file name; expected letters, digits, . _ - + and !"
            )
        return part.filename

    def _list(self, name: str) -> tuple[str, ...]:
        """The values of a field, without empty ones."""
        return tuple(text for raw in self._texts[name] if (text := _clean(name, raw)))

    def _single(self, name: str) -> str:
        """The value of a field that has one, "" where it is missing or empty. The same twice is fine."""
        values = set(self._list(name))
        if len(values) > 1:
            raise InvalidRequest(f"the form has several values for {name}; expected one")
        return values.pop() if values else ""

    def _required(self, name: str) -> str:
        value = self._single(name)
        if not value:
            raise _missing(name)
        return value

    def _digests(self) -> dict[str, str]:
        digests = {}
        for name, (algorithm, length) in _DIGESTS.items():
            value = self._single(name).lower()
            if value and not re.fullmatch(rf"[0-9a-f]{{{length}}}", value):
                raise InvalidRequest(f"{name} can't be one; expected {length} hexadecimal digits")
            if value:
                digests[algorithm] = value
        return digests


def _check_action(action: str) -> None:
    if action in _WITHDRAWN:
        raise Withdrawn(f"the action {action} is gone from package indexes; expected file_upload")
    if action != "file_upload":
        raise InvalidRequest(f"the action {action[:50]!a} is not known; expected file_upload")


def _missing(name: str) -> InvalidRequest:
    return InvalidRequest(f"the form has no {name}; expected one, and a value in it")


def _clean(name: str, raw: bytearray) -> str:
    """A field's text, without NUL; old tools wrote UNKNOWN for what they didn't know."""
    try:
        text = raw.decode("utf-8").replace("\0", "").strip()
    except UnicodeDecodeError:
        raise InvalidRequest(f"the field {name} can't be read; expected UTF-8") from None
    return "" if text == "UNKNOWN" else text
