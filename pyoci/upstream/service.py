"""Upstream: the pages of another package index, requested as seldom as its answers allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from pyoci.cache.backend import Backend
from pyoci.errors import Denied, NotFound, PyOCIError, RequestEnded, Unreachable
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.request_scope import concern
from pyoci.single_flight import SingleFlight
from pyoci.upstream.address import UpstreamAddress
from pyoci.upstream.circuit import Circuit, ConcurrencyLimit
from pyoci.upstream.client import NAME, UpstreamClient, UpstreamPage, freshness_lifetime
from pyoci.upstream.copies import OFFLINE, KeptFiles
from pyoci.upstream.page_cache import CachedAnswer, PageCache, header

TTL = 600.0  # seconds for which a page is fresh if upstream doesn't specify it
KEPT_SECONDS = 10 * 365 * 86400.0  # for which pages are kept for times when upstream can't be asked
ABSENT_TTL = 60.0  # seconds for which a project is known to be absent
FRESH_TTL = 5.0  # seconds for which a page is fresh to a caller who asks for a fresh one
RETRY_SECONDS = 10.0  # for which a stale page is served without asking again
WAITING = 32  # threads that may wait for upstream at once


class Upstream:
    """One for the process. Names are normalised project names; only such names are sent to upstream."""

    def __init__(
        self,
        address: UpstreamAddress,
        transport: Transport,
        backend: Backend,
        *,
        events: Events | None = None,
        kept: KeptFiles | None = None,
        offline: bool = False,
        waiting: int = WAITING,
        circuit: Circuit | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self._kept = kept or KeptFiles()
        self._is_offline = offline
        self._client = UpstreamClient(address, transport)
        self._cache = PageCache(backend, address.key)
        self._backend = backend
        self._transport = transport
        self._events = events or Events()
        self._circuit = circuit or Circuit(clock=clock)
        self._flights = SingleFlight()
        self._limit = ConcurrencyLimit(waiting)
        self._clock, self._now = clock, now

    def page(self, name: str, *, fresh: bool = False) -> UpstreamPage:
        """The page of a project. With `fresh`, it is at most some seconds old.

        While upstream can't be asked, the last page is served, and is `stale`, however old it is; or else a
        page with the files that are stored here, unless upstream's last answer was that it has no such
        project. Raises NotFound, Denied, ProtocolError and Unreachable, the last at once while the circuit is
        open. If it is offline, upstream is never asked.
        """
        if self._is_offline:
            return self._offline(name)
        known = self._cache.local(name)
        if known is None or not self._is_fresh(known, fresh=fresh):
            known = self._cache.shared(name, known)
        if known is None or not self._is_fresh(known, fresh=fresh):
            try:
                known = self._fetch_once(name, fresh=fresh)
            except Unreachable as failure:
                if known is None:
                    return self._stored(name, failure)
                if known.page is None:  # upstream may have removed it because it is malware
                    raise
                known = self._stale(name, known)
        if known.page is None:
            raise NotFound(f"{NAME} has no project {name}")
        now = self._now()
        stale = max(now - known.checked, 0.0) if known.stale else None
        return replace(known.page, until=self._clock() + known.until - now, stale=stale)

    def _is_fresh(self, known: CachedAnswer, *, fresh: bool) -> bool:
        now = self._now()
        return known.is_fresh(now) and (not fresh or known.checked > now - FRESH_TTL)

    def _offline(self, name: str) -> UpstreamPage:
        """The page with the files that are kept here, by what is remembered of upstream's page."""
        known = self._cache.shared(name, self._cache.local(name))
        page = self._kept.page(name, known.page if known is not None else None)
        if page is None:
            raise NotFound(f"no file of {name} is stored here, and {OFFLINE}")
        return replace(page, until=self._clock() + RETRY_SECONDS, stored=True)

    def _stored(self, name: str, failure: Unreachable) -> UpstreamPage:
        """The page with the files that are stored. Raises `failure` if there are none."""
        try:
            page = self._kept.page(name, None)
        except RequestEnded:
            raise
        except PyOCIError:
            page = None
        if page is None:
            raise failure
        return replace(page, until=self._clock() + RETRY_SECONDS, stored=True)

    def _stale(self, name: str, known: CachedAnswer) -> CachedAnswer:
        """The known answer, valid for some more seconds."""
        known = replace(known, until=self._now() + RETRY_SECONDS, stale=True)
        self._cache.put_local(name, known)
        return known

    def _fetch_once(self, name: str, *, fresh: bool) -> CachedAnswer:
        """Make one request for all callers in this process that concurrently ask for a project."""
        self._circuit.check()
        with self._limit.slot():
            seconds = self._transport.document_seconds
            concern(self._client.host(name))
            return self._flights.run(name, "", lambda: self._fetch_alone(name, fresh=fresh), seconds)

    def _fetch_alone(self, name: str, *, fresh: bool) -> CachedAnswer:
        """Make the request in one process at a time; others use its answer from the cache. Takes at most ten
        seconds.
        """
        key, seconds = self._cache.key_of(name), self._transport.document_seconds
        with self._transport.shared_deadline(), self._backend.lock(key, seconds) as alone:
            if not alone:
                raise Unreachable(
                    f"{NAME} did not answer an earlier request for this page in time; try again later"
                )
            known = self._cache.shared(name, self._cache.local(name))
            if known is not None and self._is_fresh(known, fresh=fresh):
                return known
            try:
                with self._circuit.call():
                    return self._fetch(name, known)
            except Unreachable as exc:
                self._events.warning("upstream", f"{NAME} can't be asked", reason=exc.message)
                raise

    def _fetch(self, name: str, known: CachedAnswer | None) -> CachedAnswer:
        """Ask upstream, and remember the answer."""
        now = self._now()
        try:
            with self._events.outcome("upstream"):
                answer = self._client.fetch(name, known.conditions if known is not None else {})
        except NotFound:
            return self._remember_absence(name, CachedAnswer(None, now, now + ABSENT_TTL))
        except Denied:
            # What is refused now must not be served later, as a stale page or as a copy.
            self._remember_absence(name, CachedAnswer(None, now, now))
            raise
        until = now + freshness_lifetime(answer.headers, TTL)
        if answer.page is None:
            assert known is not None  # without a known page there are no conditions, and no 304
            current = replace(known, checked=now, until=until, stale=False)
        else:
            etag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
            current = CachedAnswer(answer.page, now, until, header(etag), header(modified))
        status = current.page.status if current.page is not None else None
        if status is not None and status.is_quarantined and self._kept.copies is not None:
            # Also after a 304: the store may have refused before, or have had no copies.
            self._kept.copies.quarantine(name, status.reason or "")
        self._cache.put(name, current, KEPT_SECONDS)
        return current

    def _remember_absence(self, name: str, absent: CachedAnswer) -> CachedAnswer:
        """Remember that upstream has no such project, or refuses it. A name that wasn't known before is
        remembered in this process alone: a million of them would evict everything else from a shared cache.
        """
        if self._backend.get(self._cache.key_of(name)) is not None or self._has_copies(name):
            self._cache.put(name, absent, KEPT_SECONDS)
        else:
            self._cache.put_local(name, absent)
        return absent

    def _has_copies(self, name: str) -> bool:
        try:
            return self._kept.page(name, None) is not None
        except RequestEnded:
            raise
        except PyOCIError:
            return False
