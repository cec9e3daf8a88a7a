"""Memory: what upstream said of a project, kept for all who share the cache, and parsed in this process."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache

from pyoci.cache.backend import Backend
from pyoci.errors import PyOCIError
from pyoci.upstream.documents import read_json, write_json
from pyoci.upstream.models import UpstreamPage

_HELD = 96 * 1024 * 1024  # bytes, as estimated, of parsed pages in this process
_FILE = 1200  # bytes that the objects of a file take, besides its texts
_UNPACKED = 64 * 1024 * 1024  # bytes of one page
_HEADER = 1000  # characters of an ETag or a date; a longer one isn't sent back
_SKEW = 60.0  # seconds that the clocks of hosts may differ


@dataclass(frozen=True, slots=True)
class Known:
    """What upstream said last; `page` is None where it has no such project. Times are seconds since 1970."""

    page: UpstreamPage | None
    checked: float
    until: float  # as long as it counts without asking
    etag: str = ""
    modified: str = ""
    stale: bool = False  # upstream could not be asked when it should have been; nobody else is told

    def is_fresh(self, now: float) -> bool:
        """Whether it still counts. What comes from the future is not believed."""
        return self.checked - _SKEW <= now < self.until

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask whether the page is still the same."""
        if self.page is None:
            return {}
        told = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in told.items() if value}

    def to_bytes(self) -> bytes:
        """A line about the answer, and the page, compressed."""
        head = {"checked": self.checked, "until": self.until, "etag": self.etag, "modified": self.modified}
        body = b"" if self.page is None else write_json(self.page)
        return json.dumps({**head, "size": len(body)}).encode() + b"\n" + zlib.compress(body, 1)


def newer(kept: bytes, held: Known | None, name: str) -> Known | None:
    """What `to_bytes` wrote, if it was said after what is `held`; None also where it is something else."""
    line, _, packed = kept.partition(b"\n")
    try:
        told: Mapping[str, Any] = json.loads(line)
        checked = float(told["checked"])
        if held is not None and checked <= held.checked:
            return None
        size = told["size"]
        body = zlib.decompressobj().decompress(packed, _UNPACKED)
        if size != len(body):
            return None
        page = read_json(body, name, "") if size else None
        return Known(page, checked, float(told["until"]), str(told["etag"]), str(told["modified"]))
    except (ValueError, KeyError, TypeError, zlib.error, PyOCIError):
        return None


@dataclass(frozen=True, slots=True)
class _Held:
    known: Known
    weight: int


class Memory:
    """Known answers by project name, for one address (`key`)."""

    def __init__(self, backend: Backend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._guard = threading.Lock()
        self._held: LRUCache[str, _Held] = LRUCache(_HELD, getsizeof=lambda held: held.weight)

    def key_of(self, name: str) -> str:
        """What the cache knows a project of this upstream by."""
        return f"upstream\0{self._key}\0{name}"

    def held(self, name: str) -> Known | None:
        """What this process knows."""
        with self._guard:
            held = self._held.get(name)
        return None if held is None else held.known

    def shared(self, name: str, held: Known | None) -> Known | None:
        """What anybody knows, if that is newer than what is `held` here; it is held from now on."""
        kept = self._backend.get(self.key_of(name))
        found = None if kept is None else newer(kept, held, name)
        if found is None:
            return held
        self.hold(name, found)
        return found

    def keep(self, name: str, known: Known, seconds: float) -> None:
        """Remember, for so long, for all."""
        self.hold(name, known)
        self._backend.put(self.key_of(name), known.to_bytes(), seconds)

    def forget(self, name: str) -> None:
        """Know nothing of a project any more."""
        with self._guard:
            self._held.pop(name, None)
        self._backend.discard(self.key_of(name))

    def hold(self, name: str, known: Known) -> None:
        """Remember in this process alone."""
        weight = _weight(known)
        with self._guard:
            self._held.pop(name, None)
            if weight <= _HELD // 4:
                self._held[name] = _Held(known, weight)


def _weight(known: Known) -> int:
    if known.page is None:
        return 500
    files = known.page.files
    texts = sum(len(file.url) + len(file.filename) + len(file.provenance or "") for file in files)
    return 1000 + len(files) * _FILE + texts + 100 * len(known.page.versions)


def header(value: str | None) -> str:
    """An ETag or a date as it may be sent back."""
    return value if value and len(value) <= _HEADER and value.isascii() and value.isprintable() else ""
