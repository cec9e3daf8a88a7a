"""ProvenanceCache: the provenance of upstream's files (PEP 740), fetched where the page says, and remembered.

The page has no hash of it: a client verifies its signatures.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pyoci.cache.backend import Backend
from pyoci.errors import NotFound, PyOCIError, RequestEnded, Unreachable
from pyoci.events import Events
from pyoci.simple_api.model import File
from pyoci.single_flight import SingleFlight
from pyoci.upstream.copies import OFFLINE, PROVENANCE_LIMIT, Copies
from pyoci.upstream.file_source import Wanted
from pyoci.upstream.remembered import Remembered

FRESH_TTL = 3600.0  # seconds; it changes only if a publisher adds an attestation
_SECONDS = 60.0  # to wait for another request of the same


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
        known = Remembered.read(self._backend.get(key), PROVENANCE_LIMIT)
        if known is not None and (self._offline or known.is_younger(FRESH_TTL, self._now())):
            return known.content
        try:
            content = self._flights.run(key, "", lambda: self._read_once(wanted), _SECONDS)
        except Unreachable:
            kept = self._stored(wanted) if known is None else known.content
            if kept is None:
                raise
            return kept
        self._backend.put(key, Remembered(content, self._now()).to_bytes())
        return content

    def _read_once(self, wanted: Wanted) -> bytes:
        if self._offline or wanted.entry is None:
            return self._copy(wanted)
        with self._events.outcome("upstream"):
            return self._fetch(wanted.entry).encode()

    def _copy(self, wanted: Wanted) -> bytes:
        stored = self._stored(wanted)
        if stored is None:
            raise NotFound(
                f"{wanted.filename} is not stored here" + (f", and {OFFLINE}" if self._offline else "")
            )
        return stored

    def _stored(self, wanted: Wanted) -> bytes | None:
        if self._copies is None:
            return None
        try:
            return self._copies.provenance(wanted)
        except RequestEnded:
            raise
        except PyOCIError:
            return None
