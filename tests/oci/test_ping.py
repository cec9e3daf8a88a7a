"""Ping: which callers a registry has accepted, so that its 404 to them means an absence."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import requests
import responses

from pyoci.errors import ProtocolError, PyOCIError, Unauthorized, Unreachable
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.ping import grants
from pyoci.oci.session import Gateway
from tests.clock import Clock
from tests.oci.conftest import (
    BASE,
    REGISTRY,
    REPOSITORY,
    TOKENS,
    MakeGateway,
    MakeSession,
    bearer,
    sent,
    trips,
)

PING = "https://registry.example/v2/"
TAGS = re.compile(re.escape(f"{BASE}/tags/list"))
SOMEBODY = Basic("user", "secret")
IMPOSTOR = Basic("user", "wrong")
NAMED = "repository:acme/hello_world:pull"


def make_jwt(**claims: Any) -> str:
    """A token in the form of the distribution specification. It is never verified."""
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2ln"])


def make_access(name: str = "acme/hello_world", *actions: str) -> dict[str, Any]:
    return {"type": "repository", "name": name, "actions": list(actions or ("pull",))}


def unknown(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
    return 404, {}, '{"errors": [{"code": "NAME_UNKNOWN"}]}'


def guard(challenge: str, *accepted: str | None) -> Any:
    """An answer that accepts these Authorizations, and challenges all other callers."""

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if request.headers.get("Authorization") in accepted:
            return unknown(request) if "tags" in str(request.url) else (200, {}, "{}")
        return 401, {"WWW-Authenticate": challenge}, ""

    return answer


def is_accepted(make_session: MakeSession, caller: Credentials) -> bool:
    """The session's result after the registry has answered 404."""
    session = make_session(caller)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    return session.is_accepted(REPOSITORY)


@pytest.mark.parametrize("caller", [Anonymous(), SOMEBODY, Bearer("t")], ids=["nobody", "basic", "bearer"])
def test_a_registry_that_accepts_anonymous_callers_accepts_all(
    answers: responses.RequestsMock, make_session: MakeSession, caller: Credentials
) -> None:
    """Such a registry hides nothing, so its 404 means an absence."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(PING, json={})
    assert is_accepted(make_session, caller)


class TestChallengeWithA200:
    """zot's, where strangers may read a part of what it has."""

    LIST = re.compile("https://registry.example/v2/_catalog")

    def test_is_answered_for_the_list_of_repositories(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """Each caller gets the list for their own credentials, which are sent at once from then on."""
        answers.get(PING, headers={"WWW-Authenticate": "basic realm="})
        answers.add_callback("GET", self.LIST, lambda request: (200, {}, seen_by(request)))
        for caller, expected in ((Anonymous(), ("open/x",)), (SOMEBODY, ("open/x", "team/y"))):
            for _ in range(2):
                assert make_session(caller).repositories() == expected
        assert sent(answers) == [None, None, None, None, SOMEBODY.header(), SOMEBODY.header()]

    def test_with_a_token_server(self, answers: responses.RequestsMock, make_session: MakeSession) -> None:
        """The password goes to the token server, and the token to the registry."""
        answers.get(PING, headers={"WWW-Authenticate": f"bearer realm={TOKENS}"})
        answers.get(TOKENS, json={"token": "abc"})
        answers.add_callback("GET", self.LIST, lambda request: (200, {}, seen_by(request)))
        assert make_session(SOMEBODY).repositories() == ("open/x", "team/y")
        assert sent(answers) == [None, None, SOMEBODY.header(), "Bearer abc"]

    @pytest.mark.parametrize(
        "realm", ["http://127.0.0.1/token", "http://private.example/token", "gopher://x"]
    )
    def test_names_no_place_that_gets_a_password(
        self, answers: responses.RequestsMock, make_session: MakeSession, realm: str
    ) -> None:
        """Realms are checked as in a 401. Nobody gets half a list as if it were whole."""
        answers.get(PING, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
        answers.get(self.LIST, json={"repositories": ["open/x"]})
        with pytest.raises(PyOCIError):
            make_session(SOMEBODY).repositories()
        assert sent(answers) == [None, None]

    def test_of_a_token_server_is_for_the_list_alone(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """What strangers may not read is a 401 there, so a 404 costs no token."""
        answers.get(PING, headers={"WWW-Authenticate": f"bearer realm={TOKENS}"})
        answers.add_callback("GET", TAGS, unknown)
        assert is_accepted(make_session, SOMEBODY)
        assert sent(answers) == [None, None]

    def test_a_wrong_password_is_told(
        self, answers: responses.RequestsMock, make_session: MakeSession
    ) -> None:
        """Also where a stranger gets a 404: a client would go on to the next package index."""
        answers.get(PING, headers={"WWW-Authenticate": "basic realm="})
        answers.add_callback("GET", TAGS, lambda request: refused_if_wrong(request) or unknown(request))
        assert is_accepted(make_session, SOMEBODY)
        with pytest.raises(Unauthorized):
            make_session(IMPOSTOR).tags(REPOSITORY)


def refused_if_wrong(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str] | None:
    wrong = request.headers.get("Authorization") == IMPOSTOR.header()
    return (401, {"WWW-Authenticate": 'Basic realm="zot"'}, "") if wrong else None


def seen_by(request: requests.PreparedRequest) -> str:
    """The list of repositories for whoever sent a request."""
    names = ["open/x", "team/y"] if "Authorization" in request.headers else ["open/x"]
    return json.dumps({"repositories": names})


@pytest.mark.parametrize("status", [401, 403, 404, 302, 204])
def test_other_registries_accept_no_anonymous_caller(
    answers: responses.RequestsMock, make_session: MakeSession, status: int
) -> None:
    """Their 404 may hide a repository."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(PING, status=status)
    assert not is_accepted(make_session, Anonymous())


@pytest.mark.parametrize(("caller", "expected"), [(SOMEBODY, True), (IMPOSTOR, False)])
def test_a_registry_that_never_challenges_reads_is_pinged(
    answers: responses.RequestsMock, make_session: MakeSession, caller: Basic, expected: bool
) -> None:
    """It answers 404 to wrong credentials, and to none."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", PING, guard('Basic realm="x"', SOMEBODY.header()))
    assert is_accepted(make_session, caller) is expected


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_404_to_an_anonymous_request_is_not_one_to_the_caller(
    answers: responses.RequestsMock, make_session: MakeSession, status: int
) -> None:
    """The first ping had no challenge, so no credentials were sent. Later the registry would have accepted
    them.
    """
    answers.add_callback("GET", TAGS, unknown)
    ping = answers.get(PING, status=status)
    session = make_session(SOMEBODY)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    answers.remove(ping)
    answers.add_callback("GET", PING, guard('Basic realm="x"', SOMEBODY.header()))
    assert not session.is_accepted(REPOSITORY)
    assert is_accepted(make_session, SOMEBODY)


@pytest.mark.parametrize(("caller", "expected"), [(Bearer("good"), True), (Bearer("bad"), False)])
def test_the_callers_own_token_is_sent_with_the_ping(
    answers: responses.RequestsMock, make_session: MakeSession, caller: Bearer, expected: bool
) -> None:
    """Its issuer is unknown, so only the registry can tell whether it is valid."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", PING, guard('Bearer realm="x"', "Bearer good"))
    assert is_accepted(make_session, caller) is expected


def test_a_failed_ping_is_not_remembered(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """It is an error for this request, and the next request pings again."""
    answers.add_callback("GET", TAGS, unknown)
    ping = answers.get(PING, status=503)
    with pytest.raises(ProtocolError, match="answered 503 when asked to accept the caller"):
        is_accepted(make_session, Bearer("good"))
    answers.remove(ping)
    answers.add_callback("GET", PING, guard('Bearer realm="x"', "Bearer good"))
    assert is_accepted(make_session, Bearer("good"))


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (make_jwt(access=[make_access()]), True),
        (make_jwt(access=[make_access("acme/other")]), False),
    ],
)
def test_the_callers_own_token_may_be_for_another_repository(
    answers: responses.RequestsMock, make_session: MakeSession, token: str, expected: bool
) -> None:
    """The registry accepts it at /v2/, and still hides other repositories from it."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", PING, guard('Bearer realm="x"', f"Bearer {token}"))
    assert is_accepted(make_session, Bearer(token)) is expected


def test_a_caller_whose_ping_failed_stays_anonymous(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """The ping failed before the 404, so the request was anonymous, although a later ping succeeds."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(PING, body=requests.ConnectionError("gone"))
    session = make_session(SOMEBODY)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    answers.remove("GET", PING)
    answers.add_callback("GET", PING, guard('Basic realm="x"', SOMEBODY.header()))
    assert not session.is_accepted(REPOSITORY)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("opaque", True),
        ("two.dots.only", True),
        (make_jwt(sub="user"), True),
        (make_jwt(access=[make_access()]), True),
        (make_jwt(access=[make_access("acme/other"), make_access("acme/hello_world", "*")]), True),
        (make_jwt(access=[]), False),
        (make_jwt(access=[make_access("acme/other")]), False),
        (make_jwt(access=[make_access("acme/hello_world", "push")]), False),
        (make_jwt(access=["acme/hello_world", {"name": "acme/hello_world", "actions": None}]), False),
    ],
)
def test_a_token_for_the_scope_shows_that_the_caller_is_accepted(
    answers: responses.RequestsMock, make_session: MakeSession, token: str, expected: bool
) -> None:
    """Unless its claims lack the scope: some token servers issue such tokens to callers without the right."""
    accepting = guard(bearer()["WWW-Authenticate"], f"Bearer {token}")
    answers.add_callback("GET", TAGS, accepting)
    answers.add_callback("GET", PING, accepting)
    answers.get(TOKENS, json={"token": token})
    assert is_accepted(make_session, SOMEBODY) is expected


class TestKnownCaller:
    """Whether a registry knows a caller, whatever they may read."""

    BASIC = 'Basic realm="x"'

    @pytest.mark.parametrize(
        ("caller", "expected"),
        [
            (Anonymous(), False),
            (SOMEBODY, True),
            (IMPOSTOR, False),
            (Bearer("t"), True),
            (Bearer("u"), False),
        ],
        ids=["nobody", "password", "wrong password", "token", "wrong token"],
    )
    def test_by_the_ping(
        self, answers: responses.RequestsMock, gateway: Gateway, caller: Credentials, expected: bool
    ) -> None:
        """The registry accepts the credentials at `/v2/`."""
        answers.add_callback("GET", PING, guard(self.BASIC, SOMEBODY.header(), "Bearer t"))
        assert gateway.knows(REGISTRY, caller) is expected

    def test_by_its_token_server(self, answers: responses.RequestsMock, gateway: Gateway) -> None:
        """A token without a scope is enough. A refusal is raised, and an anonymous token shows nothing."""
        answers.add_callback("GET", PING, guard(bearer()["WWW-Authenticate"]))
        answers.get(TOKENS, json={"token": make_jwt(access=[])})
        assert not gateway.knows(REGISTRY, Anonymous())
        assert gateway.knows(REGISTRY, SOMEBODY)
        answers.replace("GET", TOKENS, status=401)
        with pytest.raises(Unauthorized):
            gateway.knows(REGISTRY, IMPOSTOR)

    @pytest.mark.parametrize("caller", [Anonymous(), IMPOSTOR])
    def test_everybody(self, answers: responses.RequestsMock, gateway: Gateway, caller: Credentials) -> None:
        """A registry that lets everybody in knows everybody."""
        answers.get(PING, json={})
        assert gateway.knows(REGISTRY, caller)

    def test_a_registry_that_is_down(self, answers: responses.RequestsMock, gateway: Gateway) -> None:
        """It knows nobody, and says so with an error."""
        answers.get(PING, status=503)
        with pytest.raises(PyOCIError):
            gateway.knows(REGISTRY, SOMEBODY)


def test_an_anonymous_token_shows_nothing(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """ghcr.io issues a token to everybody, and answers 404 for private packages."""
    accepting = guard(bearer()["WWW-Authenticate"], "Bearer opaque")
    answers.add_callback("GET", TAGS, accepting)
    answers.add_callback("GET", PING, accepting)
    answers.get(TOKENS, json={"token": "opaque"})
    assert not is_accepted(make_session, Anonymous())


def test_a_registry_that_can_not_be_reached_is_an_error(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """A registry that goes down between two answers has accepted nobody."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(PING, body=requests.ConnectionError("gone"))
    with pytest.raises(Unreachable):
        is_accepted(make_session, Anonymous())


def test_an_expired_token_is_requested_again(
    answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
) -> None:
    """A caller that the token server then refuses is no longer accepted."""
    accepting = guard(bearer()["WWW-Authenticate"], "Bearer opaque")
    answers.add_callback("GET", TAGS, accepting)
    answers.add_callback("GET", PING, accepting)
    answers.get(TOKENS, json={"token": "opaque"})
    session = make_session(SOMEBODY)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    clock.now += 100
    answers.replace("GET", TOKENS, status=401)
    with pytest.raises(Unauthorized):
        session.is_accepted(REPOSITORY)


def test_a_registry_is_pinged_once_a_minute(
    answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
) -> None:
    """pip may request a hundred projects at once."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(PING, json={})
    for seconds in (0, 30, 31):
        clock.now += seconds
        for caller in (Anonymous(), SOMEBODY):
            assert is_accepted(make_session, caller)
    assert trips(answers).count("GET https://registry.example/v2/") == 2


@pytest.mark.parametrize("caller", [SOMEBODY, Bearer("good")], ids=["basic", "bearer"])
def test_an_accepted_ping_counts_for_the_time_to_live(
    answers: responses.RequestsMock, make_gateway: MakeGateway, clock: Clock, caller: Credentials
) -> None:
    """An absence counts no longer than the ping that it relies on."""
    accepting = guard('Basic realm="x"', caller.header())
    answers.add_callback("GET", TAGS, accepting)
    answers.add_callback("GET", PING, accepting)
    gateway = make_gateway(ttl=30)

    def absent_for() -> float:
        session = gateway.session(REPOSITORY.registry, caller)
        with pytest.raises(RegistryNotFound):
            session.tags(REPOSITORY)
        return session.trusted_seconds(REPOSITORY) if session.is_accepted(REPOSITORY) else -1

    assert absent_for() == 30
    clock.now += 20
    assert absent_for() == 10
    clock.now += 10
    answers.replace("GET", PING, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    assert absent_for() == -1


@pytest.mark.parametrize("caller", [Anonymous(), Bearer("good")], ids=["open", "bearer"])
def test_without_time_to_live_each_request_pings(
    answers: responses.RequestsMock, make_gateway: MakeGateway, caller: Credentials
) -> None:
    """An answer counts only for the request that pinged."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", PING, guard('Bearer realm="x"', caller.header()))
    gateway = make_gateway(ttl=0)
    for _ in range(2):
        session = gateway.session(REPOSITORY.registry, caller)
        with pytest.raises(RegistryNotFound):
            session.tags(REPOSITORY)
        assert session.is_accepted(REPOSITORY)
        assert session.trusted_seconds(REPOSITORY) == 0
    asked = trips(answers)
    assert asked[len(asked) // 2 :] == asked[: len(asked) // 2]


@pytest.mark.parametrize("token", ["a.b.c", "a.bm8.c", "a.W10.c", "a.ew.c", "a.é.c", f"a.{'W1tb' * 9999}.c"])
def test_a_token_that_is_no_jwt_has_no_claims(token: str) -> None:
    """Tokens of other shapes are opaque, and may give any right."""
    assert grants(token, "acme/hello_world")
