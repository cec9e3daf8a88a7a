"""OSV: asks a service with the API of OSV about vulnerabilities, and remembers its answers.

Whoever calls it has checked before which names may be sent. Requests are written from the fields of `Query`
alone.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pyoci.cache.backend import Backend
from pyoci.errors import InvalidRequest, NotFound, ProtocolError, Unreachable
from pyoci.events import Events
from pyoci.net.addresses import Reach
from pyoci.net.messages import Answer, Call
from pyoci.net.reading import decoded
from pyoci.net.transport import Transport
from pyoci.request_scope import concern
from pyoci.single_flight import SingleFlight
from pyoci.upstream.circuit import Circuit, ConcurrencyLimit, unavailable
from pyoci.upstream.remembered import Remembered

NAME = "the vulnerability service"
QUERIES = 1000  # in one batch, as OSV allows
TOKEN_LIMIT = 2000  # characters of a page token
FRESH_TTL = 600.0  # seconds for which an answer is given without asking again
STALE_TTL = 7 * 86400.0  # seconds for which an answer is given while the service can't be asked
WAITING = 32  # threads that may wait for the service at once
_LIMIT = 16 * 1024 * 1024  # bytes of an answer, unpacked
_KEPT = 1024 * 1024  # bytes of one answer in the cache, packed; a larger one isn't remembered
# GHSA-jfh8-c2jp-5v3q, PYSEC-2021-66, ALSA-2020:1234, openSUSE-SU-2015:0225-1. No project's normalised name
# has this form.
_IDENTIFIER = re.compile(r"(?:[A-Z][A-Za-z0-9]*|openSUSE)(?:-[A-Za-z0-9:._]+)+", re.ASCII)
_IDENTIFIER_LIMIT = 100  # characters
_MODIFIED = re.compile(r"[0-9TZ:.+-]{10,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Query:
    """A question about a project of PyPI, by its normalised name: about one version, or "" for all."""

    name: str
    version: str = ""
    page_token: str = ""

    def document(self) -> dict[str, Any]:
        """The query in OSV's JSON."""
        package = {"name": self.name, "ecosystem": "PyPI"}
        more = {"version": self.version, "page_token": self.page_token}
        return {"package": package, **{key: value for key, value in more.items() if value}}


@dataclass(frozen=True, slots=True)
class Replies:
    """A JSON object for each question, in their order. `age`: for how many seconds the oldest of them was not
    checked because the service can't be asked; None if it could be.
    """

    bodies: tuple[bytes, ...]
    age: float | None = None


class OSV:
    """One for the process. `url` ends with a slash."""

    def __init__(
        self,
        url: str,
        transport: Transport,
        backend: Backend,
        *,
        events: Events | None = None,
        waiting: int = WAITING,
        circuit: Circuit | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._transport = transport
        self._backend = backend
        self._events = events or Events()
        self._circuit = circuit or Circuit(clock=clock, name=NAME)
        self._limit = ConcurrencyLimit(waiting, name=NAME)
        self._flights = SingleFlight()
        self._now = now

    def batch(self, queries: Sequence[Query]) -> Replies:
        """The identifiers of the vulnerabilities of each project. Raises Unreachable and ProtocolError if the
        service can't be asked, and one of the answers isn't remembered.
        """
        return self._replies(
            [self._key("batch", each) for each in queries],
            lambda asked: self._ask_batch([queries[number] for number in asked]),
        )

    def query(self, query: Query) -> Replies:
        """The vulnerabilities of one project, in full. Raises the same."""
        return self._replies([self._key("query", query)], lambda _: [self._ask_one(query)])

    def vulnerability(self, identifier: str) -> Replies:
        """One vulnerability. Raises InvalidRequest, NotFound, and the same."""
        if len(identifier) > _IDENTIFIER_LIMIT or not _IDENTIFIER.fullmatch(identifier):
            raise InvalidRequest(
                f"{identifier[:50]!a} is not a vulnerability's identifier; expected one like PYSEC-2021-66"
            )
        return self._replies(
            [f"osv\0{self._url}\0vulnerability\0{identifier}"],
            lambda _: [self._ask("GET", f"vulns/{quote(identifier, safe=':')}")[1]],
        )

    def _key(self, kind: str, query: Query) -> str:
        return "\0".join(("osv", self._url, kind, query.name, query.version, query.page_token))

    def _replies(self, keys: list[str], ask: Callable[[list[int]], list[bytes]]) -> Replies:
        """The answers under `keys`. `ask` gets the numbers of those that aren't remembered or are too old."""
        now, found = self._now(), [Remembered.read(self._backend.get(key), _LIMIT) for key in keys]
        missing = [n for n, each in enumerate(found) if each is None or not each.is_younger(FRESH_TTL, now)]
        asked = frozenset(missing)
        for number in range(len(keys)):
            self._events.count("cache", "osv", "miss" if number in asked else "hit")
        age = None
        if missing:
            try:
                bodies = self._ask_once(tuple(keys[number] for number in missing), lambda: ask(missing))
            except (Unreachable, ProtocolError) as exc:
                self._events.warning("upstream", f"{NAME} can't be asked", reason=exc.message)
                age = now - min((each.received if each else 0.0) for each in (found[n] for n in missing))
                if age >= STALE_TTL:
                    raise
            else:
                for number, body in zip(missing, bodies, strict=True):
                    found[number] = self._remember(keys[number], body)
        return Replies(tuple(each.content for each in found if each is not None), age)

    def _remember(self, key: str, body: bytes) -> Remembered:
        answer = Remembered(body, self._now())
        data = answer.to_bytes()
        if len(data) <= _KEPT:
            self._backend.put(key, data, STALE_TTL)
        return answer

    def _ask_once(self, keys: tuple[str, ...], ask: Callable[[], list[bytes]]) -> list[bytes]:
        """Make one request for all callers in this process that concurrently ask for the same."""
        self._circuit.check()
        with self._limit.slot():
            concern(self._call("GET", "").asked_host)
            return self._flights.run(keys, "", lambda: self._counted(ask), self._transport.document_seconds)

    def _counted(self, ask: Callable[[], list[bytes]]) -> list[bytes]:
        with self._circuit.call(), self._events.outcome("osv"):
            return ask()

    def _ask_one(self, query: Query) -> bytes:
        self._log([query])
        return self._ask("POST", "query", query.document())[1]

    def _ask_batch(self, queries: list[Query]) -> list[bytes]:
        self._log(queries)
        document, _ = self._ask("POST", "querybatch", {"queries": [each.document() for each in queries]})
        results = document.get("results")
        if not isinstance(results, list) or len(results) != len(queries):
            raise ProtocolError(f"{NAME} sent a batch with fewer or more results than queries")
        return [json.dumps(_result(each)).encode() for each in results]

    def _log(self, queries: list[Query]) -> None:
        """Log every name that is sent."""
        self._events.info("upstream", f"{NAME} is asked", names=[each.name for each in queries])

    def _ask(
        self, method: str, path: str, document: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request; returns the answer, parsed and as it was sent. Takes ten seconds at most."""
        answer = self._transport.document(self._call(method, path, document), _LIMIT)
        _check(answer)
        body = decoded(answer, _LIMIT, NAME).body
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise ProtocolError(f"{NAME} sent no JSON object")
        return parsed, body

    def _call(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Call:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        body = b""
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        return Call(
            method=method,
            url=f"{self._url}v1/{path}",
            headers=headers,
            body=body,
            reach=Reach.LISTED,
            name=NAME,
            operation="osv",
        )


def _check(answer: Answer) -> None:
    """Raises the error for an answer that isn't a success."""
    status = answer.status
    if status == 200:
        return
    if status == 404:
        raise NotFound(f"{NAME} has no such vulnerability")
    busy = unavailable(status, answer.headers, NAME)
    raise busy or ProtocolError(f"{NAME} answered {status}; expected 200")


def _result(value: object) -> dict[str, Any]:
    """One result of a batch, without what OSV's API doesn't describe."""
    if not isinstance(value, dict):
        raise ProtocolError(f"{NAME} sent a batch whose results are not all JSON objects")
    listed, token = value.get("vulns") or [], value.get("next_page_token")
    if not isinstance(listed, list):
        raise ProtocolError(f"{NAME} sent a batch with a result whose vulns is not a list")
    vulnerabilities = [_vulnerability(each) for each in listed]
    more = {"next_page_token": token} if isinstance(token, str) and 0 < len(token) <= TOKEN_LIMIT else {}
    return {**({"vulns": vulnerabilities} if vulnerabilities else {}), **more}


def _vulnerability(value: object) -> dict[str, str]:
    identifier = value.get("id") if isinstance(value, dict) else None
    modified = value.get("modified") if isinstance(value, dict) else None
    if not isinstance(identifier, str) or not 0 < len(identifier) <= _IDENTIFIER_LIMIT:
        raise ProtocolError(f"{NAME} answered a batch with a vulnerability without an identifier")
    if not isinstance(modified, str) or not _MODIFIED.fullmatch(modified):
        return {"id": identifier}
    return {"id": identifier, "modified": modified}
