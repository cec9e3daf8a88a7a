"""Wire: one caller's calls to one registry, with Authorization, answers to 401s, redirects and refusals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

from pyoci.errors import PyOCIError
from pyoci.events import Events
from pyoci.net.messages import ERROR_LIMIT, Answer, Call, Stream
from pyoci.net.transport import DOCUMENT_LIMIT, Transport
from pyoci.oci.auth import Authenticator, SessionAuth
from pyoci.oci.challenges import Scope
from pyoci.oci.credentials import Anonymous, Basic, Credentials, IdentityToken, secrets_of, without
from pyoci.oci.errors import RegistryError, cleaned, is_absence, registry_error
from pyoci.oci.references import Registry, operation_of
from pyoci.oci.targets import Targets
from pyoci.request_scope import Host

_ATTEMPTS = 3  # of one call that gets 401s: Harbor sends a challenge for Bearer, then one for Basic
_REDIRECTS = 5
REDIRECTED = frozenset({301, 302, 303, 307, 308})

MayRedirect = Callable[[str], bool]  # whether the client may be redirected to a URL
_Answered = TypeVar("_Answered", Answer, Stream)


class Wire:
    """The calls of one request. Methods raise RegistryError, and what the transport raises."""

    def __init__(
        self,
        transport: Transport,
        targets: Targets,
        authenticator: Authenticator,
        events: Events,
        registry: Registry,
        credentials: Credentials,
        *,
        until: float = math.inf,
    ) -> None:
        """`until`: the time after which no document is read or written, from `Transport.deadline_in`."""
        self.transport = transport
        self.targets = targets
        self.auth = SessionAuth(authenticator, registry, credentials)
        self.registry = registry
        self._until = until
        self._events = events
        self._credentials = credentials
        self._secrets: dict[str, frozenset[str]] = {}  # by the Authorization that was sent
        self._reach = targets.own_reach(registry)

    @property
    def host(self) -> Host | None:
        """The host that bulkheads count a request for; None for the embedded registry."""
        return Call(
            method="GET", url=self.registry.origin, reach=self._reach, name=str(self.registry)
        ).asked_host

    def begin_update(self) -> None:
        """What this request does from now on is finished even if its client leaves: others may wait for it.
        Raises RequestEnded if the request was ended before, or if too many do the same at this registry.
        """
        self.transport.bulkheads.finish(self.host)

    def same_caller(self, other: Wire) -> bool:
        """Whether both have the same credentials and the same registry."""
        return self.auth.caller == other.auth.caller

    def call(self, method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Call:
        """A call to the registry, without Authorization."""
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
        """Send a call for a document. Raises RegistryError for a status that isn't `expected`."""
        with self.transport.shared_deadline(self._until):
            answer = self.send(call, scope, lambda sent: self.transport.document(sent, limit))
        if answer.status not in expected:
            raise self.refusal(operation, call, answer)
        return answer

    def send(self, call: Call, scope: Scope, send: Callable[[Call], _Answered]) -> _Answered:
        """Send `call` with the cached Authorization, and again after each 401 that can be answered."""
        started = self.auth.now()
        header = self.auth.first_header(scope)
        answer = self.send_once(authorized(call, header), send)
        if header is None and self._may_have_been_anonymous(call, scope, answer):
            header = self.auth.header_after_ping(scope)
            if header is not None:
                _drop(answer)
                answer = self.send_once(authorized(call, header), send)
        for _ in range(_ATTEMPTS - 1):
            if answer.status != 401:
                break
            better = self.renewed(scope, answer, header, started)
            if better is None:
                break
            _drop(answer)
            header = better
            answer = self.send_once(authorized(call, header), send)
        return answer

    def _may_have_been_anonymous(self, call: Call, scope: Scope, answer: Answer | Stream) -> bool:
        """Whether the registry may have treated this caller, who has credentials, as anonymous and hidden
        something: by a 404, or in a list of repositories. Writes need no such check, since registries send a
        challenge for them.
        """
        if (
            call.method != "GET"
            or "push" in scope.actions
            or not isinstance(self._credentials, Basic | IdentityToken)
        ):
            return False
        return self.registry.scheme != "embedded" and (
            is_absence(call, answer) or (answer.status == 200 and not scope.repository)
        )

    def renewed(self, scope: Scope, answer: Answer | Stream, sent: str | None, since: float) -> str | None:
        """The Authorization that answers a 401; None if there is none better than `sent`."""
        try:
            return self.auth.renewed(scope, answer.headers, sent, since)
        except PyOCIError:
            _drop(answer)
            raise

    def send_once(self, call: Call, send: Callable[[Call], _Answered]) -> _Answered:
        """Send one request and log it, without its query and credentials."""
        begun = time.monotonic()
        header = call.headers.get("Authorization")
        if header is not None and header not in self._secrets:  # the answer may repeat them
            self._secrets[header] = secrets_of(header)
        answer = send(call)
        secrets = self._sent_secrets()
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
        """The answer to `call` as a stream. Redirects are followed."""
        stream = self.open_or_redirect(call, scope, lambda _url: False)
        assert isinstance(stream, Stream)
        return stream

    def open_or_redirect(self, call: Call, scope: Scope, may_redirect: MayRedirect) -> Stream | str:
        """The answer to `call` as a stream, or the URL of a redirect for which `may_redirect` is true. Other
        redirects are followed.

        Credentials are sent only to the registry's origin, and a 401 of another host is not answered.
        """
        stream = self.send(call, scope, self.transport.stream)
        at_origin = True
        for _ in range(_REDIRECTS):
            if stream.status not in REDIRECTED:
                break
            _drop(stream)
            location = stream.headers.get("location", "")
            target = self.targets.target(self.registry, call.url, location, "redirect")
            if not target.same_origin and may_redirect(target.url) and self.targets.may_redirect(target):
                return target.url
            call = replace(call, url=target.url, reach=target.reach)
            # After a redirect to another host, not even the registry itself gets credentials.
            at_origin = at_origin and target.same_origin
            if at_origin:
                stream = self.send(call, scope, self.transport.stream)
            else:
                stream = self.transport.stream(call)
        if stream.status not in {200, 206}:
            answer = Answer(stream.status, stream.headers, _drop(stream))
            # A refusal by a storage host concerns the registry's signature, not the caller.
            raise self.refusal("read a blob", call, answer, from_registry=at_origin)
        return stream

    def refusal(
        self, operation: str, call: Call, answer: Answer, *, from_registry: bool = True
    ) -> RegistryError:
        """The error for an unexpected answer. `from_registry` is false if the answer came from
        another host.
        """
        judged = None
        if not from_registry and answer.status in {400, 401, 403}:
            judged = 502
        elif answer.status == 403 and isinstance(self._credentials, Anonymous):
            # The caller is anonymous, and clients send their credentials only after a 401.
            judged = 401
        return registry_error(
            operation,
            str(self.registry),
            answer.status,
            answer.headers,
            answer.body,
            call=call if from_registry else None,
            judged=judged,
            secrets=self._sent_secrets(),
            hint=self._credentials.hint,
        )

    def _sent_secrets(self) -> list[str]:
        return [secret for secrets in list(self._secrets.values()) for secret in secrets]


def authorized(call: Call, header: str | None) -> Call:
    """`call` with an Authorization, if there is one."""
    return replace(call, headers={**call.headers, "Authorization": header}) if header else call


def _drop(answer: Answer | Stream) -> bytes:
    """Close an answer and return the beginning of its body. Reading the body keeps the connection usable."""
    if isinstance(answer, Answer):
        return answer.body
    try:
        return answer.head(ERROR_LIMIT)
    except PyOCIError:
        return b""
    finally:
        answer.close()
