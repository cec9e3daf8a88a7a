"""Wire: one caller's calls at one registry: Authorization, 401s, redirects, refusals, telling who listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

from pyoci.errors import PyOCIError
from pyoci.events import Events
from pyoci.net.messages import ERROR_LIMIT, Answer, Call, Stream
from pyoci.net.transport import DOCUMENT_LIMIT, Transport
from pyoci.oci.auth import Authenticator, Authorization
from pyoci.oci.challenges import Scope
from pyoci.oci.credentials import Anonymous, Basic, Credentials, secrets_of, without
from pyoci.oci.errors import RegistryError, cleaned, registry_error
from pyoci.oci.references import Registry, operation_of
from pyoci.oci.targets import Targets

_CHALLENGES = 3  # 401s that one call answers: Harbor asks for Bearer first and for Basic after that
_REDIRECTS = 5
REDIRECTED = frozenset({301, 302, 303, 307, 308})

Leave = Callable[[str], bool]  # whether the caller may be sent to a URL
_Answered = TypeVar("_Answered", Answer, Stream)


class Wire:
    """Calls of one caller's `credentials`. Raises RegistryError, and what the road raises."""

    def __init__(
        self,
        transport: Transport,
        targets: Targets,
        authenticator: Authenticator,
        events: Events,
        registry: Registry,
        credentials: Credentials,
    ) -> None:
        self.transport = transport
        self.targets = targets
        self.authenticator = authenticator
        self.registry = registry
        self._events = events
        self._credentials = credentials
        self._caller = authenticator.caller(registry, credentials)
        self._good: dict[tuple[Scope, str | None], float] = {}  # until when what each brought in counts
        self._secrets: dict[str, frozenset[str]] = {}  # by each Authorization that was sent
        self._reach = targets.own_reach(registry)

    def same_caller(self, other: Wire) -> bool:
        """Whether both make calls of the same credentials at the same registry."""
        return self._caller == other._caller

    def call(self, method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Call:
        """A call to the registry itself."""
        return Call(
            method=method,
            url=url,
            headers=headers or {},
            body=body,
            reach=self._reach,
            name=str(self.registry),
            operation=operation_of(url),
        )

    def document(
        self,
        operation: str,
        call: Call,
        scope: Scope,
        expected: Collection[int],
        limit: int = DOCUMENT_LIMIT,
    ) -> Answer:
        """Send a call that moves a document. An answer that isn't `expected` is raised as RegistryError."""
        with self.transport.shared_deadline():
            answer = self.send(call, scope, lambda sent: self.transport.document(sent, limit))
        if answer.status not in expected:
            raise self.refusal(operation, answer.status, answer)
        return answer

    def send(self, call: Call, scope: Scope, send: Callable[[Call], _Answered]) -> _Answered:
        """Send `call` with the Authorization that fits, and once more for each 401 that can be answered."""
        started = self.authenticator.now()
        header = self.first_header(scope)
        answer = self.told(authorized(call, header), send)
        if header is None and self._may_be_a_stranger(call, scope, answer.status):
            header = self._noted_use(scope, self.authenticator.answer_to_ping(self._caller, scope))
            if header is not None:
                _drop(answer)
                answer = self.told(authorized(call, header), send)
        for _ in range(_CHALLENGES - 1):
            if answer.status != 401:
                break
            better = self.renewed(scope, answer, header, started)
            if better is None:
                break
            _drop(answer)
            header = better
            answer = self.told(authorized(call, header), send)
        return answer

    def _may_be_a_stranger(self, call: Call, scope: Scope, status: int) -> bool:
        """Whether somebody whose credentials nobody asked for read what may hide something from strangers:
        an absence, or a list of repositories. Who writes is asked for them soon enough.
        """
        if call.method != "GET" or "push" in scope.actions or not isinstance(self._credentials, Basic):
            return False
        return self.registry.scheme != "embedded" and (
            status == 404 or (status == 200 and not scope.repository)
        )

    def first_header(self, scope: Scope) -> str | None:
        """The Authorization that is known to fit."""
        return self._noted_use(scope, self.authenticator.header(self._caller, scope))

    def trusted_seconds(self, scope: Scope) -> float:
        """For how many seconds what the registry has said to this caller counts: since the first request of
        this session for `scope` was sent, and no longer than each token that was used for it.
        """
        ends = [end for (what, _), end in list(self._good.items()) if what == scope]
        return max(min(ends) - self.authenticator.now(), 0.0) if ends else 0.0

    def is_accepted(self, scope: Scope) -> bool:
        """Whether the registry knows this caller, so that a 404 of its means that nothing is there."""
        with self.transport.shared_deadline():
            until = self.authenticator.accepted_until(self._caller, scope)
        if until is not None:
            self._good[scope, "accepted"] = until
        return until is not None

    def renewed(self, scope: Scope, answer: Answer | Stream, sent: str | None, since: float) -> str | None:
        """The Authorization that answers a 401, None where there is none."""
        try:
            better = self.authenticator.answer(self._caller, scope, answer.headers, sent=sent, since=since)
        except PyOCIError:
            _drop(answer)
            raise
        return None if better is None else self._noted_use(scope, better)

    def _noted_use(self, scope: Scope, found: Authorization | None) -> str | None:
        """The header, once it is noted for how long what it brings in counts."""
        end = self.authenticator.now() + self.authenticator.ttl
        header = None if found is None else found.header
        self._good.setdefault((scope, header), end if found is None else min(found.until, end))
        return header

    def told(self, call: Call, send: Callable[[Call], _Answered]) -> _Answered:
        """Send one request, and tell who listens: nothing of the query or of credentials."""
        begun = time.monotonic()
        self._note(call)
        answer = send(call)
        secrets = self._noted()
        self._events.debug(
            "oci",
            "registry call",
            method=call.method,
            host=cleaned(without(secrets, urlsplit(call.url).netloc)),
            path=cleaned(without(secrets, urlsplit(call.url).path)),
            status=answer.status,
            seconds=round(time.monotonic() - begun, 4),
        )
        return answer

    def open(self, call: Call, scope: Scope) -> Stream:
        """The stream behind `call`, redirects followed."""
        stream = self.open_or_leave(call, scope, lambda _url: False)
        assert isinstance(stream, Stream)  # nothing else comes back to who never leaves
        return stream

    def open_or_leave(self, call: Call, scope: Scope, leave: Leave) -> Stream | str:
        """The stream behind `call`, redirects followed; or the URL of one that `leave` says yes to.

        Credentials never leave the registry's origin, and a 401 from elsewhere is not answered.
        """
        stream = self.send(call, scope, self.transport.stream)
        at_origin = True
        for _ in range(_REDIRECTS):
            if stream.status not in REDIRECTED:
                break
            _drop(stream)
            location = stream.headers.get("location", "")
            target = self.targets.target(self.registry, call.url, location, "redirect")
            if not target.same_origin and leave(target.url) and self.targets.may_be_told(target):
                return target.url
            call = replace(call, url=target.url, reach=target.reach)
            # Who has been sent away and is sent back comes as a stranger.
            at_origin = at_origin and target.same_origin
            if at_origin:
                stream = self.send(call, scope, self.transport.stream)
            else:
                stream = self.transport.stream(call)
        if stream.status not in {200, 206}:
            answer = Answer(stream.status, stream.headers, _drop(stream))
            # What a storage host refuses, it refuses to the registry's signature, not to the caller.
            raise self.refusal("read a blob", stream.status, answer, ours=at_origin)
        return stream

    def refusal(self, operation: str, status: int, answer: Answer, *, ours: bool = True) -> RegistryError:
        """What an answer means that was not expected; `ours`: it came from the registry itself."""
        judged = status
        if not ours and status in {400, 401, 403}:
            judged = 502
        elif status == 403 and isinstance(self._credentials, Anonymous):
            # Nobody has signed in: clients look their credentials up after a 401.
            judged = 401
        return registry_error(
            operation,
            str(self.registry),
            status,
            answer.headers,
            answer.body,
            judged=judged,
            secrets=self._noted(),
        )

    def _note(self, call: Call) -> None:
        """Remember what the registry is told and nobody else may hear, should its answer repeat it."""
        header = call.headers.get("Authorization")
        if header is not None and header not in self._secrets:
            self._secrets[header] = secrets_of(header)

    def _noted(self) -> list[str]:
        return [secret for secrets in list(self._secrets.values()) for secret in secrets]


def authorized(call: Call, header: str | None) -> Call:
    """`call` with that Authorization."""
    return replace(call, headers={**call.headers, "Authorization": header}) if header else call


def _drop(answer: Answer | Stream) -> bytes:
    """Be done with an answer that is not the one: its beginning, read so that the connection can be kept."""
    if isinstance(answer, Answer):
        return answer.body
    try:
        return answer.head(ERROR_LIMIT)
    except PyOCIError:
        return b""
    finally:
        answer.close()
