"""Bulkheads: how many of the server's threads may wait for one registry. Requests whose clients have left are
ended here, too.

A registry is known by the network of the addresses that were connected to (/24 of IPv4, /64 of IPv6), and not
by its name: any number of names may lead to one server. Through a proxy, which resolves names itself, it is
known by its name. Names that are being resolved for the first time count as one registry.

The server's loop calls `tick` once a second, and more often while threads are scarce. A request
counts once it has had its thread for a second, so a registry that answers in time is never limited. While
such requests to a registry hold its part of the threads, its other requests count at once. Otherwise each of
them would hold one of the remaining threads for a second, and a request behind many of them would wait for
too long.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from pyoci import request_scope
from pyoci.errors import BulkheadFull, ClientLeft, RequestEnded
from pyoci.net.watch import Watch
from pyoci.request_scope import Host, RequestScope, ServerThread

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

COUNTED_SECONDS = 1.0  # for which a request has a thread before it counts
LIMITED_SECONDS = 10.0  # for which a registry keeps to its share after it had more
FINISH_SECONDS = 30.0  # for which an index update waits until others at the same registry are done
_PAUSE = 0.2  # seconds between two tries
_NAMES = 4096  # whose networks are remembered
_UNRESOLVED = "names that are being resolved"
CLIENT_LEFT, FULL = "client left", "bulkhead full"


def network_of(address: str) -> str:
    """The network that an address belongs to."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed if isinstance(parsed, IPv4Address) else parsed.ipv4_mapped
    if mapped is not None:
        return str(ip_network((mapped, 24), strict=False))
    return str(ip_network((parsed, 64), strict=False))


class Bulkheads:
    """One for the process. Of `threads`, unlisted hosts of one network may have half, and all its hosts
    together three quarters, while a request for somebody else waits for a thread. So may all registries
    together: then the one that has the most gives some up.

    What ends a request is recorded at its ServerThread. Requests of servers that don't give one aren't ended.
    """

    def __init__(
        self,
        threads: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = request_scope.sleep,
    ) -> None:
        self._half, self._most = max(threads // 2, 1), max(threads * 3 // 4, 1)
        self._clock, self._sleep = clock, sleep
        self._guard = threading.RLock()
        self._networks: LRUCache[str, str] = LRUCache(_NAMES)
        self._full: Mapping[str, frozenset[bool]] = {}  # whether hosts that are refused are listed
        self._limited: dict[str, float] = {}  # until when
        self._shares: dict[str, int] = {}  # of registries that gave some up, for as long as they are limited
        self._finishing: set[RequestScope] = set()

    def scoped(self, application: WSGIApplication) -> WSGIApplication:
        """The application, whose requests can be ended where the server gives a `server.thread`."""

        def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            thread: Any = environ.get("server.thread")
            if thread is not None:
                thread.scope = RequestScope(thread, environ.get("REQUEST_METHOD", ""))
                request_scope.enter(thread.scope)
            return application(environ, start_response)

        return call

    # What the server's loop calls.

    def tick(self, threads: Iterable[ServerThread], waiting: Collection[str]) -> None:
        """End the requests of clients that have left; and where requests that hold a thread for one registry
        are more than its share, the longest of them. `waiting` has the host of each request that waits for a
        thread, "" for one that needs no registry.
        """
        running = []
        for thread in threads:
            scope = thread.scope
            if not isinstance(scope, RequestScope) or scope.is_ended:
                continue
            if not (thread.client_has_left and _end(scope, ClientLeft("the client has left"), CLIENT_LEFT)):
                running.append(scope)
        holders = self._holders(running)
        now = self._clock()
        awaited = {self._registry_of(Host(name, name, is_listed=True)) for name in waiting}
        self._limited = {registry: until for registry, until in self._limited.items() if until > now}
        self._shares = {each: share for each, share in self._shares.items() if each in self._limited}
        self._leave_spare({each: held for each, held in holders.items() if awaited - {each}})
        full = {}
        for registry, scopes in holders.items():
            if awaited - {registry} or registry in self._limited:
                full[registry] = self._leave_share(registry, scopes)
        self._full = full

    def _holders(self, scopes: Iterable[RequestScope]) -> dict[str, list[RequestScope]]:
        """The requests that hold a thread for each registry, and count."""
        old, new = defaultdict[str, list[RequestScope]](list), defaultdict[str, list[RequestScope]](list)
        for scope in scopes:
            if scope.thread.since is None:
                continue
            for registry in {self._registry_of(host) for host in scope.hosts()}:
                (old if self._counts(scope) else new)[registry].append(scope)
        part = max(self._most // max(len(old), 1), 2)
        return {
            registry: [*held, *new.get(registry, ())] if len(held) >= part else held
            for registry, held in old.items()
        }

    def _leave_spare(self, holders: Mapping[str, list[RequestScope]]) -> None:
        """Have the registries with the most threads give some up, until all together leave a quarter. One
        that has a single thread keeps it.
        """
        held = {scope for scopes in holders.values() for scope in scopes}
        for _ in range(len(held) - self._most):
            most = max(holders, key=lambda registry: len(_going_on(holders[registry])))
            going_on = _going_on(holders[most])
            if len(going_on) < 2 or not self._end_some(going_on, 1, most):
                return
            self._limited[most] = self._clock() + LIMITED_SECONDS
            self._shares[most] = len(going_on) - 1

    def _leave_share(self, registry: str, scopes: list[RequestScope]) -> frozenset[bool]:
        """End what is more than a registry's share. Whose further requests are refused: of unlisted hosts
        (False), and of listed ones (True).
        """
        scopes = _going_on(scopes)
        unlisted = [scope for scope in scopes if self._is_unlisted(scope, registry)]
        most = min(self._most, self._shares.get(registry, self._most))
        ended = self._end_some(unlisted, len(unlisted) - self._half, registry)
        ended += self._end_some(scopes, len(scopes) - ended - most, registry)
        if ended:
            self._limited[registry] = self._clock() + LIMITED_SECONDS
        if len(scopes) - ended >= most:
            return frozenset({False, True})
        return frozenset({False}) if len(unlisted) >= self._half else frozenset()

    def _end_some(self, scopes: list[RequestScope], count: int, registry: str) -> int:
        """End at most `count` of these requests, and return how many: reads before writes, and those that
        have had their threads for longest.
        """
        ended = 0
        for scope in sorted(scopes, key=lambda scope: (not scope.is_read, scope.thread.since or 0.0)):
            labels = [host.label for host in scope.hosts() if self._registry_of(host) == registry]
            if ended < count and labels and _end(scope, _full(labels[0]), FULL):
                ended += 1
        return ended

    # What requests call.

    def watch(self, host: Host | None) -> Watch:
        """The watch of a new call to a host. Raises BulkheadFull, and so does connecting under the watch."""
        if host is None:
            return Watch()
        self._admit(host)
        return Watch(partial(self._connect, host))

    def counted(self, host: Host | None, cut: Callable[[], None]) -> AbstractContextManager[None]:
        """Count the block's call for its registry, and `cut` it when its request is ended. Raises
        RequestEnded if it was before.
        """
        scope = request_scope.current()
        return nullcontext() if scope is None or host is None else scope.calling(host, cut)

    def _connect(self, host: Host, address: str) -> None:
        with self._guard:
            self._networks[host.name] = network_of(address)
        self._admit(host)

    def _admit(self, host: Host) -> None:
        """Raises BulkheadFull where requests to the host's registry hold all threads that they may. Requests
        that hold one go on.
        """
        scope = request_scope.current()
        if scope is None or host.is_listed not in self._full.get(self._registry_of(host), ()):
            return
        if not self._counts(scope) and _end(scope, _full(host.label), FULL):
            scope.check()

    def finish(self, host: Host | None) -> None:
        """Nothing ends this thread's request from now on. As many as may hold a thread for one registry may
        do that; others wait for them. Raises BulkheadFull where they take too long, and RequestEnded.
        """
        scope = request_scope.current()
        if scope is None or scope.is_finishing:
            return
        if host is None:
            scope.finish()
            return
        ends_at = self._clock() + FINISH_SECONDS
        while not self._may_finish(scope, host):
            if self._clock() >= ends_at:
                _end(scope, _full(host.label), FULL)
            self._sleep(_PAUSE)

    def _may_finish(self, scope: RequestScope, host: Host) -> bool:
        """Whether this request is one of those that may finish now; it is then never ended."""
        registry = self._registry_of(host)
        with self._guard:
            self._finishing = {each for each in self._finishing if each.thread.since is not None}
            beside = sum(registry in map(self._registry_of, each.hosts()) for each in self._finishing)
            if beside >= (self._most if host.is_listed else self._half):
                return False
            scope.finish()
            self._finishing.add(scope)
            return True

    # What is known of them.

    def _counts(self, scope: RequestScope) -> bool:
        since = scope.thread.since
        return since is not None and self._clock() - since >= COUNTED_SECONDS

    def _is_unlisted(self, scope: RequestScope, registry: str) -> bool:
        return any(not host.is_listed and self._registry_of(host) == registry for host in scope.hosts())

    def _registry_of(self, host: Host) -> str:
        with self._guard:
            known: str | None = self._networks.get(host.name)
        return known or (host.name if host.is_listed else _UNRESOLVED)


def _going_on(scopes: Iterable[RequestScope]) -> list[RequestScope]:
    return [scope for scope in scopes if not scope.is_ended]


def _end(scope: RequestScope, failure: RequestEnded, reason: str) -> bool:
    if not scope.end(failure):
        return False
    scope.thread.ended_for = reason
    return True


def _full(label: str) -> BulkheadFull:
    return BulkheadFull(
        f"{label} is slow, and requests to it hold as many threads as they may; try again later"
    )
