"""CoreMetadata: METADATA of a wheel or PKG-INFO of an sdist, parsed and checked."""

from __future__ import annotations

import email.errors
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from packaging.metadata import RawMetadata, parse_email
from packaging.version import InvalidVersion, Version

from pyoci.distributions import archives, zip_layout
from pyoci.distributions.filenames import FILENAME_LIMIT, Distribution, Wheel
from pyoci.distributions.members import METADATA_LIMIT
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest

__all__ = [
    "METADATA_LIMIT",
    "CoreMetadata",
    "parse_headers",
    "parse_metadata",
    "read_distant_metadata",
    "read_metadata",
    "shown_requires_python",
]

# parse_email needs twenty times the size of its input in memory, and searches all headers once for each
# distinct name. Without these limits 4 MiB of one-letter headers would take hours. Real METADATA has about 30
# names and a hundred lines, or some thousand lines with many extras or with a README among the headers.
HEADERS_LIMIT = 1024 * 1024  # bytes
HEADER_LINE_LIMIT = 50_000
HEADER_NAME_LIMIT = 100  # distinct names; parse_email distinguishes upper and lower case
VALUE_LIMIT = 2_000  # characters of a specifier, or of a URL and its label
URL_COUNT_LIMIT = 100

_NEWLINE = rb"(?:\r\n|\r(?!\n)|\n)"
_HEADERS_END = re.compile(rb"(?:\A|" + _NEWLINE + rb")(?=[\r\n])")
_HEADER_NAME = re.compile(rb"(?:\A|(?<=[\r\n]))([^\s:]+):")
# This Content-Type is put before the headers, because the parser uses the first one. One from the archive
# could make it look for parts by a regular expression that contains their boundary. `re` caches that: 16 MB
# for each upload.
_NO_PARTS = b"Content-Type: text/plain\n"
_UNKNOWN = "UNKNOWN"  # old setuptools wrote this for missing values


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMetadata:
    """The core metadata of one distribution, as far as PyOCI uses it; `text` is all of it, byte-exact."""

    name: ProjectName
    version: Version
    requires_python: str | None  # one line of visible ASCII; in old files it may not be a specifier set
    project_urls: tuple[tuple[str, str], ...]  # (label, URL); Home-page is among them
    summary: str | None
    license_expression: str  # as the metadata has it, in one line; "" if there is none
    classifiers: tuple[str, ...]
    text: bytes = field(repr=False)

    @property
    def is_utf8(self) -> bool:
        """Whether the text is UTF-8, as core metadata should be. Other text can be published, but can't be
        stored in JSON.
        """
        try:
            self.text.decode()
        except UnicodeDecodeError:
            return False
        return True


def read_metadata(file: BinaryIO, distribution: Distribution) -> CoreMetadata:
    """Read the metadata out of the archive `file`, which must be seekable; its position is lost.

    The archive must be what `distribution`'s file name says, and its metadata must agree in name and version.
    Memory is bounded, whatever the archive claims, and time by the archive's size. Raises InvalidRequest.
    """
    if isinstance(distribution, Wheel):
        where, text = "METADATA", archives.read_wheel_metadata(file, distribution)
    else:
        where, text = "PKG-INFO", archives.read_pkg_info(file, distribution)
    return parse_metadata(text, where, distribution)


def read_distant_metadata(file: zip_layout.Seekable, wheel: Wheel) -> CoreMetadata:
    """Like `read_metadata`, for a wheel in a registry, where each read may be a request. It takes about four
    reads, and doesn't check how the file begins.
    """
    return parse_metadata(archives.read_distant_wheel_metadata(file, wheel), "METADATA", wheel)


def shown_requires_python(text: str) -> str | None:
    """Requires-Python as a page may show it; None if it is empty, too long, or not visible ASCII.

    Old files have `>=3.5.*`, `3` or `^3.8`, which aren't specifier sets. PyPI shows them, and pip ignores
    them. uv parses some of them, and skips a file with one of the others on its page or in its METADATA.
    """
    line = " ".join(text[: 2 * VALUE_LIMIT].split())
    if not line or line == _UNKNOWN or len(line) > VALUE_LIMIT:
        return None
    return line if line.isascii() and line.isprintable() else None


def parse_metadata(text: bytes, where: str, distribution: Distribution) -> CoreMetadata:
    """Parse the metadata in `text`; `where` is its name in messages. Raises InvalidRequest if its name or
    version isn't that of the file name.
    """
    metadata = _parse(text, where)
    if metadata.name != distribution.name:
        raise InvalidRequest(
            f"{where} is that of {metadata.name}; expected {distribution.name}, as the file name says"
        )
    if metadata.version != distribution.version:
        raise InvalidRequest(
            f"{where} has version {metadata.version}; expected {distribution.version}, as the file name says"
        )
    return metadata


def _parse(text: bytes, where: str) -> CoreMetadata:
    raw, unparsed = parse_headers(text, where)
    return CoreMetadata(
        name=ProjectName.parse(_required(raw.get("name"), unparsed, "Name", where)),
        version=_version(_required(raw.get("version"), unparsed, "Version", where), where),
        # If there are several of these headers, or one isn't UTF-8, none is used.
        requires_python=shown_requires_python(raw.get("requires_python") or ""),
        project_urls=_project_urls(raw, unparsed),
        summary=_line(raw.get("summary", "")) or None,
        license_expression=_license_expression(raw, unparsed),
        classifiers=tuple(filter(None, map(_line, raw.get("classifiers", ())))),
        text=text,
    )


def parse_headers(text: bytes, where: str) -> tuple[RawMetadata, dict[str, list[str]]]:
    """Parse the headers alone: nested parts in the body would exhaust the parser's stack."""
    end = _HEADERS_END.search(text)
    headers = text[: end.end()] if end else text
    if len(headers) > HEADERS_LIMIT or headers.count(b"\n") + headers.count(b"\r") > HEADER_LINE_LIMIT:
        raise InvalidRequest(
            f"{where} has too long headers; expected at most {HEADERS_LIMIT} bytes"
            f" in {HEADER_LINE_LIMIT} lines"
        )
    if len({found[1] for found in _HEADER_NAME.finditer(headers)}) > HEADER_NAME_LIMIT:
        raise InvalidRequest(
            f"{where} has over {HEADER_NAME_LIMIT} different headers; expected core metadata"
        )
    try:
        return parse_email(_NO_PARTS + headers)
    except (
        email.errors.MessageError,
        ValueError,
        LookupError,
        AssertionError,
    ):  # packaging 25 asserts a text
        raise InvalidRequest(f"{where} can't be read; expected headers as in an e-mail, in UTF-8") from None


def _required(value: str | None, unparsed: dict[str, list[str]], header: str, where: str) -> str:
    if value is None and len(unparsed.get(header.lower(), ())) > 1:
        raise InvalidRequest(f"{where} has several {header} headers; expected one")
    if value is None or not value.strip():
        raise InvalidRequest(f"{where} has no {header}; expected the header {header}")
    return value.strip()


def _version(text: str, where: str) -> Version:
    try:
        if len(text) > FILENAME_LIMIT:
            raise InvalidVersion
        return Version(text)
    except InvalidVersion:
        raise InvalidRequest(
            f"{where} has version {text[:100]!a}; expected one of PEP 440, like 1.0"
        ) from None


def _project_urls(raw: RawMetadata, unparsed: dict[str, list[str]]) -> tuple[tuple[str, str], ...]:
    """The first URL of each label. The older header Home-page is added as Homepage. Only pages show them, so
    those over the limits are left out.
    """
    urls: dict[str, str] = {}
    for label, url in _labelled_urls(raw, unparsed):
        if label and url and url != _UNKNOWN:
            urls.setdefault(label, url)
    home_page = _line(raw.get("home_page", ""))
    if home_page and not any(label.lower() in ("homepage", "home-page") for label in urls):
        urls["Homepage"] = home_page
    short = [(label, url) for label, url in urls.items() if len(label) + len(url) <= VALUE_LIMIT]
    return tuple(short[:URL_COUNT_LIMIT])


def _labelled_urls(raw: RawMetadata, unparsed: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for label, url in raw.get("project_urls", {}).items():
        yield _line(label), _line(url)
    for pair in unparsed.get("project-url", ()):  # for labels that occur twice
        label, _, url = pair.partition(",")
        yield _line(label), _line(url)


def _license_expression(raw: RawMetadata, unparsed: dict[str, list[str]]) -> str:
    """License-Expression (PEP 639); the first one if there are several."""
    return _line(raw.get("license_expression") or next(iter(unparsed.get("license-expression", ())), ""))


def _line(text: str) -> str:
    """`text` without line breaks and control characters; empty for UNKNOWN."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return "" if line == _UNKNOWN else line
