"""File, ProjectStatus and Page: the simple repository API's data about a project, from the registry or
upstream.

A new key of a file is a row of FIELDS, which says how it is checked and written, and a field at the end of
`File`. A mistake in one key of a foreign page costs that key alone: uv rejects a whole page for one null, or
for one upload-time without an offset.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urljoin, urlsplit

from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

API_VERSION = "1.4"

_FILENAME = re.compile(r"[A-Za-z0-9._+!~ ()-]{1,255}")  # some uploads of the early years have blanks
_OLD_SDIST = re.compile(r"\.(?:tar\.bz2|tgz)\Z")  # endings that packaging doesn't know
_ALGORITHM = re.compile(r"[a-z0-9_]{1,20}")
_HEX = re.compile(r"[0-9a-fA-F]{8,256}")
_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_HASHES = 16  # of one file
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_TEXT = 2000  # characters of a reason or a specifier
_URL = 4000  # characters
# The form of nearly all URLs. Splitting each of them would take most of the time of reading a page.
_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,4})?/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII
)
_STATUSES = frozenset({"active", "archived", "quarantined", "deprecated"})
_LARGEST = 2**53
# Characters that a URL may contain unencoded (RFC 3986). Some servers forget to encode the others.
_SAFE = "%!#$&'()*+,/:;=?@[]~"


def filename(value: object) -> str | None:
    """A file name that can't be a path."""
    if not isinstance(value, str) or not _FILENAME.fullmatch(value) or value.strip(". ") != value:
        return None
    return value


def url(value: object, base: str) -> str | None:
    """An absolute URL of http or https without credentials; `value` may be relative to `base`."""
    if not isinstance(value, str) or len(value) > _URL or not value.strip() or not value.isprintable():
        return None
    if _PLAIN_URL.fullmatch(value):
        return value
    try:
        parts = urlsplit(urljoin(base, value.strip()))
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _is_plain(parts.netloc):
        return None
    return quote(parts._replace(fragment="").geturl(), safe=_SAFE)


def _is_plain(netloc: str) -> bool:
    return netloc.isascii() and not any(character in netloc for character in "@\\%<>\"'` ")


def hashes(value: object) -> dict[str, str]:
    """Hex by algorithm. A digest of a known algorithm must have that algorithm's length."""
    if not isinstance(value, dict):
        return {}
    pairs = [(key.lower(), digest) for key, digest in value.items() if isinstance(key, str)]
    return {algorithm: digest.lower() for algorithm, digest in pairs[:_HASHES] if _is_hash(algorithm, digest)}


def _is_hash(algorithm: str, digest: object) -> bool:
    if not isinstance(digest, str) or not _ALGORITHM.fullmatch(algorithm) or not _HEX.fullmatch(digest):
        return False
    return _DIGITS.get(algorithm, len(digest)) == len(digest)


def hashes_in(text: str) -> dict[str, str]:
    """The hashes in a URL's fragment or an attribute: `sha256=…`, alone or among other pairs. Unchecked."""
    pairs = (pair.partition("=") for pair in text.split("&")[:16])
    return {algorithm: digest for algorithm, _, digest in pairs}


def best_hash(known: Mapping[str, str]) -> str:
    """`sha256=…`, or another hash if there is no sha256; "" if there is none."""
    algorithm = "sha256" if "sha256" in known else next(iter(known), "")
    return f"{algorithm}={known[algorithm]}" if algorithm else ""


def _core_metadata(value: object) -> bool | dict[str, str] | None:
    return True if value is True else hashes(value) or None


def _core_metadata_text(value: bool | dict[str, str]) -> str:
    return "true" if isinstance(value, bool) else best_hash(value)


def _core_metadata_in(text: str) -> bool | dict[str, str]:
    return text.strip().lower() == "true" or hashes_in(text.strip())


def _size(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        return None
    return value


def _size_in(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 17 else None


def time_text(value: object) -> str | None:
    """A time with an offset, as it was written."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):  # the year 1 in the east is the year 0 in UTC
        return None
    return value


def _legacy_times(value: str) -> dict[str, Any]:
    moment = datetime.fromisoformat(value)
    return {
        "upload_time": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "upload_time_iso_8601": timestamp(moment),
    }


def text(value: object) -> str | None:
    """One line of at most 2,000 characters."""
    return _line(value) if isinstance(value, str) and len(value) <= _TEXT else None


@lru_cache(maxsize=1024)
def _line(value: str) -> str | None:
    """One line of text. It is cached, because the files of a page have the same few specifiers."""
    line = " ".join(value.split())
    return line if line.isprintable() and line else None


def yanked(value: object) -> bool | str | None:
    """The reason as one line. A broken reason leaves the file yanked."""
    if not isinstance(value, str) or not value:
        return True if value is True else None
    line = " ".join("".join(c if c.isprintable() else " " for c in value[:_TEXT]).split())
    return line or True


def status(value: object) -> ProjectStatus | None:
    """PEP 792; None also for a status that PEP 792 doesn't have."""
    if not isinstance(value, dict):
        return None
    word = value.get("status")
    if not isinstance(word, str) or word not in _STATUSES:
        return None
    return ProjectStatus(word, text(value.get("reason")))


@dataclass(frozen=True, slots=True)
class Field:
    """One optional key of a file: `upload-time` in JSON, `data-upload-time` in HTML, `File.upload_time`."""

    key: str
    read: Callable[[object], Any]  # a JSON value to the field's value; None if it is wrong
    to_html: Callable[[Any], str]  # the field's value to an attribute's
    from_html: Callable[[str], object]  # an attribute's value to what JSON would have
    needs_escaping: bool = False  # whether `to_html` may return characters that HTML reserves
    former_key: str = ""  # an older name, which is read too, and written in HTML
    legacy: Callable[[Any], dict[str, Any]] | None = None  # the keys in the legacy JSON, if any

    @property
    def attribute(self) -> str:
        return self.key.replace("-", "_")

    @property
    def keys(self) -> tuple[str, ...]:
        """The names that the key may have, the current one first (PEP 714)."""
        return (self.key, self.former_key) if self.former_key else (self.key,)

    @property
    def spellings(self) -> tuple[str, ...]:
        """The names that JSON may have for it: some indexes wrote `data-core-metadata` for a while."""
        return (*self.keys, *(f"data-{key}" for key in self.keys if self.former_key))


# HTML and the legacy JSON have them in this order. Another order would change the ETag of every page.
FIELDS = (
    Field("requires-python", text, str, str, True, legacy=lambda value: {"requires_python": value}),
    Field(
        "core-metadata",
        _core_metadata,
        _core_metadata_text,
        _core_metadata_in,
        former_key="dist-info-metadata",
    ),
    Field("yanked", yanked, lambda value: "" if value is True else value, lambda text: text or True, True),
    Field(
        "gpg-sig",
        lambda value: value if isinstance(value, bool) else None,
        lambda value: "true" if value else "false",
        {"true": True, "false": False}.get,
    ),
    Field("provenance", lambda value: url(value, ""), str, str, True),
    Field("size", _size, str, _size_in, legacy=lambda value: {"size": value}),
    Field("upload-time", time_text, str, str, legacy=_legacy_times),
)


class File(NamedTuple):
    """One file of a page. A field that is None is unknown, and is left out of every representation.

    The fields are the keys of a file's JSON, in the same order and with the same values, except those that
    only the legacy JSON has. It is a tuple because a page creates ten thousand of them.
    """

    filename: str
    url: str  # absolute, or relative to the page; without a fragment, and percent-encoded where it must be
    hashes: dict[str, str]  # hex by algorithm; may be empty
    size: int | None = None  # bytes (PEP 700)
    upload_time: str | None = None  # ISO 8601 with an offset (PEP 700)
    requires_python: str | None = None
    provenance: str | None = None  # an absolute URL (PEP 740)
    gpg_sig: bool | None = None
    core_metadata: bool | dict[str, str] | None = None  # hashes of METADATA, or True (PEP 714)
    yanked: bool | str | None = None  # the reason, never empty, or True (PEP 592)

    # Only the legacy JSON shows these.
    version: Version | None = None  # None: the file name has it
    project_urls: Mapping[str, str] = MappingProxyType({})  # URL by label

    # Only the JSON page shows this, under a key of our own (PEP 691), and pages for people.
    publisher: str | None = None  # the user who has published it

    @property
    def yank_reason(self) -> str | None:
        """The reason why it is yanked, "" if none was given; None if it isn't yanked."""
        return None if not self.yanked else "" if self.yanked is True else self.yanked


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """`active`, `archived`, `quarantined` or `deprecated`, and the reason (PEP 792)."""

    status: str
    reason: str | None = None

    @property
    def is_quarantined(self) -> bool:
        """Whether none of the project's files may be offered."""
        return self.status == "quarantined"

    @property
    def takes_uploads(self) -> bool:
        """Whether new files may be added."""
        return self.status not in {"archived", "quarantined"}

    def document(self) -> dict[str, str]:
        """The status as JSON has it."""
        return {"status": self.status, **({"reason": self.reason} if self.reason else {})}


ACTIVE = ProjectStatus("active")  # the status of a project that has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A project's page. `files` may be an iterator that creates the files while they are written."""

    name: str  # normalised
    files: Iterable[File]
    versions: tuple[str, ...]
    status: ProjectStatus | None = None

    def of_version(self, version: Version) -> Self:
        """The page with the files of one version. 1.0 and 1.0.0 are one version."""
        files = tuple(file for file in self.files if version_of(file) == version)
        return replace(self, files=files, versions=tuple(str(version_of(file)) for file in files[:1]))


def version_of(file: File) -> Version | None:
    """The version of a file; None for eggs, installers and others whose names have none."""
    return version_in(file.filename) if file.version is None else file.version


def version_in(filename: str) -> Version | None:
    """The version in the name of a wheel or an sdist; None if there is none."""
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[1]
        return parse_sdist_filename(_OLD_SDIST.sub(".tar.gz", filename))[1]
    except ValueError:  # packaging's errors are subclasses; int() raises one for 5,000 digits
        return None


def by_version(files: Iterable[File]) -> dict[Version, list[File]]:
    """The files of each version, the oldest version first. Files without a version are left out.

    1.0 and 1.0.0 are one version, under the first spelling.
    """
    found: dict[Version, list[File]] = {}
    for file in files:
        version = version_of(file)
        if version is not None:
            found.setdefault(version, []).append(file)
    return dict(sorted(found.items()))


def latest_of(versions: Mapping[Version, Iterable[File]]) -> Version | None:
    """What `latest` chooses of these files by version."""
    return latest({version: any(file.yanked for file in files) for version, files in versions.items()})


def latest(versions: Mapping[Version, bool]) -> Version | None:
    """The newest version that is neither yanked nor a pre-release. If there is none, a pre-release; if all
    are yanked, a yanked one. The values are true for yanked versions.
    """
    return max(versions, key=lambda v: (not versions[v], not v.is_prerelease, v), default=None)


def timestamp(moment: datetime) -> str:
    """`2026-11-20T08:15:30.000000Z`: PEP 700 requires UTC, and uv requires the Z."""
    m = moment.astimezone(UTC)
    # isoformat() or an f-string would take half as long again. This is a fifth of the time of a page.
    return "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (  # noqa: UP031
        m.year, m.month, m.day, m.hour, m.minute, m.second, m.microsecond
    )  # fmt: skip
