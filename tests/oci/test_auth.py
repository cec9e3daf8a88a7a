"""Answers to a 401: fetching tokens, caching them, and who may use them."""

from __future__ import annotations

import io
import itertools
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import responses

from pyoci.errors import Denied, Exhausted, ProtocolError, PyOCIError, RateLimited, Unauthorized, Unreachable
from pyoci.oci.challenges import Challenge, Scope
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, IdentityToken, fingerprint
from pyoci.oci.errors import RegistryUnauthorized
from pyoci.oci.models import IMAGE_INDEX, Document
from pyoci.oci.references import Registry, Repository
from pyoci.oci.session import Gateway, OCISession
from tests.clock import Clock
from tests.oci.conftest import (
    BASE,
    INDEX_BODY,
    REPOSITORY,
    SOMEBODY,
    TAG,
    TOKENS,
    MakeGateway,
    MakeSession,
    bearer,
    sent,
    sha256,
    trips,
)

TAGS = f"{BASE}/tags/list"
SCOPE = "repository:acme/hello_world"


class TokenServer:
    """Issues a token for each request; the registry lists tags to callers with a valid one."""

    def __init__(self, answers: responses.RequestsMock, challenge: dict[str, str] | None = None) -> None:
        self.issued: list[str] = []
        self.queries: list[list[tuple[str, str]]] = []
        self.good: Callable[[str], bool] = lambda token: token in self.issued
        self.answer: dict[str, Any] | None = None
        self._challenge = bearer() if challenge is None else challenge
        realm = self._challenge["WWW-Authenticate"].partition('realm="')[2].partition('"')[0] or TOKENS
        answers.add_callback("GET", realm.partition("?")[0], self.token)
        answers.add_callback("GET", TAGS, self.tags)

    def token(self, request: Any) -> tuple[int, dict[str, str], str]:
        self.queries.append(parse_qsl(urlsplit(request.url).query))
        self.issued.append(f"token{len(self.issued) + 1}")
        given = {"token": self.issued[-1], "expires_in": 300} if self.answer is None else self.answer
        return 200, {}, json.dumps(given)

    def tags(self, request: Any) -> tuple[int, dict[str, str], str]:
        header = request.headers.get("Authorization", "")
        if header.startswith("Bearer ") and self.good(header.removeprefix("Bearer ")):
            return 200, {}, '{"tags": ["1.0"]}'
        return 401, self._challenge, ""


def read(gateway: Gateway, caller: Credentials = SOMEBODY) -> tuple[str, ...]:
    """Read the tags, as one request of the caller."""
    return gateway.session(REPOSITORY.registry, caller).tags(REPOSITORY)


def answered(gateway: Gateway, headers: dict[str, str]) -> str | None:
    """The header that answers a 401 with these headers."""
    authenticator = gateway.authenticator
    caller = authenticator.caller(REPOSITORY.registry, SOMEBODY)
    found = authenticator.answer(caller, Scope(REPOSITORY.name), headers, sent=None, since=0)
    return None if found is None else found.header


class TestExchange:
    @pytest.mark.parametrize(
        ("answer", "value"),
        [
            pytest.param({"token": "abc"}, "abc", id="token, as most"),
            pytest.param({"access_token": "abc"}, "abc", id="access_token alone, as Azure ACR"),
            pytest.param({"token": "abc", "access_token": "abc"}, "abc", id="both, as Docker Hub"),
            pytest.param({"token": "", "access_token": "abc"}, "abc", id="an empty one beside"),
            pytest.param({"token": None, "access_token": "abc"}, "abc", id="a null beside"),
            pytest.param({"token": "abc", "expires_in": 300}, "abc", id="expires_in"),
            pytest.param({"token": "abc", "expires_in": None}, "abc", id="null expires_in"),
            pytest.param({"token": "abc", "expires_in": "300"}, "abc", id="expires_in as text"),
            pytest.param({"token": "abc", "expires_in": 10**400}, "abc", id="expires_in for ever"),
            pytest.param({"token": "abc", "scope": "", "issued_at": "x"}, "abc", id="other keys"),
        ],
    )
    def test_a_token_is_fetched_and_sent(
        self,
        answers: responses.RequestsMock,
        make_session: MakeSession,
        answer: dict[str, Any],
        value: str,
    ) -> None:
        """The first call takes three requests: the 401, the token, and the call again with the token."""
        server = TokenServer(answers)
        server.answer, server.good = answer, value.__eq__
        assert make_session().tags(REPOSITORY) == ("1.0",)
        assert trips(answers) == ["GET /tags/list", "token", "GET /tags/list"]
        assert sent(answers) == [None, SOMEBODY.header(), f"Bearer {value}"]

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b"<html>sign in</html>"),
            (200, b"[]"),
            (200, b"{}"),
            (200, b'{"token": ""}'),
            (200, b'{"token": 1}'),
            (200, b'{"token": "two words"}'),
            (200, b'{"token": "line\\nfeed"}'),
            (200, '{"token": "tökén"}'.encode()),
            (200, b'{"token": "' + b"x" * 40_000 + b'"}'),
            (200, b'{"token": "x", "pad": "' + b"x" * 70_000 + b'"}'),
            (200, b"[" * 60_000),
            (204, b""),
            (302, b""),
            (404, b""),
            (405, b""),
            (500, b""),
        ],
        ids=lambda value: repr(value)[:24],
    )
    def test_unusable_token_answer_is_a_protocol_error(
        self, answers: responses.RequestsMock, make_session: MakeSession, status: int, body: bytes
    ) -> None:
        """A 404 of the token server must not look like an absent repository: uv would go on to PyPI."""
        answers.get(TAGS, status=401, headers=bearer())
        answers.get(TOKENS, body=body, status=status)
        with pytest.raises(ProtocolError) as caught:
            make_session().tags(REPOSITORY)
        assert "secret" not in caught.value.message

    @pytest.mark.parametrize(
        ("credentials", "status", "kind"),
        [
            pytest.param(SOMEBODY, 401, Unauthorized, id="wrong password"),
            pytest.param(Anonymous(), 401, Unauthorized, id="ghcr.io, nobody, 401"),
            pytest.param(Anonymous(), 403, Unauthorized, id="ghcr.io, nobody, DENIED"),
            pytest.param(SOMEBODY, 403, Denied, id="somebody who may not"),
            pytest.param(SOMEBODY, 400, Unauthorized, id="bad request"),
            pytest.param(SOMEBODY, 429, RateLimited, id="too often"),
            pytest.param(SOMEBODY, 504, Unreachable, id="gateway timeout"),
        ],
    )
    def test_a_refusal_has_its_kind(
        self,
        answers: responses.RequestsMock,
        make_session: MakeSession,
        credentials: Credentials,
        status: int,
        kind: type[PyOCIError],
    ) -> None:
        """ghcr.io answers anonymous callers 401 or 403 DENIED; both become a 401, so clients send
        credentials.
        """
        answers.get(TAGS, status=401, headers=bearer())
        denied = json.dumps({"errors": [{"code": "DENIED", "message": "requested access is denied"}]})
        answers.get(TOKENS, body=denied, status=status, headers={"Retry-After": "77"})
        with pytest.raises(kind, match=f"registry.example answered {status} .*access is denied") as refused:
            make_session(credentials).tags(REPOSITORY)
        wrong = isinstance(refused.value, RegistryUnauthorized) and refused.value.wrong_credentials
        assert wrong is (credentials == SOMEBODY and status == 401)

    def test_a_password_with_line_breaks_is_sent(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """It is in base64, so line breaks don't end the header."""
        TokenServer(answers)
        key_file = Basic("_json_key", '{\n  "type": "service_account"\n}\n')
        assert make_session(key_file).tags(REPOSITORY) == ("1.0",)
        assert sent(answers) == [None, key_file.header(), "Bearer token1"]

    def test_anonymous_callers_send_no_credentials(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """They still request a token."""
        TokenServer(answers)
        assert make_session(Anonymous()).tags(REPOSITORY) == ("1.0",)
        assert sent(answers) == [None, None, "Bearer token1"]

    @pytest.mark.parametrize(
        ("challenge", "query"),
        [
            ('service="s",scope="a:b:pull"', [("service", "s"), ("scope", "a:b:pull")]),
            ('scope="*"', [("scope", "*")]),
            ('service="s"', [("service", "s"), ("scope", f"{SCOPE}:pull")]),
            ("", [("scope", f"{SCOPE}:pull")]),
            ('scope="b:c:d",scope="a:b:c"', [("scope", "a:b:c"), ("scope", "b:c:d")]),
        ],
        ids=["all", "Forgejo", "GitLab, no scope", "Gitea, nothing", "Pulp, repeated"],
    )
    def test_token_request_has_service_and_scope(
        self,
        answers: responses.RequestsMock,
        make_session: MakeSession,
        challenge: str,
        query: list[tuple[str, str]],
    ) -> None:
        """Both as in the challenge; the scope of the repository if the challenge has none."""
        header = f'Bearer realm="{TOKENS}"' + (f",{challenge}" if challenge else "")
        server = TokenServer(answers, {"WWW-Authenticate": header})
        make_session().tags(REPOSITORY)
        assert server.queries == [query]

    def test_query_of_the_realm_is_kept(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """The parameters are appended to it."""
        server = TokenServer(answers, bearer(realm=f"{TOKENS}?tenant=1"))
        make_session().tags(REPOSITORY)
        assert server.queries[0][0] == ("tenant", "1")
        assert len(server.queries[0]) == 3

    @pytest.mark.parametrize(
        ("listed", "registry", "realm", "allowed"),
        [
            (False, "https://registry.example", "https://auth.example/t", True),
            (False, "https://registry.example", "https://registry.example/t", True),
            (False, "https://registry.example", "/t", True),
            (False, "https://registry.example", "http://registry.example/t", True),
            (False, "https://registry.example", "http://auth.example/t", False),
            (False, "https://registry.example", "ftp://auth.example/t", False),
            (False, "https://registry.example", "file:///etc/passwd", False),
            (False, "https://registry.example", "embedded://local/v2/", False),
            (False, "https://registry.example", "https://user:pass@auth.example/t", False),
            (False, "https://registry.example", "https://auth.example:99999/t", False),
            (False, "https://registry.example", "https://[::1/t", False),
            (False, "https://registry.example", "https:///t", True),
            (True, "http://public.example", "http://auth.example/t", True),
            (True, "http://private.example", "http://private-auth.example/t", True),
        ],
    )
    def test_unusable_realm_is_refused(
        self,
        answers: responses.RequestsMock,
        make_session: MakeSession,
        listed: bool,
        registry: str,
        realm: str,
        allowed: bool,
    ) -> None:
        """Only https, or http for an http registry, without user info. No request is sent elsewhere."""
        named = Registry.parse(registry, listed=listed)
        url = f"{registry}/v2/acme/hello_world/tags/list"
        answers.get(url, status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
        answers.get(url, json={"tags": []})
        for target in ("https://auth.example/t", "http://auth.example/t", f"{registry}/t"):
            answers.get(target, json={"token": "abc"})
        answers.get("http://private-auth.example/t", json={"token": "abc"})
        session = make_session(registry=named)
        repository = Repository.parse(named, "acme/hello_world")
        if allowed:
            assert session.tags(repository) == ()
        else:
            with pytest.raises(ProtocolError, match="realm"):
                session.tags(repository)
            assert len(answers.calls) == 1


class TestScopes:
    @pytest.mark.parametrize(
        ("given", "actions", "wanted"),
        [
            pytest.param(f"{SCOPE}:pull", ("pull",), f"{SCOPE}:pull", id="read"),
            pytest.param(f"{SCOPE}:pull", ("pull", "push"), f"{SCOPE}:pull,push", id="first read"),
            pytest.param(f"{SCOPE}:push,pull", ("pull", "push"), f"{SCOPE}:pull,push", id="any order"),
            pytest.param(f"{SCOPE}:push", ("push",), f"{SCOPE}:pull,push", id="pull comes with push"),
            pytest.param(f"{SCOPE}:pull,push", ("pull", "push", "delete"), f"{SCOPE}:pull,push", id="Quay"),
            pytest.param(f"{SCOPE}:delete", ("pull", "push", "delete"), f"{SCOPE}:pull,push,delete", id="2"),
            pytest.param(f"{SCOPE}:*", ("pull", "push"), f"{SCOPE}:*", id="everything"),
            pytest.param("registry:catalog:*", (), "registry:catalog:*", id="catalog"),
            pytest.param("*", ("pull", "push"), "*", id="Forgejo"),
            pytest.param("repository:other/name:pull", ("push",), "repository:other/name:pull", id="other"),
            pytest.param(f"{SCOPE}:metadata,pull", ("pull",), f"{SCOPE}:pull,metadata", id="odd action"),
            pytest.param("repository:host:5000/a:pull", ("push",), "repository:host:5000/a:pull", id="port"),
        ],
    )
    def test_a_scope_is_completed(self, given: str, actions: tuple[str, ...], wanted: str) -> None:
        """With the actions that the call needs. A scope of another kind isn't changed."""
        challenge = Challenge("bearer", {"realm": TOKENS}, (given,))
        assert Scope("acme/hello_world", actions).token_scopes(challenge) == (wanted,)

    def test_publishing_needs_one_token(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """Pull and push are requested together from the first read on."""
        server = TokenServer(answers)
        make_session(publishing=True).tags(REPOSITORY)
        assert ("scope", f"{SCOPE}:pull,push") in server.queries[0]

    def test_quay_is_not_asked_to_delete(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """Quay answers 400 to a scope with `delete`. A token without it can delete."""
        asked: list[str] = []

        def token(request: Any) -> tuple[int, dict[str, str], str]:
            scope = parse_qs(urlsplit(request.url).query)["scope"][0]
            asked.append(scope)
            return (400, {}, "") if "delete" in scope else (200, {}, '{"token": "abc"}')

        url = f"{BASE}/manifests/1.0"
        answers.delete(url, status=401, headers=bearer(f"{SCOPE}:pull,push,delete"))
        answers.delete(url, status=202)
        answers.add_callback("GET", TOKENS, token)
        make_session(publishing=True).delete(REPOSITORY, TAG)
        assert asked == [f"{SCOPE}:pull,push,delete", f"{SCOPE}:pull,push"]


class TestMemory:
    def test_second_request_needs_no_token_request(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """The challenge and the token are cached."""
        TokenServer(answers)
        make_session().tags(REPOSITORY)
        for _ in range(3):
            make_session().tags(REPOSITORY)
        assert trips(answers) == ["GET /tags/list", "token", *["GET /tags/list"] * 4]

    @pytest.mark.parametrize(
        ("expires", "fresh", "stale"),
        [
            pytest.param(300, 289, 291, id="five minutes, as GitLab"),
            pytest.param(60, 49, 51, id="a minute"),
            pytest.param(5, 3.9, 4.1, id="seconds"),
            pytest.param(None, 49, 51, id="none said, as Quay: a minute"),
            pytest.param(0, 49, 51, id="none at all is none said"),
            pytest.param(-1, 49, 51, id="less than none"),
            pytest.param(True, 49, 51, id="no number"),
            pytest.param(86400, 3589, 3591, id="a day is an hour"),
        ],
    )
    def test_a_token_is_used_until_a_margin(
        self,
        answers: responses.RequestsMock,
        make_gateway: MakeGateway,
        clock: Clock,
        expires: Any,
        fresh: float,
        stale: float,
    ) -> None:
        """Another one is fetched ten seconds before it expires, or a fifth of a short lifetime before."""
        server = TokenServer(answers)
        server.answer = {"token": "abc"} | ({} if expires is None else {"expires_in": expires})
        server.good = "abc".__eq__
        start, gateway = clock.now, make_gateway(ttl=86400)
        read(gateway)
        for after, tokens in ((fresh, 1), (stale, 2)):
            clock.now = start + after
            read(gateway)
            assert len(server.issued) == tokens

    @pytest.mark.parametrize(
        "other",
        [Basic("user", "other"), Basic("other", "secret"), Anonymous()],
        ids=["password", "user", "nobody"],
    )
    def test_tokens_are_not_shared_between_callers(
        self, answers: responses.RequestsMock, make_session: MakeSession, other: Credentials
    ) -> None:
        """A caller with other credentials never gets the token."""
        server = TokenServer(answers)
        make_session().tags(REPOSITORY)
        make_session(other).tags(REPOSITORY)
        assert len(server.issued) == 2
        assert sent(answers)[-1] == "Bearer token2"

    def test_more_rights_need_another_token(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """A token for reading isn't used for publishing, nor the reverse."""
        server = TokenServer(answers)
        for publishing in (False, True, False, True):
            make_session(publishing=publishing).tags(REPOSITORY)
        assert len(server.issued) == 2

    def test_a_revoked_token_is_replaced(
        self, answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
    ) -> None:
        """A cached token that is refused is fetched again, once."""
        server = TokenServer(answers)
        make_session().tags(REPOSITORY)
        server.good = "token2".__eq__
        clock.now += 1
        make_session().tags(REPOSITORY)
        assert trips(answers)[3:] == ["GET /tags/list", "token", "GET /tags/list"]

    def test_insufficient_token_is_a_refusal(
        self, answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
    ) -> None:
        """Docker Hub issues a token with fewer rights than requested. The registry's refusal is raised."""
        server = TokenServer(answers, bearer() | {"X": "insufficient_scope"})
        server.good = lambda _token: False
        with pytest.raises(RegistryUnauthorized):
            make_session().tags(REPOSITORY)
        assert trips(answers) == ["GET /tags/list", "token", "GET /tags/list"]
        clock.now += 1
        with pytest.raises(RegistryUnauthorized):
            make_session().tags(REPOSITORY)
        assert len(answers.calls) == 6

    def test_new_realm_is_found(
        self, answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
    ) -> None:
        """If the cached realm fails, the registry is asked for the challenge again."""
        server = TokenServer(answers)
        make_session().tags(REPOSITORY)
        answers.remove("GET", TOKENS)
        answers.get(TOKENS, status=404)
        server._challenge = bearer(realm="https://new.example/token")
        answers.add_callback("GET", "https://new.example/token", server.token)
        clock.now += 1000
        assert make_session().tags(REPOSITORY) == ("1.0",)
        assert len(server.issued) == 2

    def test_token_server_that_is_down_is_an_error(
        self, answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
    ) -> None:
        """The next call asks the registry for the challenge again."""
        TokenServer(answers)
        make_session().tags(REPOSITORY)
        answers.remove("GET", TOKENS)
        answers.get(TOKENS, status=504)
        clock.now += 1000
        before = len(answers.calls)
        with pytest.raises(Unreachable):
            make_session().tags(REPOSITORY)
        assert set(trips(answers)[before:]) == {"token"}

    def test_challenge_is_cached_for_an_hour(
        self, answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
    ) -> None:
        """A registry may change it."""
        TokenServer(answers)
        make_session().tags(REPOSITORY)
        clock.now += 3601
        make_session().tags(REPOSITORY)
        assert trips(answers)[3:] == ["GET /tags/list", "token", "GET /tags/list"]

    def test_memory_is_bounded(self, answers: responses.RequestsMock, gateway: Gateway) -> None:
        """Long tokens of thousands of callers take at most 16 MiB."""
        server = TokenServer(answers)
        server.answer = {"token": "x" * 30_000, "expires_in": 3000}
        server.good = lambda _token: True
        for number in range(700):
            gateway.session(REPOSITORY.registry, Basic("user", str(number))).tags(REPOSITORY)
        kept = gateway.authenticator._tokens._tokens
        assert len(server.issued) == 700
        assert kept.currsize <= 16 * 1024 * 1024
        assert 100 < len(kept) < 700


@pytest.mark.parametrize("caller", [SOMEBODY, Anonymous()], ids=["somebody", "nobody"])
class TestRevoked:
    """A token server checks a caller's rights only when it issues a token. A token of an hour is used for
    `ttl` seconds.
    """

    @pytest.fixture
    def server(self, answers: responses.RequestsMock) -> TokenServer:
        server = TokenServer(answers)
        server.answer = {"token": "abc", "expires_in": 3600}
        server.good = "abc".__eq__
        return server

    def revoke(self, answers: responses.RequestsMock) -> None:
        """The token server refuses from now on; the registry still accepts the tokens that it issued."""
        answers.replace("GET", TOKENS, status=401)

    def delay(self, answers: responses.RequestsMock, server: TokenServer, clock: Clock) -> None:
        """The token server takes eight seconds; a document has ten."""

        def slow(request: Any) -> tuple[int, dict[str, str], str]:
            clock.now += 8
            return server.token(request)

        answers.remove("GET", TOKENS)
        answers.add_callback("GET", TOKENS, slow)

    def test_a_token_is_used_for_the_time_to_live(
        self,
        answers: responses.RequestsMock,
        server: TokenServer,
        make_gateway: MakeGateway,
        clock: Clock,
        caller: Credentials,
    ) -> None:
        """For reading, it is used for exactly the time to live."""
        start, gateway = clock.now, make_gateway(ttl=30)
        read(gateway, caller)
        self.revoke(answers)
        clock.now = start + 29.9
        read(gateway, caller)
        clock.now = start + 30
        with pytest.raises(Unauthorized):
            read(gateway, caller)
        assert len(server.issued) == 1

    def test_time_of_a_token_begins_with_its_request(
        self,
        answers: responses.RequestsMock,
        server: TokenServer,
        make_gateway: MakeGateway,
        clock: Clock,
        caller: Credentials,
    ) -> None:
        """The rights may have been checked at once, although the answer came late."""
        start, gateway = clock.now, make_gateway(ttl=30)
        self.delay(answers, server, clock)
        read(gateway, caller)
        assert clock.now == start + 8
        self.revoke(answers)
        clock.now = start + 31
        with pytest.raises(Unauthorized):
            read(gateway, caller)

    def test_a_token_that_comes_after_its_time_is_used_once(
        self,
        answers: responses.RequestsMock,
        server: TokenServer,
        make_gateway: MakeGateway,
        clock: Clock,
        caller: Credentials,
    ) -> None:
        """A token server slower than the time to live makes requests slow, but they succeed."""
        self.delay(answers, server, clock)
        gateway = make_gateway(ttl=5)
        for number in (1, 2):
            assert read(gateway, caller) == ("1.0",)
            assert len(server.issued) == number

    def test_without_time_to_live_tokens_are_not_cached(
        self,
        server: TokenServer,
        make_gateway: MakeGateway,
        caller: Credentials,
    ) -> None:
        """All calls of one request share a token; the next request fetches another."""
        gateway = make_gateway(ttl=0)
        for number in (1, 2):
            session = gateway.session(REPOSITORY.registry, caller)
            for _ in range(3):
                session.tags(REPOSITORY)
            assert len(server.issued) == number

    @pytest.mark.parametrize("publishing", [True, False], ids=["publishing", "reading"])
    def test_proof_ends_with_the_token(
        self,
        server: TokenServer,
        make_gateway: MakeGateway,
        clock: Clock,
        caller: Credentials,
        publishing: bool,
    ) -> None:
        """A proof is valid for no longer than the token that it was made with."""
        gateway = make_gateway(ttl=60)

        def session() -> OCISession:
            return gateway.session(REPOSITORY.registry, caller, publishing=publishing)

        session().tags(REPOSITORY)
        clock.now += 50
        later = session()
        later.tags(REPOSITORY)
        assert later.trusted_seconds(REPOSITORY) == pytest.approx(10)

    def test_newer_token_does_not_extend_a_proof(
        self,
        answers: responses.RequestsMock,
        server: TokenServer,
        make_gateway: MakeGateway,
        clock: Clock,
        caller: Credentials,
    ) -> None:
        """A call is sent with the old token and answered late; meanwhile a newer token is cached."""
        gateway = make_gateway(ttl=60)
        read(gateway, caller)
        clock.now += 55

        def slow(request: Any) -> tuple[int, dict[str, str], str]:
            clock.now += 4
            answer = server.tags(request)
            answers.replace("GET", TAGS, json={"tags": ["1.0"]})
            clock.now += 2
            read(gateway, caller)
            return answer

        answers.remove("GET", TAGS)
        answers.add_callback("GET", TAGS, slow)
        session = gateway.session(REPOSITORY.registry, caller)
        session.tags(REPOSITORY)
        assert len(server.issued) == 2
        assert session.trusted_seconds(REPOSITORY) == 0


class TestRevokedWriting:
    def test_a_write_is_refused_after_the_time_to_live(
        self, answers: responses.RequestsMock, make_gateway: MakeGateway, clock: Clock
    ) -> None:
        """After a password was changed, a token of an hour can't publish any more."""
        url = f"{BASE}/manifests/1.0"
        document = Document(IMAGE_INDEX, INDEX_BODY)

        def put(request: Any) -> tuple[int, dict[str, str], str]:
            good = request.headers.get("Authorization") == "Bearer abc"
            return (201, {}, "") if good else (401, bearer(f"{SCOPE}:pull,push"), "")

        answers.add_callback("PUT", url, put)
        answers.get(TOKENS, json={"token": "abc", "expires_in": 3600})
        gateway = make_gateway(ttl=30)

        def write() -> None:
            gateway.session(REPOSITORY.registry, SOMEBODY, publishing=True).push(REPOSITORY, TAG, document)

        write()
        answers.replace("GET", TOKENS, status=401)
        clock.now += 29
        write()
        clock.now += 1
        with pytest.raises(Unauthorized):
            write()

    @pytest.mark.parametrize("ttl", [30, 0])
    def test_an_upload_that_outlives_its_token_fetches_another(
        self, answers: responses.RequestsMock, make_gateway: MakeGateway, clock: Clock, ttl: int
    ) -> None:
        """The upload takes two minutes; the manifest is pushed with a new token. With a time to live of 0,
        one token is used for the whole request as long as it is valid.
        """
        used: list[str] = []
        issued = itertools.count(1)

        def guarded(status: int, headers: dict[str, str], seconds: float = 0) -> Any:
            def answer(request: Any) -> tuple[int, dict[str, str], str]:
                header = request.headers.get("Authorization", "")
                if not header:
                    return 401, bearer(f"{SCOPE}:pull,push"), ""
                used.append(header)
                clock.now += seconds
                return status, headers, ""

            return answer

        content = b"wheel"
        location = f"{BASE}/blobs/uploads/1"
        answers.add_callback("HEAD", f"{BASE}/blobs/{sha256(content)}", guarded(404, {}))
        answers.add_callback("POST", f"{BASE}/blobs/uploads/", guarded(202, {"Location": location}))
        answers.add_callback("PUT", location, guarded(201, {}, seconds=120))
        answers.add_callback("PUT", f"{BASE}/manifests/1.0", guarded(201, {}))

        def token(_request: Any) -> tuple[int, dict[str, str], str]:
            return 200, {}, json.dumps({"token": f"token{next(issued)}", "expires_in": 3600})

        answers.add_callback("GET", TOKENS, token)
        session = make_gateway(ttl=ttl).session(REPOSITORY.registry, SOMEBODY, publishing=True)
        session.push_blob(REPOSITORY, io.BytesIO(content), len(content), sha256(content))
        session.push(REPOSITORY, TAG, Document(IMAGE_INDEX, INDEX_BODY))
        later = "token2" if ttl else "token1"
        assert used == [*["Bearer token1"] * 3, f"Bearer {later}"]


class TestSchemes:
    def basic(self, answers: responses.RequestsMock, *allowed: str) -> None:
        def tags(request: Any) -> tuple[int, dict[str, str], str]:
            if request.headers.get("Authorization") in allowed:
                return 200, {}, '{"tags": []}'
            return 401, {"WWW-Authenticate": 'Basic realm="https://ecr/",service="ecr.amazonaws.com"'}, ""

        answers.add_callback("GET", TAGS, tags)

    def test_basic_registries_get_the_password(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """AWS ECR has no token server. Its challenge is cached, so later calls take one request."""
        self.basic(answers, SOMEBODY.header())
        make_session().tags(REPOSITORY)
        make_session().tags(REPOSITORY)
        assert sent(answers) == [None, SOMEBODY.header(), SOMEBODY.header()]

    @pytest.mark.parametrize("ttl", [60, 0])
    def test_time_of_a_basic_answer_begins_with_its_request(
        self, answers: responses.RequestsMock, make_gateway: MakeGateway, clock: Clock, ttl: int
    ) -> None:
        """The rights may have been checked at once, although the answer came late."""
        self.basic(answers, SOMEBODY.header())
        session = make_gateway(ttl=ttl).session(REPOSITORY.registry, SOMEBODY)
        session.tags(REPOSITORY)
        clock.now += 20
        session.tags(REPOSITORY)
        assert session.trusted_seconds(REPOSITORY) == (40 if ttl else 0)

    @pytest.mark.parametrize("credentials", [Anonymous(), Basic("user", "wrong")], ids=["nobody", "wrong"])
    def test_wrong_password_is_sent_once(
        self, answers: responses.RequestsMock, make_session: MakeSession, credentials: Credentials
    ) -> None:
        """It isn't sent again after the refusal."""
        self.basic(answers, SOMEBODY.header())
        with pytest.raises(RegistryUnauthorized):
            make_session(credentials).tags(REPOSITORY)
        assert len(answers.calls) == (1 if isinstance(credentials, Anonymous) else 2)

    def test_basic_after_a_bad_bearer(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """Harbor answers a bad Bearer token with a challenge for Basic, which works and is cached."""

        def tags(request: Any) -> tuple[int, dict[str, str], str]:
            header = request.headers.get("Authorization")
            if header == SOMEBODY.header():
                return 200, {}, '{"tags": []}'
            return 401, {"WWW-Authenticate": 'Basic realm="harbor"'} if header else bearer(), ""

        answers.add_callback("GET", TAGS, tags)
        answers.get(TOKENS, json={"token": "bad"})
        make_session().tags(REPOSITORY)
        make_session().tags(REPOSITORY)
        basic = SOMEBODY.header()
        assert sent(answers) == [None, basic, "Bearer bad", basic, basic]

    def test_harbors_basic_is_not_for_anonymous_callers(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """Anonymous callers still get the token of a public project."""

        def tags(request: Any) -> tuple[int, dict[str, str], str]:
            header = request.headers.get("Authorization")
            if header in {SOMEBODY.header(), "Bearer anybody"}:
                return 200, {}, '{"tags": []}'
            return 401, {"WWW-Authenticate": 'Basic realm="harbor"'} if header else bearer(), ""

        def token(request: Any) -> tuple[int, dict[str, str], str]:
            return (
                200,
                {},
                '{"token": "bad"}' if "Authorization" in request.headers else '{"token": "anybody"}',
            )

        answers.add_callback("GET", TAGS, tags)
        answers.add_callback("GET", TOKENS, token)
        make_session(Anonymous()).tags(REPOSITORY)
        make_session().tags(REPOSITORY)
        before = len(answers.calls)
        make_session(Anonymous()).tags(REPOSITORY)
        assert len(answers.calls) == before + 1

    def test_bearer_is_sent_to_the_registry(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """In the first request; only the registry can check it."""
        answers.get(TAGS, json={"tags": []})
        make_session(Bearer("abc")).tags(REPOSITORY)
        assert sent(answers) == ["Bearer abc"]

    def test_a_refused_bearer_is_a_401(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """It can't be exchanged, so the token server isn't asked."""
        answers.get(TAGS, status=401, headers=bearer())
        with pytest.raises(RegistryUnauthorized):
            make_session(Bearer("abc")).tags(REPOSITORY)
        assert trips(answers) == ["GET /tags/list"]

    @pytest.mark.parametrize("header", [{}, {"WWW-Authenticate": ""}, {"WWW-Authenticate": "Negotiate"}])
    def test_a_401_without_a_challenge_is_final(
        self, answers: responses.RequestsMock, make_session: MakeSession, header: dict[str, str]
    ) -> None:
        """Harbor sends an empty challenge for a missing project."""
        answers.get(TAGS, status=401, headers=header)
        with pytest.raises(RegistryUnauthorized):
            make_session().tags(REPOSITORY)
        assert len(answers.calls) == 1

    def test_ghcr_with_a_bad_token(self, answers: responses.RequestsMock, make_session: MakeSession) -> None:
        """ghcr.io answers 403 without a challenge."""
        answers.get(TAGS, status=403)
        with pytest.raises(Denied):
            make_session(Bearer("bad")).tags(REPOSITORY)


class TestTogether:
    @pytest.mark.parametrize("works", [True, False], ids=["given", "refused"])
    def test_fifty_callers_cause_one_token_request(
        self, answers: responses.RequestsMock, gateway: Gateway, works: bool
    ) -> None:
        """Callers that arrive while a token is fetched wait for it, and share a refusal, too."""
        fetched = threading.Semaphore(0)
        count = 50

        def token(_request: Any) -> tuple[int, dict[str, str], str]:
            fetched.release()
            time.sleep(0.5)
            return (200, {}, '{"token": "abc"}') if works else (401, {}, "")

        answers.add_callback("GET", TOKENS, token)
        challenge = bearer()
        headers = {"www-authenticate": challenge["WWW-Authenticate"]}
        together = threading.Barrier(count)
        found: list[str | None] = []

        def ask() -> None:
            together.wait()
            try:
                found.append(answered(gateway, headers))
            except Unauthorized as exc:
                found.append(exc.message)

        threads = [threading.Thread(target=ask) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers.calls) == 1
        assert len(found) == count
        assert len(set(found)) == 1
        assert (found[0] == "Bearer abc") is works

    def test_failure_is_not_cached(self, answers: responses.RequestsMock, make_session: MakeSession) -> None:
        """It is shared only by the callers that waited."""
        answers.get(TAGS, status=401, headers=bearer())
        answers.get(TOKENS, status=401)
        answers.get(TOKENS, json={"token": "abc"})
        with pytest.raises(Unauthorized):
            make_session().tags(REPOSITORY)
        answers.replace("GET", TAGS, json={"tags": []})
        assert make_session().tags(REPOSITORY) == ()

    def test_exhaustion_is_shared(self, answers: responses.RequestsMock, gateway: Gateway) -> None:
        """Callers that waited for a fetch that ran out of memory get Exhausted, which is answered with 503,
        like the MemoryError of the caller that fetched.
        """
        together = threading.Barrier(5)
        failures: list[type[Exception]] = []

        def token(_request: Any) -> tuple[int, dict[str, str], str]:
            time.sleep(0.5)
            raise MemoryError

        def ask() -> None:
            together.wait()
            try:
                answered(gateway, {"www-authenticate": bearer()["WWW-Authenticate"]})
            except (MemoryError, Exhausted, RuntimeError) as exc:
                failures.append(type(exc))

        answers.add_callback("GET", TOKENS, token)
        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(failures, key=repr) == [MemoryError, *[Exhausted] * 4]

    def test_waiting_for_a_token_has_a_limit(self, answers: responses.RequestsMock, gateway: Gateway) -> None:
        """While a fetch hangs, a caller that waits for it gets Unreachable in time."""
        gateway.transport.document_seconds = 0.2
        begun, release = threading.Event(), threading.Event()

        def token(_request: Any) -> tuple[int, dict[str, str], str]:
            begun.set()
            release.wait(60)
            return 200, {}, '{"token": "abc"}'

        answers.add_callback("GET", TOKENS, token)
        headers = {"www-authenticate": bearer()["WWW-Authenticate"]}

        def fetch() -> None:
            with suppress(Unreachable):
                answered(gateway, headers)

        first = threading.Thread(target=fetch)
        first.start()
        begun.wait(60)
        with pytest.raises(Unreachable, match="issue a token in time"):
            answered(gateway, headers)
        release.set()
        first.join()


def test_secrets_are_in_no_event_and_no_repr(
    answers: responses.RequestsMock, make_session: MakeSession, gateway: Gateway, told: list[dict[str, Any]]
) -> None:
    """Neither passwords nor tokens."""
    server = TokenServer(answers)
    server.answer = {"token": "secret-token", "expires_in": 300}
    server.good = "secret-token".__eq__
    make_session().tags(REPOSITORY)
    events = [(fact["event"], fact["room"], fact["status"]) for fact in told]
    assert events == [
        ("registry call", "oci", 401),
        ("token asked for", "oci", 200),
        ("registry call", "oci", 200),
    ]
    assert "secret" not in repr(told)
    assert "secret" not in repr(dict(gateway.authenticator._tokens._tokens.items()))


class TestIdentityToken:
    """What `docker login` stores for some registries: the token server takes it in a form."""

    def test_the_token_server_alone_gets_it(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """By OAuth 2.0; the registry gets the token that it issues."""
        server = TokenServer(answers)
        forms: list[dict[str, str]] = []

        def exchange(request: Any) -> tuple[int, dict[str, str], str]:
            forms.append(dict(parse_qsl(request.body.decode())))
            assert "Authorization" not in request.headers
            return server.token(request)

        answers.add_callback("POST", TOKENS, exchange)
        assert make_session(IdentityToken("secret-word")).tags(REPOSITORY) == ("1.0",)
        (form,) = forms
        assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "secret-word")
        assert form["scope"] == f"{SCOPE}:pull"
        assert not any("secret-word" in (header or "") for header in sent(answers))

    def test_its_tokens_are_not_those_of_strangers(
        self, answers: responses.RequestsMock, make_gateway: MakeGateway
    ) -> None:
        """Two identity tokens and an anonymous caller share nothing."""
        keys = {fingerprint(each, b"key") for each in (IdentityToken("a"), IdentityToken("b"), Anonymous())}
        assert len(keys) == 3

    def test_a_refusal_does_not_show_it(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """Some token servers repeat what they were given."""
        TokenServer(answers)
        answers.add("POST", TOKENS, status=401, body="no such token: secret-word")
        with pytest.raises(Unauthorized) as caught:
            make_session(IdentityToken("secret-word")).tags(REPOSITORY)
        assert "secret-word" not in str(caught.value)
