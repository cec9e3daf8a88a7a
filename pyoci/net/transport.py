"""Transport: the road to registries. Every call of the process goes through one of these.

It keeps connections for as long as the process lives and nothing of a caller: no cookie, no netrc, no
redirect followed. Foreign exceptions end here, as Unreachable, ProtocolError or Denied.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from pyoci.errors import Denied, PyOCIError, Unreachable
from pyoci.events import Events
from pyoci.net.addresses import PUBLIC_PORT, Reach, Resolver, other_port, permitted
from pyoci.net.connections import (
    CONNECT_SECONDS,
    STALL_SECONDS,
    WatchedHTTPPool,
    WatchedHTTPSPool,
    pinned_pools,
)
from pyoci.net.inprocess import InProcessAdapter
from pyoci.net.messages import ERROR_LIMIT, Answer, Body, BodyFailed, Call, PacedBody, Stream
from pyoci.net.proxies import Proxies
from pyoci.net.reading import Pace, PieceSize, gathered, headers_of, whole_answer
from pyoci.net.translation import FOREIGN, translate
from pyoci.net.waits import retry_after_seconds
from pyoci.net.watch import Watch, Watchdog

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["DOCUMENT_LIMIT", "DOCUMENT_SECONDS", "Proxies", "Transport"]

DOCUMENT_SECONDS = 9.5  # for a call that moves a document, retries included: callers are promised ten
UPLOAD_ANSWER_SECONDS = 300.0  # from the last byte of a blob to the registry's answer
DOCUMENT_LIMIT = 4 * 1024 * 1024  # bytes; what the OCI distribution specification asks registries to take
_ERROR_SECONDS = 2.0  # for the text of a refusal, which is worth no longer wait
_ATTEMPTS = 3
_HOSTS = 64  # pools kept for each reach
_BUSY = frozenset({500, 502, 503, 504})

_Answered = TypeVar("_Answered", Answer, Stream)


class _Adapter(HTTPAdapter):
    """requests' adapter over pools of our own, one for each reach."""

    def __init__(self, reach: Reach, resolver: Resolver, connections: int) -> None:
        self._pools = pinned_pools(resolver, reach)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, blocksize=128 * 1024, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": WatchedHTTPPool, "https": WatchedHTTPSPool}
        return manager


class Transport:
    """Sends calls. One for the process, used by all its threads."""

    def __init__(
        self,
        *,
        embedded: WSGIApplication | None = None,
        proxies: Proxies | None = None,
        ca_bundle: str | None = None,
        host_connections: int = 16,
        public_port: int = PUBLIC_PORT,
        user_agent: str = "pyoci",
        resolver: Resolver | None = None,
        events: Events | None = None,
        document_seconds: float = DOCUMENT_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        answer_seconds: float = UPLOAD_ANSWER_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._budgets = threading.local()
        self.resolver = resolver or Resolver()
        self.document_seconds = document_seconds
        self._proxies = proxies or Proxies()
        self._public_port = public_port
        self._verify: bool | str = ca_bundle or True
        self._user_agent = user_agent
        self._events = events or Events()
        self._stall_seconds = stall_seconds
        self._answer_seconds = answer_seconds
        self._sleep, self._clock, self._jitter = sleep, clock, jitter
        self._watchdog = Watchdog()
        self._adapters: dict[Reach, BaseAdapter] = {
            reach: _Adapter(reach, self.resolver, 4 * host_connections)
            for reach in Reach
            if reach is not Reach.EMBEDDED
        }
        if embedded is not None:
            self._adapters[Reach.EMBEDDED] = InProcessAdapter(embedded)
        self._gates = _Gates(host_connections)

    def close(self) -> None:
        """Close what is kept open; calls made later open it again."""
        for adapter in self._adapters.values():
            adapter.close()
        self.resolver.close()

    def document(self, call: Call, limit: int = DOCUMENT_LIMIT) -> Answer:
        """Send `call` and read its answer whole, at most `limit` bytes of it. A call that has an
        Accept-Encoding of its own gets the body as it was encoded: `decoded` is for that.

        The whole takes at most `document_seconds`, further attempts after a lost connection, a busy registry
        or a 429 included; a call that isn't `repeatable` gets one. Of a refusal's body as much is read as an
        error message needs. Raises Unreachable, ProtocolError, Denied.
        """
        with self._discreet(call):
            return self._patiently(call, lambda left: self._read(call, limit, left))

    def stream(self, call: Call) -> Stream:
        """Send `call` and leave the body of the answer to be read.

        The head has to come within a minute, and so has each further piece. A further attempt begins
        within `document_seconds` or not at all. Raises Unreachable, ProtocolError, Denied; so does reading.
        """
        with self._discreet(call):
            return self._patiently(call, lambda _left: self._open(call))

    def upload(self, call: Call) -> Answer:
        """Send a call with a large body. It may take as long as bytes move; the answer 300 seconds.

        One attempt: what was sent half has to begin anew, which only the caller can do. What the body raises
        ends the call and its connection at once, and is raised as it is. The time that the body takes to give
        a piece is its own: only what the registry takes is counted.
        """
        try:
            with self._discreet(call):
                return self._upload(call)
        except BodyFailed as failed:
            failure = failed.cause
        raise failure

    def _upload(self, call: Call) -> Answer:
        with self._told(call) as facts:
            with self._timed(call, self._stall_seconds) as watch:
                response = self._send(call, (CONNECT_SECONDS, self._answer_seconds), self._paced(call, watch))
                facts["status"] = response.status_code
                if response.status_code < 300:
                    return whole_answer(call, response, DOCUMENT_LIMIT)
            return self._refused(call, response, watch)

    @contextmanager
    def _discreet(self, call: Call) -> Iterator[None]:
        """Give one sentence for every reason for which a host that a caller named can't be reached. Different
        ones would tell an outsider which names and ports there are in the operator's network.
        """
        try:
            yield
        except Unreachable as exc:
            if call.reach is not Reach.PUBLIC:
                raise
            # The name of another host may be made of the credentials that the registry was sent.
            host = call.host if call.host == call.label else "another host that it names"
            reason = exc.message.replace(urlsplit(call.url).hostname or call.host, host)
            self._events.warning("net", "not reached", registry=call.label, host=host, reason=reason)
            raise Unreachable(
                f"{call.label} could not be reached; unless PYOCI_REGISTRIES lists it,"
                " a registry needs a public address and a valid certificate"
            ) from exc

    @contextmanager
    def shared_deadline(self) -> Iterator[None]:
        """Let all the calls that this thread makes in the block share the time of one: an operation may take
        a challenge, a token and the call itself.
        """
        outer = getattr(self._budgets, "deadline", None)
        if outer is None:
            self._budgets.deadline = self._clock() + self.document_seconds
        try:
            yield
        finally:
            if outer is None:
                del self._budgets.deadline

    def rest(self, attempt: int) -> None:
        """Wait for a moment, longer with each attempt, before something is begun anew."""
        self._sleep(self._pause(attempt))

    def _pause(self, attempt: int) -> float:
        return 0.2 * 2.0 ** (attempt - 1) * (0.5 + self._jitter())

    def _patiently(self, call: Call, send: Callable[[float], _Answered]) -> _Answered:
        """The answer of the first attempt that is one; of the last within the budget otherwise."""
        deadline = self._clock() + self.document_seconds
        deadline = min(deadline, getattr(self._budgets, "deadline", deadline))
        for attempt in range(1, _ATTEMPTS + 1):
            pause = self._pause(attempt)
            last = attempt == _ATTEMPTS or call.reach is Reach.EMBEDDED or not call.repeatable
            try:
                answer = send(max(deadline - self._clock(), 0.1))
            except Unreachable:
                if last or self._clock() + pause >= deadline:
                    raise
            else:
                wait = _asked_wait(answer, pause)
                if last or wait is None or self._clock() + wait >= deadline:
                    return answer
                if isinstance(answer, Stream):
                    answer.close()
                pause = wait
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _read(self, call: Call, limit: int, seconds: float) -> Answer:
        host, deadline = urlsplit(call.url).netloc, self._clock() + seconds
        with self._gates.passage(host, call.label, seconds), self._told(call) as facts:
            seconds = max(deadline - self._clock(), 0.1)
            with self._timed(call, seconds) as watch:
                response = self._send(call, (min(CONNECT_SECONDS, seconds), seconds), call.body)
                facts["status"] = response.status_code
                if response.status_code < 300:
                    return whole_answer(call, response, limit)
            return self._refused(call, response, watch)

    def _open(self, call: Call) -> Stream:
        with self._told(call) as facts, self._timed(call, self._stall_seconds) as watch:
            response = self._send(call, (CONNECT_SECONDS, self._stall_seconds), call.body)
            facts["status"] = response.status_code
        return Stream(
            response.status_code,
            headers_of(response),
            lambda size: self._pieces(call, response, watch, size),
            lambda size: self._head(call, response, watch, size),
            response.close,
        )

    def _paced(self, call: Call, watch: Watch) -> bytes | PacedBody:
        if isinstance(call.body, bytes):
            watch.allow(self._answer_seconds)
            return call.body
        return PacedBody(
            call.body,
            lambda: self._watchdog.suspended(watch, self._stall_seconds),
            lambda: watch.allow(self._answer_seconds),
        )

    def _send(self, call: Call, timeout: tuple[float, float], body: bytes | Body) -> requests.Response:
        adapter = self._adapter(call)
        proxies = {} if call.reach is Reach.EMBEDDED else self._proxies.for_url(call.url)
        if proxies and (call.reach is Reach.PUBLIC or not self._may_be_asked_by_number(call)):
            # The proxy resolves the name, so nobody can say where the call would end.
            refused = Unreachable if call.reach is Reach.PUBLIC else Denied
            raise refused(f"{call.label} may not be asked through a proxy unless PYOCI_REGISTRIES lists it")
        headers = {
            "User-Agent": self._user_agent,
            "Accept-Encoding": "identity",
            **self._events.headers(),
            **call.headers,
        }
        data = body if len(body) else b""
        request = requests.PreparedRequest()
        request.prepare(call.method, call.url, headers=headers, data=data)
        if call.url.isascii() and call.url.isprintable() and " " not in call.url:
            # requests writes a query anew, and a signature may stand in it.
            request.url = call.url
        return adapter.send(request, stream=True, timeout=timeout, verify=self._verify, proxies=proxies)

    def _may_be_asked_by_number(self, call: Call) -> bool:
        """Whether the URL names no address, or one within the call's reach: a proxy would connect to any."""
        host = urlsplit(call.url).hostname or ""
        try:
            return permitted(ip_address(host.partition("%")[0]), call.reach)
        except ValueError:
            return True

    def _adapter(self, call: Call) -> BaseAdapter:
        """The road for `call`, or Denied: `embedded:` is for our own registry alone, http for listed ones."""
        scheme = urlsplit(call.url).scheme
        plain = {Reach.VOUCHED, Reach.PRIVATE, Reach.LISTED}
        allowed = {"embedded": {Reach.EMBEDDED}, "http": plain, "https": set(Reach) - {Reach.EMBEDDED}}
        adapter = self._adapters.get(call.reach)
        if adapter is None or call.reach not in allowed.get(scheme, ()):
            raise Denied(f"{call.label} may not be asked by {scheme}; PYOCI_REGISTRIES lists what may")
        if call.reach is Reach.PUBLIC and urlsplit(call.url).port not in {None, self._public_port}:
            raise Denied(other_port(call.label))
        return adapter

    def _refused(self, call: Call, response: requests.Response, watch: Watch) -> Answer:
        """An answer that is no success, with the beginning of its body; without where that doesn't come."""
        try:
            body = self._head(call, response, watch, ERROR_LIMIT)
        except PyOCIError:
            body = b""
        finally:
            response.close()
        return Answer(response.status_code, headers_of(response), body)

    def _pieces(self, call: Call, response: requests.Response, watch: Watch, size: int) -> Iterator[bytes]:
        pace, reader = Pace(self._stall_seconds), PieceSize(size)
        try:
            while True:
                with self._timed(call, self._stall_seconds, watch):
                    piece = pace.kept(lambda: gathered(response, reader.size))
                if not piece:
                    return
                if pace.too_slow:
                    raise Unreachable(
                        f"{call.label} sent next to nothing for {self._stall_seconds:g} seconds"
                    )
                with reader.reading():
                    yield piece
        finally:
            response.close()

    def _head(self, call: Call, response: requests.Response, watch: Watch, size: int) -> bytes:
        if response.status_code == 416:
            # docker-registry 2.8 promises a body that never comes.
            return b""
        with self._timed(call, min(_ERROR_SECONDS, self.document_seconds), watch):
            return bytes(response.raw.read(size, decode_content=False))

    @contextmanager
    def _timed(self, call: Call, seconds: float, watch: Watch | None = None) -> Iterator[Watch]:
        """Cut the block's call after `seconds`, and translate what it raises."""
        late = Unreachable(f"{call.label} did not answer in time")
        with self._watchdog.watched(seconds, watch) as watch:
            try:
                yield watch
            except FOREIGN as exc:
                raise (late if watch.fired else translate(exc, call.label)) from exc
        if watch.fired:
            # What was read without a length ends like a whole answer when it is cut.
            raise late

    @contextmanager
    def _told(self, call: Call) -> Iterator[dict[str, object]]:
        """Tell who listens of a call: nothing of its query, its headers or its bodies."""
        facts: dict[str, object] = {"method": call.method, "host": call.host}
        begun = time.monotonic()
        try:
            with self._events.calling(call.operation, call.origin, facts):
                yield facts
        except PyOCIError as exc:
            facts["failure"] = exc.message
            raise
        finally:
            seconds = round(time.monotonic() - begun, 4)
            self._events.debug("net", "call", **facts, seconds=seconds)


def _asked_wait(answer: Answer | Stream, pause: float) -> float | None:
    """Seconds to wait before another attempt; None where there is no use in one."""
    if answer.status not in _BUSY and answer.status != 429:
        return None
    asked = retry_after_seconds(answer.headers.get("retry-after"))
    return pause if asked is None else max(float(asked), pause)


class _Gates:
    """At most so many document calls to one host at a time; a gate lives as long as somebody is at it."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._gates: WeakValueDictionary[str, threading.BoundedSemaphore] = WeakValueDictionary()

    @contextmanager
    def passage(self, host: str, name: str, seconds: float) -> Iterator[None]:
        """Wait at the gate of `host`, at most `seconds`; raises Unreachable after that, which says `name`."""
        with self._lock:
            gate = self._gates.get(host)
            if gate is None:
                gate = self._gates[host] = threading.BoundedSemaphore(self._width)
        if not gate.acquire(timeout=seconds):
            raise Unreachable(f"too many calls to {name} at once; none ended in time")
        try:
            yield
        finally:
            gate.release()
