"""Transport: the HTTP client for registries and upstream. Every call of the process goes through a Transport.

Connections live as long as the process, and carry no state of a caller: cookies are not stored, netrc is not
read, redirects are not followed. Exceptions of the libraries become Unreachable, ProtocolError or Denied.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from pyoci import request_scope
from pyoci.admission import Admission
from pyoci.errors import PyOCIError, Unreachable
from pyoci.events import Events
from pyoci.net import adapters, reading, retries, translation
from pyoci.net.addresses import PUBLIC_PORT, Reach, Resolver
from pyoci.net.bulkheads import Bulkheads
from pyoci.net.connections import CONNECT_SECONDS, STALL_SECONDS
from pyoci.net.messages import ERROR_LIMIT, Answer, Body, BodyFailed, Call, PacedBody, Stream
from pyoci.net.watch import Watch, Watchdog, current_watch

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

DOCUMENT_SECONDS = 9.5  # for a document, including retries; the documentation promises ten
UPLOAD_ANSWER_SECONDS = 300.0  # from the last byte of a blob to the registry's answer
# Bytes: the limit that the OCI distribution specification asks registries to accept.
DOCUMENT_LIMIT = 4 * 1024 * 1024
_ERROR_SECONDS = 2.0  # for the text of a refusal


class Transport:
    """Sends calls. One for the process, used by all its threads."""

    def __init__(
        self,
        *,
        embedded: WSGIApplication | None = None,
        proxies: adapters.Proxies | None = None,
        ca_bundle: str | None = None,
        host_connections: int = 16,
        public_port: int = PUBLIC_PORT,
        user_agent: str = "pyoci",
        resolver: Resolver | None = None,
        events: Events | None = None,
        document_seconds: float = DOCUMENT_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        answer_seconds: float = UPLOAD_ANSWER_SECONDS,
        bulkheads: Bulkheads | None = None,
        sleep: Callable[[float], None] = request_scope.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.resolver = resolver or Resolver()
        self.document_seconds = document_seconds
        self.bulkheads = bulkheads or Bulkheads(threads=1)
        self._user_agent = user_agent
        self._events = events or Events()
        self._stall_seconds = stall_seconds
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._retries = retries.Retries(sleep, clock, jitter)
        self._watchdog = Watchdog()
        self._adapters = adapters.Adapters(
            self.resolver,
            embedded=embedded,
            proxies=proxies or adapters.Proxies(),
            ca_bundle=ca_bundle,
            connections=4 * host_connections,
            public_port=public_port,
        )
        self.prepare = self._adapters.read_certificates
        self._limits = _HostLimits(host_connections)

    def close(self) -> None:
        """Close connections; later calls open new ones."""
        self._adapters.close()
        self.resolver.close()

    def document(
        self, call: Call, limit: int = DOCUMENT_LIMIT, grow: Callable[[], int] | None = None
    ) -> Answer:
        """Send `call` and read its answer completely, at most `limit` bytes of it. For a body that announces
        more, `grow` may return another limit, or wait before it is read. A call with its own Accept-Encoding
        gets the body as it was encoded, for `decoded`.

        It takes at most `document_seconds`, including retries after a lost connection, a busy registry or a
        429. A call that isn't `repeatable` is sent once. Of a refusal's body only the beginning is read, for
        the error message. Raises Unreachable, ProtocolError, Denied.
        """
        with _one_message(self._events, call):
            return self._retries.run(
                call, lambda left: self._read(call, limit, grow, left), self.document_seconds
            )

    def stream(self, call: Call) -> Stream:
        """Send `call` and return an answer whose body is still to be read.

        The head, and each piece of the body, must arrive within a minute. Retries begin within
        `document_seconds`. Raises Unreachable, ProtocolError, Denied; so does reading.
        """
        with _one_message(self._events, call):
            return self._retries.run(call, lambda _left: self._open(call), self.document_seconds)

    def upload(self, call: Call) -> Answer:
        """Send a call with a large body. The body may take any time while bytes are moving; the answer then
        has 300 seconds.

        There is one attempt, since only the caller can restart an interrupted upload. An exception of the
        body ends the call and its connection at once, and is raised unchanged. The time that the body takes
        for a piece doesn't count against the registry.
        """
        try:
            with _one_message(self._events, call):
                return self._upload(call)
        except BodyFailed as failed:
            failure = failed.cause
        raise failure

    def shared_deadline(self, until: float = math.inf) -> AbstractContextManager[None]:
        """Limit all calls of this thread in the block to the time of one call, and to `until`, a time of
        `deadline_in`. One operation may need a challenge, a token and the call itself.
        """
        return self._retries.shared_deadline(self.document_seconds, until)

    def deadline_in(self, seconds: float) -> float:
        """The time in so many seconds, for `shared_deadline`."""
        return self._clock() + seconds

    def wait(self, attempt: int) -> None:
        """Wait before an operation is repeated: longer after each attempt, with jitter."""
        self._retries.wait(attempt)

    def _read(self, call: Call, limit: int, grow: Callable[[], int] | None, seconds: float) -> Answer:
        host, deadline = urlsplit(call.url).netloc, self._clock() + seconds
        with self._limits.entered(host, call.label, seconds), _recorded(self._events, call) as facts:
            seconds = max(deadline - self._clock(), 0.1)
            with self._watched(call, seconds) as watch:
                response = self._send(call, (min(CONNECT_SECONDS, seconds), seconds), call.body)
                facts["status"] = response.status
                if response.status < 300:
                    return reading.whole_answer(call, response, limit, grow)
            return self._refused(call, response, watch)

    def _open(self, call: Call) -> Stream:
        with _recorded(self._events, call) as facts, self._watched(call, self._stall_seconds) as watch:
            response = self._send(call, (CONNECT_SECONDS, self._stall_seconds), call.body)
            facts["status"] = response.status
        return Stream(
            response.status,
            response.headers,
            lambda size: self._pieces(call, response, watch, size),
            lambda size: self._head(call, response, watch, size),
            response.close,
        )

    def _upload(self, call: Call) -> Answer:
        with _recorded(self._events, call) as facts:
            with self._watched(call, self._stall_seconds) as watch:
                response = self._send(call, (CONNECT_SECONDS, self._answer_seconds), self._paced(call, watch))
                facts["status"] = response.status
                if response.status < 300:
                    return reading.whole_answer(call, response, DOCUMENT_LIMIT)
            return self._refused(call, response, watch)

    def _paced(self, call: Call, watch: Watch) -> bytes | PacedBody:
        if isinstance(call.body, bytes):
            watch.allow(self._answer_seconds)
            return call.body
        return PacedBody(
            call.body,
            lambda: self._watchdog.suspended(watch, self._stall_seconds),
            lambda: watch.allow(self._answer_seconds),
        )

    def _send(self, call: Call, timeout: tuple[float, float], body: bytes | Body) -> reading.Received:
        headers = {
            "User-Agent": self._user_agent,
            "Accept-Encoding": "identity",
            **self._events.headers(),
            **call.headers,
        }
        response = self._adapters.send(call, headers, body if len(body) else b"", timeout)
        watch = current_watch()
        if watch is not None:
            watch.on_failure = response.close
        return response

    def _refused(self, call: Call, response: reading.Received, watch: Watch) -> Answer:
        """An unsuccessful answer with the beginning of its body, or without a body if that doesn't arrive."""
        try:
            body = self._head(call, response, watch, ERROR_LIMIT)
        except PyOCIError:
            body = b""
        finally:
            response.close()
        return Answer(response.status, response.headers, body)

    def _pieces(self, call: Call, response: reading.Received, watch: Watch, size: int) -> Generator[bytes]:
        pace, reader = reading.Pace(self._stall_seconds), reading.PieceSize(size)
        try:
            while True:
                with self._watched(call, self._stall_seconds, watch):
                    piece = pace.measured(lambda: reading.gathered(response, reader.size))
                if not piece:
                    return
                if pace.is_too_slow:
                    raise Unreachable(f"{call.label} sent almost nothing for {self._stall_seconds:g} seconds")
                with reader.reading():
                    yield piece
        finally:
            response.close()

    def _head(self, call: Call, response: reading.Received, watch: Watch, size: int) -> bytes:
        if response.status == 416:
            # docker-registry 2.8 announces a body that never comes.
            return b""
        with self._watched(call, min(_ERROR_SECONDS, self.document_seconds), watch):
            return bytes(response.raw.read(size, decode_content=False))

    def _watched(
        self, call: Call, seconds: float, watch: Watch | None = None
    ) -> AbstractContextManager[Watch]:
        """Cut the connection of the block's call after `seconds`, or when its request is ended; and translate
        the libraries' exceptions.
        """
        host = call.asked_host
        watch = watch or self.bulkheads.watch(host)
        counted = self.bulkheads.counted(host, partial(self._watchdog.cut, watch))
        return _translated(call, watch, counted, self._watchdog.watched(seconds, watch))


@contextmanager
def _translated(
    call: Call, watch: Watch, counted: AbstractContextManager[None], watched: AbstractContextManager[Watch]
) -> Iterator[Watch]:
    """Enter both contexts. Raises RequestEnded, Unreachable or ProtocolError for what the libraries raise in
    the block, and for a call that was cut.
    """
    try:
        with counted, watched:
            yield watch
        # A body without a length looks complete when its connection is shut down.
        _raise_if_cut(call, watch)
    except BaseException as exc:
        watch.on_failure()
        if not isinstance(exc, translation.FOREIGN):
            raise
        request_scope.check()
        _raise_if_cut(call, watch)
        raise translation.translate(exc, call.label) from exc


def _raise_if_cut(call: Call, watch: Watch) -> None:
    """Raises RequestEnded or Unreachable if the call was cut."""
    if watch.has_fired:
        request_scope.check()
        raise Unreachable(f"{call.label} did not answer in time")


@contextmanager
def _one_message(events: Events, call: Call) -> Iterator[None]:
    """Raise the same message for every reason why a host that a caller named can't be reached. Different
    messages would reveal to outsiders which names and ports exist in the operator's network.
    """
    try:
        yield
    except Unreachable as exc:
        if call.reach is not Reach.PUBLIC:
            raise
        # The registry chooses the name of another host, which may contain the caller's credentials.
        host = call.host if call.host == call.label else "another host that it names"
        reason = exc.message.replace(urlsplit(call.url).hostname or call.host, host)
        events.warning("net", "host not reached", registry=call.label, host=host, reason=reason)
        raise Unreachable(
            f"{call.label} could not be reached; unless PYOCI_REGISTRIES lists it,"
            " a registry needs a public address and a valid certificate"
        ) from exc


@contextmanager
def _recorded(events: Events, call: Call) -> Iterator[dict[str, object]]:
    """Report a call to the listeners, without its query, headers and bodies."""
    facts: dict[str, object] = {"method": call.method, "host": call.host}
    begun = time.monotonic()
    try:
        with events.calling(call.operation, call.origin, facts):
            yield facts
    except PyOCIError as exc:
        facts["failure"] = exc.message
        raise
    finally:
        seconds = round(time.monotonic() - begun, 4)
        events.debug("net", "call", **facts, seconds=seconds)


class _HostLimits:
    """A limit of concurrent calls for documents to each host, whose requests take turns."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        # An entry lives while a call uses it or waits for it.
        self._hosts: WeakValueDictionary[str, Admission] = WeakValueDictionary()

    @contextmanager
    def entered(self, host: str, name: str, seconds: float) -> Iterator[None]:
        """Wait until a call to `host` may begin. Raises Unreachable, with `name`, after `seconds`, and
        RequestEnded.
        """
        with self._lock:
            admission = self._hosts.get(host)
            if admission is None:
                admission = self._hosts[host] = Admission(self._limit)
        late = f"too many concurrent calls to {name}; none ended in time"
        with admission.turn(request_scope.current(), seconds, late):
            yield
