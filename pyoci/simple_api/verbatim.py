"""Pages of JSON that can be passed on as they were sent, because nothing in them would be changed.

Reading ten thousand files one by one, and writing them again, takes most of the time of a page. Here each key
is checked in all files at once. What isn't certainly right goes to `reading`, which leaves out the mistakes.
Most pages needn't even be parsed for that: see `uniform`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, NamedTuple, overload

from cachetools import LRUCache

from pyoci.errors import ProtocolError
from pyoci.pauses import json_hook
from pyoci.simple_api import model, reading, uniform
from pyoci.simple_api.model import File, ProjectStatus

_LEVEL = 3  # of gzip; 6 takes twice the time for a tenth less
_ISAL_LEVEL = 1  # of ISA-L, whose levels differ; the result is a tenth smaller than zlib's
_GZIP = 16 + zlib.MAX_WBITS
_KEPT = 32 * 1024 * 1024  # bytes, as estimated, of files that were read
FILE_BYTES = 1200  # bytes that the objects of a file take, besides its texts
_API_VERSIONS = frozenset({"1.0", "1.1", "1.2", "1.3", "1.4"})
_KEYS = frozenset({"meta", "name", "files", "versions", "project-status", "alternate-locations"})
_META_KEYS = frozenset({"api-version", "_last-serial"})
_LARGEST = 2**53
# Lines, each of which is a value.
_FILENAMES = re.compile(rf"(?:{uniform.FILENAME}\n)*")
_URLS = re.compile(rf"(?:{uniform.URL}\n)*")
_SHA256S = re.compile(rf"(?:{uniform.SHA256}\n)*")
_VERSIONS = re.compile(r"(?:[ -~]+\n)*")
_TIMES = re.compile(rf"(?:[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{uniform.CLOCK}\n)*")


class Verbatim(NamedTuple):
    """A page that can be passed on: what it says about the project, and the number of its files."""

    versions: tuple[str, ...]
    status: ProjectStatus | None
    file_count: int


def recognize_text(body: bytes, name: str) -> Verbatim | None:
    """Like `recognize`, for a page whose JSON isn't parsed yet. None also if only parsing it can tell."""
    found = uniform.uniform_files(body)
    if found is None or found.file_count > reading.FILES:
        return None
    if not all(_CHECKS[key](values) for key, values in found.texts.items()):
        return None
    try:
        document = reading.read_document(found.rest)
    except ProtocolError:
        return None
    about = recognize(document, found.rest, name)
    return None if about is None else about._replace(file_count=found.file_count)


def recognize(document: object, body: bytes, name: str) -> Verbatim | None:
    """The page of the project `name` (normalised) whose JSON is `body`, and parsed `document`, if it can be
    passed on. None if something in it is wrong, unknown, or only unusual.
    """
    try:
        return _recognize(document, body, name)
    except (KeyError, TypeError, ValueError, AttributeError):  # a key is missing, or of another type
        return None


def _recognize(document: Any, body: bytes, name: str) -> Verbatim | None:
    files = document["files"]
    if document.keys() - _KEYS or document["name"] != name or document.get("alternate-locations", []) != []:
        return None
    if type(files) is not list or set(map(type, files)) - {dict} or len(files) > reading.FILES:
        return None
    about = Verbatim(_versions(document["versions"]), _status(document), len(files))
    outer = len(document) + _keys_of_meta(document["meta"]) + len(document.get("project-status", ()))
    if not _has_keys(body, outer + _keys_inside(files) + sum(map(len, files))):
        return None
    return about


def _keys_inside(files: list[dict[str, Any]]) -> int:
    """How many keys the objects in these files have. Raises ValueError if a file would be changed."""
    keys = set[str]().union(*files)
    if keys - _CHECKS.keys() or (files and not keys >= _REQUIRED):
        raise ValueError
    count = 0
    for key in keys:
        column = [file[key] for file in files if key in file]
        if (key in _REQUIRED and len(column) != len(files)) or not _CHECKS[key](column):
            raise ValueError
        if key in _OBJECTS:
            count += sum(len(value) for value in column if type(value) is dict)
    return count


def _keys_of_meta(meta: Any) -> int:
    """How many there are. Raises ValueError if it says something unknown."""
    serial = str(meta.get("_last-serial", 0))
    if meta.keys() - _META_KEYS or meta["api-version"] not in _API_VERSIONS or not serial.isdecimal():
        raise ValueError
    return len(meta)


def _has_keys(body: bytes, count: int) -> bool:
    """Whether JSON, on one line and without blanks after strings, has that many keys. If it has more, some
    are there twice in one object, and clients might take others than were checked here.
    """
    plain = body.startswith(b"{") and not any(blank in body for blank in (b"\n", b"\r", b"\t", b'" '))
    return plain and body.count(b'":') == count


def _versions(versions: Any) -> tuple[str, ...]:
    """Raises ValueError if some would be left out."""
    found = tuple(dict.fromkeys(versions))
    if type(versions) is not list or len(found) != len(versions) or not _lines(_VERSIONS, found, 200):
        raise ValueError
    return found


def _status(document: Any) -> ProjectStatus | None:
    """Raises ValueError if it would be changed."""
    if "project-status" not in document:
        return None
    found = model.status(document["project-status"])
    reason = {"reason": found.reason} if found and found.reason else {}
    if found is None or document["project-status"] != {"status": found.status, **reason}:
        raise ValueError
    return found


# Each gets the values of one key in all files, and says whether all of them are as `model` would have them.


def _lines(pattern: re.Pattern[str], texts: Sequence[str], longest: int) -> bool:
    joined = "\n".join((*texts, ""))
    return (
        joined.count("\n") == len(texts)
        and max(map(len, texts), default=0) <= longest
        and pattern.fullmatch(joined) is not None
    )


def _are_filenames(column: list[Any]) -> bool:
    return _lines(_FILENAMES, column, uniform.FILENAME_LENGTH)


def _are_urls(column: list[Any]) -> bool:
    return _lines(_URLS, column, uniform.URL_LENGTH)


def _are_hashes(column: list[Any]) -> bool:
    if set(map(type, column)) - {dict} or set(map(len, column)) - {1}:
        return False
    return _lines(_SHA256S, [hashes["sha256"] for hashes in column], 64)


def _are_sizes(column: list[Any]) -> bool:
    return not set(map(type, column)) - {int} and min(column) >= 0 and max(column) <= _LARGEST


def _are_times(column: list[Any]) -> bool:
    if not _lines(_TIMES, column, 27):
        return False
    for day in {text[:10] for text in column}:
        date.fromisoformat(day)
    return True


def _are_unchanged(read: Callable[[object], object]) -> Callable[[list[Any]], bool]:
    """Whether `read` changes none of these values, which are few different ones; null is no value."""
    return lambda column: all(
        value is None or (type(value) is str and read(value) == value) for value in set(column)
    )


def _are_yanks(column: list[Any]) -> bool:
    """Also reasons with blanks that `model` would leave out."""
    reasons = {value for value in column if type(value) is str}
    return not set(map(type, column)) - {bool, str} and all(
        len(reason) <= 2000 and reason.isprintable() and type(model.yanked(reason)) is str
        for reason in reasons
    )


def _are_core_metadata(column: list[Any]) -> bool:
    return not set(map(type, column)) - {bool, dict} and _are_hashes(
        [value for value in column if type(value) is dict]
    )


def _are_booleans(column: list[Any]) -> bool:
    return not set(map(type, column)) - {bool}


def _are_urls_or_null(column: list[Any]) -> bool:
    return _are_urls([value for value in column if value is not None])


_REQUIRED = frozenset({"filename", "url", "hashes"})
_OBJECTS = frozenset({"hashes", *uniform.METADATA_KEYS})  # the only keys whose values have keys
_CHECKS: dict[str, Callable[[list[Any]], bool]] = {
    "filename": _are_filenames,
    "url": _are_urls,
    "hashes": _are_hashes,
    "size": _are_sizes,
    "upload-time": _are_times,
    "requires-python": _are_unchanged(model.text),
    "provenance": _are_urls_or_null,
    "gpg-sig": _are_booleans,
    "yanked": _are_yanks,
    **dict.fromkeys(uniform.METADATA_KEYS, _are_core_metadata),
}


def packed(body: bytes) -> bytes:
    """The text of a page, compressed with gzip as clients get it."""
    return _compressor()(body)


@cache
def _compressor() -> Callable[[bytes], bytes]:
    """What compresses pages: ISA-L if it is installed, which takes a quarter of the time, or else zlib."""
    try:
        from isal import isal_zlib
    except ImportError:
        return lambda body: gzip.compress(body, compresslevel=_LEVEL, mtime=0)
    return lambda body: isal_zlib.compress(body, _ISAL_LEVEL, wbits=_GZIP)


class _Kept:
    """The files of the pages that were read last. One for the process."""

    def __init__(self, size: int) -> None:
        self._guard = threading.Lock()
        self._known: LRUCache[str, tuple[File, ...]] = LRUCache(
            size, getsizeof=lambda files: 1000 + (FILE_BYTES + 200) * len(files)
        )

    def get_or_read(self, key: str, read: Callable[[], tuple[File, ...]]) -> tuple[File, ...]:
        with self._guard:
            known = self._known.get(key)
        if known is None:
            known = read()
            with self._guard:
                if self._known.getsizeof(known) <= self._known.maxsize:
                    self._known[key] = known
        return known


_kept = _Kept(_KEPT)


@dataclass(frozen=True, slots=True, eq=False)
class VerbatimFiles(Sequence[File]):
    """The files of a page that is passed on as it was sent. They are read when they are needed.

    `packed` is the JSON of the whole page, compressed with gzip. `about` is what else it says.
    """

    packed: bytes = field(repr=False)
    about: Verbatim
    fingerprint: str

    @classmethod
    def of(cls, packed: bytes, about: Verbatim) -> VerbatimFiles:
        return cls(packed, about, hashlib.sha256(packed).hexdigest())

    def body(self) -> bytes:
        """The JSON of the page."""
        return gzip.decompress(self.packed)

    def __len__(self) -> int:
        return self.about.file_count

    def __iter__(self) -> Iterator[File]:
        return iter(self._files())

    @overload
    def __getitem__(self, index: int) -> File: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[File, ...]: ...
    def __getitem__(self, index: int | slice) -> File | tuple[File, ...]:
        return self._files()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._files() == tuple(other)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def _files(self) -> tuple[File, ...]:
        return _kept.get_or_read(self.fingerprint, self._read)

    def _read(self) -> tuple[File, ...]:
        body = self.body()
        document = json.loads(body, object_hook=json_hook(len(body)))
        return tuple(map(_file, document["files"]))


def _file(entry: dict[str, Any]) -> File:
    """A file of a page that was recognized."""
    get = entry.get
    metadata: Iterable[Any] = (entry[key] for key in uniform.METADATA_KEYS if key in entry)
    return File(
        entry["filename"],
        entry["url"],
        entry["hashes"],
        get("size"),
        get("upload-time"),
        get("requires-python"),
        get("provenance"),
        get("gpg-sig"),
        next(iter(metadata), None) or None,
        model.yanked(get("yanked")),
    )
