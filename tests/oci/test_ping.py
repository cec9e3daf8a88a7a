"""Ping: whose 404 says that something isn't there."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import requests
import responses

from pyoci.errors import ProtocolError, Unauthorized, Unreachable
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.ping import grants
from tests.oci.conftest import (
    BASE,
    REPOSITORY,
    TOKENS,
    Clock,
    MakeGateway,
    MakeSession,
    bearer,
    trips,
)

DOOR = "https://registry.example/v2/"
TAGS = re.compile(re.escape(f"{BASE}/tags/list"))
SOMEBODY = Basic("user", "secret")
IMPOSTOR = Basic("user", "wrong")
NAMED = "repository:acme/hello_world:pull"


def make_jwt(**claims: Any) -> str:
    """A token as the distribution specification has them; nobody verifies this one."""
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2ln"])


def make_access(name: str = "acme/hello_world", *actions: str) -> dict[str, Any]:
    return {"type": "repository", "name": name, "actions": list(actions or ("pull",))}


def unknown(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
    return 404, {}, '{"errors": [{"code": "NAME_UNKNOWN"}]}'


def guard(challenge: str, *accepted: str | None) -> Any:
    """An answer that lets in who comes with one of these, and challenges everybody else."""

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if request.headers.get("Authorization") in accepted:
            return unknown(request) if "tags" in str(request.url) else (200, {}, "{}")
        return 401, {"WWW-Authenticate": challenge}, ""

    return answer


def is_accepted(make_session: MakeSession, caller: Credentials) -> bool:
    """What the session says after the registry has said that the repository is unknown."""
    session = make_session(caller)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    return session.is_accepted(REPOSITORY)


@pytest.mark.parametrize("caller", [Anonymous(), SOMEBODY, Bearer("t")], ids=["nobody", "basic", "bearer"])
def test_an_open_door_knows_everybody(
    answers: responses.RequestsMock, make_session: MakeSession, caller: Credentials
) -> None:
    """Who lets strangers in has nothing to hide from them."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(DOOR, json={})
    assert is_accepted(make_session, caller)


@pytest.mark.parametrize("status", [401, 403, 404, 302, 204])
def test_behind_another_door_strangers_are_unknown(
    answers: responses.RequestsMock, make_session: MakeSession, status: int
) -> None:
    """A registry may say 404 to hide what it has."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(DOOR, status=status)
    assert not is_accepted(make_session, Anonymous())


@pytest.mark.parametrize(("caller", "expected"), [(SOMEBODY, True), (IMPOSTOR, False)])
def test_a_registry_that_never_challenges_reads_is_asked_at_its_door(
    answers: responses.RequestsMock, make_session: MakeSession, caller: Basic, expected: bool
) -> None:
    """It answers a wrong password as it answers a stranger: with a 404."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", DOOR, guard('Basic realm="x"', SOMEBODY.header()))
    assert is_accepted(make_session, caller) is expected


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_stranger_who_was_told_so_is_not_the_caller(
    answers: responses.RequestsMock, make_session: MakeSession, status: int
) -> None:
    """The door didn't ask for credentials, so none were shown; a moment later it would have known them."""
    answers.add_callback("GET", TAGS, unknown)
    door = answers.get(DOOR, status=status)
    session = make_session(SOMEBODY)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    answers.remove(door)
    answers.add_callback("GET", DOOR, guard('Basic realm="x"', SOMEBODY.header()))
    assert not session.is_accepted(REPOSITORY)
    assert is_accepted(make_session, SOMEBODY)


@pytest.mark.parametrize(("caller", "expected"), [(Bearer("good"), True), (Bearer("bad"), False)])
def test_a_token_of_the_callers_own_is_shown_at_the_door(
    answers: responses.RequestsMock, make_session: MakeSession, caller: Bearer, expected: bool
) -> None:
    """Nobody here knows who issued it."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", DOOR, guard('Bearer realm="x"', "Bearer good"))
    assert is_accepted(make_session, caller) is expected


def test_a_door_that_falters_is_asked_again(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """For a moment nobody can say who is known, which is an error; it is not remembered for a minute."""
    answers.add_callback("GET", TAGS, unknown)
    door = answers.get(DOOR, status=503)
    with pytest.raises(ProtocolError, match="answered 503 when asked to accept the caller"):
        is_accepted(make_session, Bearer("good"))
    answers.remove(door)
    answers.add_callback("GET", DOOR, guard('Bearer realm="x"', "Bearer good"))
    assert is_accepted(make_session, Bearer("good"))


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (make_jwt(access=[make_access()]), True),
        (make_jwt(access=[make_access("acme/other")]), False),
    ],
)
def test_a_token_of_the_callers_own_may_be_for_something_else(
    answers: responses.RequestsMock, make_session: MakeSession, token: str, expected: bool
) -> None:
    """The door lets it in, and what it may not see is hidden from it."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", DOOR, guard('Bearer realm="x"', f"Bearer {token}"))
    assert is_accepted(make_session, Bearer(token)) is expected


def test_who_could_not_introduce_himself_is_a_stranger(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """The door failed when the 404 came, which went to nobody in particular; it opens a moment later."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(DOOR, body=requests.ConnectionError("gone"))
    session = make_session(SOMEBODY)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    answers.remove("GET", DOOR)
    answers.add_callback("GET", DOOR, guard('Basic realm="x"', SOMEBODY.header()))
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
def test_a_token_speaks_for_who_fetched_it(
    answers: responses.RequestsMock, make_session: MakeSession, token: str, expected: bool
) -> None:
    """Unless it says itself that it is good for less: to who may not see a repository some endpoints give
    one without it.
    """
    accepting = guard(bearer()["WWW-Authenticate"], f"Bearer {token}")
    answers.add_callback("GET", TAGS, accepting)
    answers.add_callback("GET", DOOR, accepting)
    answers.get(TOKENS, json={"token": token})
    assert is_accepted(make_session, SOMEBODY) is expected


def test_strangers_with_a_token_are_strangers(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """ghcr.io gives everybody a token, and hides private packages behind a 404."""
    accepting = guard(bearer()["WWW-Authenticate"], "Bearer opaque")
    answers.add_callback("GET", TAGS, accepting)
    answers.add_callback("GET", DOOR, accepting)
    answers.get(TOKENS, json={"token": "opaque"})
    assert not is_accepted(make_session, Anonymous())


def test_what_can_not_be_asked_is_an_error(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """A registry that dies between two answers has said nothing."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(DOOR, body=requests.ConnectionError("gone"))
    with pytest.raises(Unreachable):
        is_accepted(make_session, Anonymous())


def test_a_token_that_ran_out_is_asked_for_again(
    answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
) -> None:
    """Who is refused then is not known any more."""
    accepting = guard(bearer()["WWW-Authenticate"], "Bearer opaque")
    answers.add_callback("GET", TAGS, accepting)
    answers.add_callback("GET", DOOR, accepting)
    answers.get(TOKENS, json={"token": "opaque"})
    session = make_session(SOMEBODY)
    with pytest.raises(RegistryNotFound):
        session.tags(REPOSITORY)
    clock.now += 100
    answers.replace("GET", TOKENS, status=401)
    with pytest.raises(Unauthorized):
        session.is_accepted(REPOSITORY)


def test_a_door_is_asked_once_a_minute(
    answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
) -> None:
    """pip asks for each of a hundred names."""
    answers.add_callback("GET", TAGS, unknown)
    answers.get(DOOR, json={})
    for seconds in (0, 30, 31):
        clock.now += seconds
        for caller in (Anonymous(), SOMEBODY):
            assert is_accepted(make_session, caller)
    assert trips(answers).count("GET https://registry.example/v2/") == 2


@pytest.mark.parametrize("caller", [SOMEBODY, Bearer("good")], ids=["basic", "bearer"])
def test_who_was_let_in_at_the_door_counts_for_the_time_to_live(
    answers: responses.RequestsMock, make_gateway: MakeGateway, clock: Clock, caller: Credentials
) -> None:
    """An absence rests on it as well: it lasts no longer, however late the registry was asked for it."""
    letting_in = guard('Basic realm="x"', caller.header())
    answers.add_callback("GET", TAGS, letting_in)
    answers.add_callback("GET", DOOR, letting_in)
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
    answers.replace("GET", DOOR, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    assert absent_for() == -1


@pytest.mark.parametrize("caller", [Anonymous(), Bearer("good")], ids=["open", "bearer"])
def test_without_time_to_live_the_door_is_asked_each_time(
    answers: responses.RequestsMock, make_gateway: MakeGateway, caller: Credentials
) -> None:
    """What it said counts for the request that asked."""
    answers.add_callback("GET", TAGS, unknown)
    answers.add_callback("GET", DOOR, guard('Bearer realm="x"', caller.header()))
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
def test_what_is_no_jwt_tells_nothing(token: str) -> None:
    """A token is for the registry to read; other shapes are none of our business."""
    assert grants(token, "acme/hello_world")
