"""Upstream: the pages of another package index, asked for as seldom as its answers allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from pyoci.cache.backend import Backend
from pyoci.errors import Denied, NotFound, Unreachable
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.single_flight import SingleFlight
from pyoci.upstream.address import UpstreamAddress
from pyoci.upstream.ages import lifetime
from pyoci.upstream.circuit import Circuit, shut_off
from pyoci.upstream.memory import Known, Memory, header
from pyoci.upstream.models import UpstreamPage
from pyoci.upstream.places import Places
from pyoci.upstream.road import NAME, Road

TTL = 600.0  # seconds for which a page counts where upstream doesn't say
STALE = 86400.0  # seconds for which a page may be given that upstream can't be asked about
ABSENT = 60.0  # seconds for which it counts that upstream has no such project
INSISTING = 5.0  # seconds for which a page counts for who wants it fresh
RETRY = 10.0  # seconds for which a stale page is given without asking again
WAITING = 32  # threads that may wait for upstream at one time


class Upstream:
    """One for the process. Names are normalised project names; nobody else's name is ever sent."""

    def __init__(
        self,
        address: UpstreamAddress,
        transport: Transport,
        backend: Backend,
        *,
        events: Events | None = None,
        ttl: float = TTL,
        stale: float = STALE,
        waiting: int = WAITING,
        circuit: Circuit | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self._road = Road(address, transport)
        self._memory = Memory(backend, address.key)
        self._backend = backend
        self._transport = transport
        self._events = events or Events()
        self._ttl, self._stale = ttl, stale
        self._circuit = circuit or Circuit(clock=clock)
        self._flights = SingleFlight()
        self._places = Places(waiting)
        self._clock, self._now = clock, now

    def page(self, name: str, *, fresh: bool = False) -> UpstreamPage:
        """The page of a project; `fresh`: as upstream has it now, give or take some seconds.

        A page that can't be asked about is given for a day, and is `stale` then. Raises NotFound, Denied,
        ProtocolError, and Unreachable, at once while upstream is known to be down.
        """
        held = self._memory.held(name)
        if held is not None and self._counts(held, fresh=fresh):
            return self._given(held, name)
        held = self._memory.shared(name, held)
        if held is not None and self._counts(held, fresh=fresh):
            return self._given(held, name)
        try:
            known = self._shared(name, fresh=fresh)
        except Unreachable as failure:
            known = self._outlived(name, held, failure)
        return self._given(known, name)

    def _counts(self, known: Known, *, fresh: bool) -> bool:
        now = self._now()
        return known.is_fresh(now) and (not fresh or known.checked > now - INSISTING)

    def _given(self, known: Known, name: str) -> UpstreamPage:
        if known.page is None:
            raise NotFound(f"{NAME} has no project {name}")
        return replace(known.page, until=self._clock() + known.until - self._now(), stale=known.stale)

    def _outlived(self, name: str, known: Known | None, failure: Unreachable) -> Known:
        """What was known until now, for some seconds more, if upstream said so within a day."""
        now = self._now()
        if known is None or known.page is None or not now < known.checked + self._stale:
            raise failure
        known = replace(known, until=min(now + RETRY, known.checked + self._stale), stale=True)
        self._memory.hold(name, known)
        return known

    def _shared(self, name: str, *, fresh: bool) -> Known:
        """What upstream says, to all who ask for it at this moment."""
        if self._circuit.is_open:
            raise shut_off()
        with self._places.one():
            seconds = self._transport.document_seconds
            return self._flights.run(name, "", lambda: self._asked(name, fresh=fresh), seconds)

    def _asked(self, name: str, *, fresh: bool) -> Known:
        """What upstream says, or what a neighbour has been told just now. Within ten seconds, in all."""
        key, seconds = self._memory.key_of(name), self._transport.document_seconds
        with self._transport.shared_deadline(), self._backend.lock(key, seconds) as alone:
            if not alone:
                raise Unreachable(f"{NAME} has not answered others in time; try again later")
            known = self._memory.shared(name, self._memory.held(name))
            if known is not None and self._counts(known, fresh=fresh):
                return known
            try:
                with self._circuit.passage():
                    return self._told(name, known)
            except Unreachable as exc:
                self._events.warning("upstream", f"{NAME} can't be asked", reason=exc.message)
                raise

    def _told(self, name: str, known: Known | None) -> Known:
        """Ask, and remember the answer."""
        now = self._now()
        try:
            with self._events.outcome("upstream"):
                told = self._road.ask(name, known.conditions if known is not None else {})
        except NotFound:
            # Not for all: who asks for a million names would drive everything else out of a shared cache.
            self._memory.forget(name)
            absent = Known(None, now, now + ABSENT)
            self._memory.hold(name, absent)
            return absent
        except Denied:
            self._memory.forget(name)  # what is withheld now is not given later, when nobody can ask
            raise
        until = now + lifetime(told.headers, self._ttl)
        if told.page is None:
            assert known is not None  # without something known there are no conditions, nor a 304
            kept = replace(known, checked=now, until=until, stale=False)
        else:
            etag, modified = told.headers.get("etag"), told.headers.get("last-modified")
            kept = Known(told.page, now, until, header(etag), header(modified))
        self._memory.keep(name, kept, self._stale)
        return kept
