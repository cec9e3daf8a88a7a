"""ProvenanceCache: the provenance of upstream's files (PEP 740), fetched where the page says, and remembered.

The page has no hash of it: a client verifies its signatures.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from pyoci.cache.backend import Backend
from pyoci.errors import NotFound, PyOCIError, RequestEnded, Unreachable
from pyoci.events import Events
from pyoci.simple_api.model import File
from pyoci.single_flight import SingleFlight
from pyoci.upstream.copies import OFFLINE, PROVENANCE_LIMIT, Copies
from pyoci.upstream.file_source import Wanted

FRESH_TTL = 3600.0  # seconds; it changes only if a publisher adds an attestation
_SKEW = 60.0  # seconds that the clocks of hosts may differ
_SECONDS = 60.0  # to wait for another request of the same


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A document, and when it was fetched, in seconds since 1970."""

    content: bytes
    fetched: float

    def is_fresh(self, now: float) -> bool:
        return self.fetched - _SKEW <= now < self.fetched + FRESH_TTL

    def to_bytes(self) -> bytes:
        return f"{self.fetched!r}\n{len(self.content)}\n".encode() + zlib.compress(self.content, 1)

    @classmethod
    def read(cls, data: bytes | None) -> Self | None:
        """Read what `to_bytes` wrote; None for anything else."""
        fetched, _, rest = (data or b"").partition(b"\n")
        size, _, packed = rest.partition(b"\n")
        try:
            content = zlib.decompressobj().decompress(packed, PROVENANCE_LIMIT)
            return cls(content, float(fetched)) if len(content) == int(size) else None
        except (ValueError, zlib.error):
            return None


class ProvenanceCache:
    """One for the process. `fetch` requests the document of a file from upstream. While that can't be asked,
    documents are served however old they are, or from the `copies`. If it is `offline`, it is never asked.
    """

    def __init__(
        self,
        fetch: Callable[[File], str],
        backend: Backend,
        copies: Copies | None = None,
        *,
        offline: bool = False,
        events: Events | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._fetch, self._backend, self._copies, self._now = fetch, backend, copies, now
        self._offline = offline
        self._events = events or Events()
        self._flights = SingleFlight()

    def read(self, wanted: Wanted) -> bytes:
        """The document. Raises NotFound, Denied, ProtocolError and Unreachable."""
        if wanted.entry is not None and wanted.url == wanted.entry.url:  # a page that was made of the copies
            return self._copy(wanted)
        key = f"provenance\0{wanted.url}"
        known = _Remembered.read(self._backend.get(key))
        if known is not None and (self._offline or known.is_fresh(self._now())):
            return known.content
        try:
            content = self._flights.run(key, "", lambda: self._read_once(wanted), _SECONDS)
        except Unreachable:
            kept = self._kept(wanted, known)
            if kept is None:
                raise
            return kept
        self._backend.put(key, _Remembered(content, self._now()).to_bytes())
        return content

    def _read_once(self, wanted: Wanted) -> bytes:
        if self._offline or wanted.entry is None:
            return self._copy(wanted)
        with self._events.outcome("upstream"):
            return self._fetch(wanted.entry).encode()

    def _copy(self, wanted: Wanted) -> bytes:
        kept = self._kept(wanted, None)
        if kept is None:
            raise NotFound(
                f"{wanted.filename} is not stored here" + (f", and {OFFLINE}" if self._offline else "")
            )
        return kept

    def _kept(self, wanted: Wanted, known: _Remembered | None) -> bytes | None:
        if known is not None or self._copies is None:
            return None if known is None else known.content
        try:
            return self._copies.provenance(wanted)
        except RequestEnded:
            raise
        except PyOCIError:
            return None
