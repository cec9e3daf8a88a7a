"""The fields of the legacy upload form: their meaning, and what is refused.

Clients differ: pdm sends "" for every None, devpi sends no protocol_version, hand-written requests leave out
name and version, and each client sends different digests. The file itself contains most of this data, so only
the file is required.
"""

from __future__ import annotations

import json
import re
from typing import BinaryIO

from pyoci.errors import InvalidRequest, TooLarge, Withdrawn
from pyoci.store.models import ATTESTATIONS_LIMIT, Upload

TEXT_LIMIT = 8 * 1024 * 1024  # bytes of all fields except `content`: a README may have half a megabyte
SINGLE_LIMIT = 4096  # bytes of a field with one value: parsing a version of millions of digits takes seconds
_IGNORED = ("gpg_signature",)  # accepted, but not stored
_DIGESTS = {
    "sha256_digest": {64: "sha256"},
    "blake2_256_digest": {64: "blake2b_256", 128: "blake2b"},  # distutils of Python 3.8 to 3.11 sends 128
    "md5_digest": {32: "md5"},
}
_LISTS = ("classifiers", "project_urls")
_SINGLE = (":action", "protocol_version", "name", "version", "filetype", *_DIGESTS)
_ATTESTATIONS = "attestations"
_WITHDRAWN = ("submit", "doc_upload")


class Fields:
    """The fields that have arrived so far. Those that PyOCI doesn't use are discarded."""

    def __init__(self) -> None:
        self._texts: dict[str, list[bytearray]] = {name: [] for name in (*_SINGLE, *_LISTS, _ATTESTATIONS)}
        self._ignored: list[str] = []
        self._taken = 0  # bytes
        self._into: bytearray | None = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of the fields that were accepted but are not stored."""
        return tuple(dict.fromkeys(self._ignored))

    @property
    def name(self) -> str:
        """The first value of the field `name` so far, for the log. It isn't checked."""
        return next((raw.decode("utf-8", "replace") for raw in self._texts["name"]), "")

    @property
    def suffice(self) -> bool:
        """Whether the fields that identify the file and its project have arrived."""
        return all(map(self._single, ("name", "version")))

    def begin(self, name: str) -> None:
        """Begin a field of that name."""
        if name in _IGNORED:
            self._ignored.append(name)
        texts = self._texts.get(name)
        self._into = None
        if texts is not None:
            self._into = bytearray()
            texts.append(self._into)

    def take(self, data: bytes) -> None:
        """Add bytes to the current field. Raises TooLarge."""
        self._taken += len(data)
        if self._taken > TEXT_LIMIT:
            raise TooLarge(f"the form has more than {TEXT_LIMIT} bytes besides its file, which is the limit")
        if self._into is not None:
            self._into += data

    def upload(self, filename: str | None, content: BinaryIO, size: int) -> Upload:
        """The form with that file. Raises InvalidRequest, Withdrawn."""
        _check_action(self._single(":action"))
        if (protocol := self._single("protocol_version")) not in ("", "1"):
            raise InvalidRequest(f"protocol_version {protocol[:20]!a} is not known; expected 1")
        if filename is None:
            raise InvalidRequest("the form has no content; expected a file")
        return Upload(
            filename=filename,
            content=content,
            size=size,
            name=self._single("name"),
            version=self._single("version"),
            filetype=self._single("filetype"),
            digests=self._digests(),
            classifiers=self._list("classifiers"),
            project_urls=self._list("project_urls"),
            attestations=self._attestations(),
        )

    def _list(self, name: str) -> tuple[str, ...]:
        """The values of a field, without empty ones."""
        return tuple(text for raw in self._texts[name] if (text := _clean(name, raw)))

    def _single(self, name: str) -> str:
        """The value of a single-valued field; "" if it is missing or empty. Repeating the same value is
        allowed.
        """
        if any(len(raw) > SINGLE_LIMIT for raw in self._texts[name]):
            raise InvalidRequest(f"the field {name} is too long; expected at most {SINGLE_LIMIT} bytes")
        values = set(self._list(name))
        if len(values) > 1:
            raise InvalidRequest(f"the form has several values for {name}; expected one")
        return values.pop() if values else ""

    def _digests(self) -> dict[str, str]:
        digests = {}
        for name, algorithms in _DIGESTS.items():
            value = self._single(name).lower()
            if not value:
                continue
            algorithm = algorithms.get(len(value))
            if algorithm is None or not re.fullmatch("[0-9a-f]+", value):
                lengths = " or ".join(map(str, algorithms))
                raise InvalidRequest(f"{name} is not a digest; expected {lengths} hexadecimal digits")
            digests[algorithm] = value
        return digests

    def _attestations(self) -> str:
        """The attestations as they were sent, unverified; "" if there are none."""
        sent = {bytes(raw) for raw in self._texts[_ATTESTATIONS] if _clean(_ATTESTATIONS, raw)}
        if not sent:
            return ""
        if len(sent) > 1:
            raise InvalidRequest("the form has several values for attestations; expected one")
        raw = sent.pop()
        if len(raw) > ATTESTATIONS_LIMIT:
            raise InvalidRequest(
                f"the attestations have {len(raw)} bytes; expected at most {ATTESTATIONS_LIMIT}"
            )
        try:
            is_list = isinstance(json.loads(raw), list)
        except (ValueError, RecursionError):
            is_list = False
        if not is_list:
            raise InvalidRequest("the attestations can't be read; expected a JSON array (PEP 740)")
        return raw.decode()


def _check_action(action: str) -> None:
    if action in _WITHDRAWN:
        raise Withdrawn(f"package indexes no longer support the action {action}; expected file_upload")
    if action not in ("", "file_upload"):
        raise InvalidRequest(f"the action {action[:50]!a} is not known; expected file_upload")


def _clean(name: str, raw: bytearray) -> str:
    """A field's text, without NUL. UNKNOWN becomes "": old tools wrote it for missing values."""
    try:
        text = raw.decode("utf-8").replace("\0", "").strip()
    except UnicodeDecodeError:
        raise InvalidRequest(f"the field {name} can't be read; expected UTF-8") from None
    return "" if text == "UNKNOWN" else text
