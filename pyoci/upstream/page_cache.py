"""PageCache: upstream's last answer about each project: stored for all processes, and parsed in this one."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cachetools import LRUCache

from pyoci.cache.backend import Backend
from pyoci.errors import PyOCIError
from pyoci.simple_api import reading, writing
from pyoci.simple_api.model import ProjectStatus
from pyoci.simple_api.verbatim import FILE_BYTES, Verbatim, VerbatimFiles
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.remembered import compressed, decompressed, is_current

_LOCAL = 64 * 1024 * 1024  # bytes, as estimated, of pages in this process
_UNPACKED = 40 * 1024 * 1024  # bytes of one page, which may be longer than what upstream sent
_HEADER = 1000  # characters of an ETag or a date; a longer one isn't sent back


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """Upstream's last answer; `page` is None if it has no such project, or refuses it. Times are seconds
    since 1970.
    """

    page: UpstreamPage | None
    checked: float  # when upstream was asked last
    until: float  # until when the answer is fresh
    etag: str = ""
    modified: str = ""
    stale: bool = False  # upstream couldn't be asked when the answer expired; known only in this process

    def is_fresh(self, now: float) -> bool:
        """Whether it may be used without asking upstream. An answer from the future may not."""
        return is_current(self.checked, self.until, now)

    @property
    def conditions(self) -> dict[str, str]:
        """The headers of a conditional request."""
        if self.page is None:
            return {}
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in headers.items() if value}

    def to_bytes(self) -> bytes:
        """A line of JSON about the answer, then the page, compressed."""
        head = {"checked": self.checked, "until": self.until, "etag": self.etag, "modified": self.modified}
        if self.page is not None and isinstance(self.page.files, VerbatimFiles):
            files = self.page.files
            verbatim = {"about": _written(files.about), "sha256": files.fingerprint}
            return json.dumps({**head, "verbatim": verbatim}).encode() + b"\n" + files.packed
        body = b"" if self.page is None else writing.page_json(self.page, files_last=False)
        return json.dumps({**head, "size": len(body)}).encode() + b"\n" + compressed(body)

    @classmethod
    def newer(cls, data: bytes, known: CachedAnswer | None, name: str) -> Self | None:
        """Read what `to_bytes` wrote. None if it is not newer than what is `known`, and for other data."""
        line, _, packed = data.partition(b"\n")
        try:
            head: Mapping[str, Any] = json.loads(line)
            checked = float(head["checked"])
            if known is not None and checked <= known.checked:
                return None
            page = _read(head, packed, name)
            return cls(page, checked, float(head["until"]), str(head["etag"]), str(head["modified"]))
        except (ValueError, KeyError, TypeError, PyOCIError):
            return None


def _written(about: Verbatim) -> list[Any]:
    status = about.status
    return [about.versions, None if status is None else [status.status, status.reason], about.file_count]


def _read(head: Mapping[str, Any], packed: bytes, name: str) -> UpstreamPage | None:
    """The page in what `to_bytes` wrote; None if upstream has none. Raises ValueError and others for other
    data.
    """
    if "verbatim" in head:
        versions, status, count = head["verbatim"]["about"]
        about = Verbatim(tuple(versions), None if status is None else ProjectStatus(*status), int(count))
        files = VerbatimFiles.of(packed, about)
        if files.fingerprint != head["verbatim"]["sha256"]:
            raise ValueError("the page was changed")
        return UpstreamPage.verbatim(name, files)
    body = decompressed(packed, head["size"], _UNPACKED)
    return UpstreamPage.of(reading.read_json(body, name, "")) if body else None


@dataclass(frozen=True, slots=True)
class _Weighed:
    answer: CachedAnswer
    weight: int


class PageCache:
    """Answers by project name, for one address (`key`)."""

    def __init__(self, backend: Backend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._guard = threading.Lock()
        self._local: LRUCache[str, _Weighed] = LRUCache(_LOCAL, getsizeof=lambda entry: entry.weight)

    def key_of(self, name: str) -> str:
        """The shared cache's key of a project of this upstream."""
        return f"upstream\0{self._key}\0{name}"

    def local(self, name: str) -> CachedAnswer | None:
        """The answer that this process has."""
        with self._guard:
            entry = self._local.get(name)
        return None if entry is None else entry.answer

    def shared(self, name: str, known: CachedAnswer | None) -> CachedAnswer | None:
        """The answer in the shared cache if it is newer than `known`, else `known`."""
        data = self._backend.get(self.key_of(name))
        found = None if data is None else CachedAnswer.newer(data, known, name)
        if found is None:
            return known
        self.put_local(name, found)
        return found

    def put(self, name: str, answer: CachedAnswer, seconds: float) -> None:
        """Remember an answer for all processes."""
        self.put_local(name, answer)
        self._backend.put(self.key_of(name), answer.to_bytes(), seconds)

    def put_local(self, name: str, answer: CachedAnswer) -> None:
        """Remember an answer in this process alone."""
        weight = _weight(answer)
        with self._guard:
            self._local.pop(name, None)
            if weight <= _LOCAL // 4:
                self._local[name] = _Weighed(answer, weight)


def _weight(answer: CachedAnswer) -> int:
    if answer.page is None:
        return 500
    files = answer.page.files
    if isinstance(files, VerbatimFiles):
        return 1000 + len(files.packed) + 100 * len(answer.page.versions)
    texts = sum(len(file.url) + len(file.filename) + len(file.provenance or "") for file in files)
    return 1000 + len(files) * FILE_BYTES + texts + 100 * len(answer.page.versions)


def header(value: str | None) -> str:
    """An ETag or a date to send back; "" if it is missing, too long or not plain text."""
    return value if value and len(value) <= _HEADER and value.isascii() and value.isprintable() else ""
