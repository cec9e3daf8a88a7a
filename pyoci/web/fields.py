"""The fields of the legacy upload form: their meaning, and which are required.

Clients differ: pdm sends "" for every None, flit leaves out fields that others send, and each sends other
digests.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from pyoci.errors import InvalidRequest, TooLarge, Withdrawn
from pyoci.store.models import Upload

TEXT_LIMIT = 8 * 1024 * 1024  # bytes of all fields but `content`: a README may well have half a megabyte
SINGLE_LIMIT = 4096  # bytes of a field with one value: millions of digits are a version that takes seconds
_IGNORED = ("attestations", "gpg_signature")  # accepted, and not kept
_DIGESTS = {
    "sha256_digest": ("sha256", 64),
    "blake2_256_digest": ("blake2b_256", 64),
    "md5_digest": ("md5", 32),
}
_LISTS = ("classifiers", "project_urls")
_REQUIRED = (":action", "protocol_version", "name", "version")
_SINGLE = (*_REQUIRED, "filetype", *_DIGESTS)
_WITHDRAWN = ("submit", "doc_upload")


class Fields:
    """The fields that have arrived so far. Only those that PyOCI uses are kept."""

    def __init__(self) -> None:
        self._texts: dict[str, list[bytearray]] = {name: [] for name in (*_SINGLE, *_LISTS)}
        self._ignored: list[str] = []
        self._taken = 0  # bytes
        self._into: bytearray | None = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of fields that were accepted but are not kept."""
        return tuple(dict.fromkeys(self._ignored))

    @property
    def suffice(self) -> bool:
        """Whether every field has come that a form must have."""
        return all(map(self._single, _REQUIRED))

    def begin(self, name: str) -> None:
        """A field of that name has begun."""
        if name in _IGNORED:
            self._ignored.append(name)
        texts = self._texts.get(name)
        self._into = None
        if texts is not None:
            self._into = bytearray()
            texts.append(self._into)

    def take(self, data: bytes) -> None:
        """More of the field that has begun last. Raises TooLarge."""
        self._taken += len(data)
        if self._taken > TEXT_LIMIT:
            raise TooLarge(f"the form has more than {TEXT_LIMIT} bytes beside its file, which is the limit")
        if self._into is not None:
            self._into += data

    def upload(self, filename: str | None, content: BinaryIO, size: int) -> Upload:
        """The form with that file. Raises InvalidRequest, Withdrawn."""
        _check_action(self._required(":action"))
        if (protocol := self._required("protocol_version")) != "1":
            raise InvalidRequest(f"protocol_version {protocol[:20]!a} is not known; expected 1")
        name, version = self._required("name"), self._required("version")
        if filename is None:
            raise _missing("content")
        return Upload(
            filename=filename,
            content=content,
            size=size,
            name=name,
            version=version,
            filetype=self._single("filetype"),
            digests=self._digests(),
            classifiers=self._list("classifiers"),
            project_urls=self._list("project_urls"),
        )

    def _list(self, name: str) -> tuple[str, ...]:
        """The values of a field, without empty ones."""
        return tuple(text for raw in self._texts[name] if (text := _clean(name, raw)))

    def _single(self, name: str) -> str:
        """The value of a field that has one, "" where it is missing or empty. The same twice is fine."""
        if any(len(raw) > SINGLE_LIMIT for raw in self._texts[name]):
            raise InvalidRequest(f"the field {name} is too long; expected at most {SINGLE_LIMIT} bytes")
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
