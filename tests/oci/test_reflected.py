"""A registry that repeats a caller's credentials: they are in no message and no log."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest

from pyoci.errors import PyOCIError
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Basic, Bearer, Credentials, secrets_of, without
from pyoci.oci.references import Digest, Registry, Repository, Tag
from pyoci.oci.session import Gateway, OCISession
from tests.net.servers import Connection, Server, answer

PASSWORD = "pass/word+of=this&test"
TOKEN = "token-of-this-test/abc+def=="
PAIR = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
SECRETS = (PASSWORD, PAIR, PAIR.rstrip("="), TOKEN, TOKEN.rstrip("="))


def reflecting(status: str, spell: Callable[[str], str], *headers: str) -> Callable[[Connection], None]:
    """The answer to an Authorization repeats it in the body, as `spell` writes it, and in these headers."""

    def handle(connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            found = re.search(r"\r\nauthorization: (.*)\r\n", head.decode("latin-1"), re.IGNORECASE)
            if found is None:
                connection.send(answer(b"", "401 Unauthorized", "WWW-Authenticate: Basic"))
            elif head.startswith(b"HEAD"):
                connection.send(answer(b"", "404 Not Found"))
            else:
                entry = {"code": "DENIED", "message": f"you sent {spell(found[1])}, which is wrong"}
                body = json.dumps({"errors": [entry]}).encode()
                told = (each.format(quote(found[1], safe="")) for each in headers)
                connection.send(answer(body, status, *told))

    return handle


def as_it_is(header: str) -> str:
    return header


def decoded(header: str) -> str:
    scheme, _, value = header.partition(" ")
    return base64.b64decode(value).decode() if scheme == "Basic" else value


def encoded(header: str) -> str:
    return quote(header, safe="")


def far_down(header: str) -> str:
    """At a position where the message is cut in the middle of it."""
    return "x" * 170 + header


@pytest.mark.parametrize("spell", [as_it_is, decoded, encoded, far_down])
@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "500 Broken"])
@pytest.mark.parametrize("caller", [Basic("somebody", PASSWORD), Bearer(TOKEN)], ids=["basic", "bearer"])
def test_credentials_in_an_error_are_masked(
    caller: Credentials, status: str, spell: Callable[[str], str]
) -> None:
    """The other words of the error are passed on, except if they come from a token server that a caller could
    name.
    """
    handler = reflecting(status, spell, 'WWW-Authenticate: Bearer realm="{}"')
    message, events = asked(handler, caller)
    assert "you sent " in message or (status.startswith("401") and isinstance(caller, Basic))
    assert [secret for secret in SECRETS if secret[:12] in message + events] == []


@pytest.mark.parametrize("caller", [Basic("somebody", PASSWORD), Bearer(TOKEN)], ids=["basic", "bearer"])
@pytest.mark.parametrize(
    "location", ["/v2/{0}/blobs", "/v2/?{0}", "http://{0}.example/", "http://{0}@127.0.0.1/", "{0}"]
)
def test_credentials_in_a_location_are_masked(caller: Credentials, location: str) -> None:
    """At any host."""
    handler = reflecting("202 Accepted", as_it_is, f"Location: {location}")
    message, events = asked(handler, caller, publishing=True)
    spelled = (*SECRETS, *(quote(secret, safe="") for secret in SECRETS))
    assert [secret for secret in spelled if secret in message + events] == []


def pushed(session: OCISession, repository: Repository) -> None:
    session.push_blob(repository, io.BytesIO(b"x"), 1, Digest("sha256", sha256(b"x").hexdigest()))


def asked(
    handler: Callable[[Connection], None], caller: Credentials, *, publishing: bool = False
) -> tuple[str, str]:
    """The messages and log lines for a caller who reads or pushes there."""
    heard: list[dict[str, Any]] = []
    transport = Transport(sleep=lambda _: None)
    with Server(handler) as server:
        registry = Registry.parse(server.url, listed=True)
        gateway = Gateway(transport, ttl=60, events=Events(lambda event, **facts: heard.append(facts)))
        session = gateway.session(registry, caller, publishing=publishing)
        repository = Repository.parse(registry, "acme/hello_world")
        with pytest.raises(PyOCIError) as caught:
            pushed(session, repository) if publishing else session.pull(repository, Tag.parse("1.0"))
    transport.close()
    return caught.value.message, str(heard)


def test_short_passwords_are_not_masked() -> None:
    """They occur in ordinary words, and masking those would reveal them."""
    assert without(secrets_of(Basic("me", "a").header()), "a password") == "a password"
    assert without(secrets_of(None), "a password") == "a password"
