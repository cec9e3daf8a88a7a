"""Redirects of blobs: they are followed without credentials, and never to a private network."""

from __future__ import annotations

import pytest
import responses

from pyoci.errors import Denied, ProtocolError, PyOCIError, Unauthorized, Unreachable
from pyoci.net.adapters import Proxies
from pyoci.net.addresses import Resolver
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Basic
from pyoci.oci.references import Registry, Repository
from pyoci.oci.session import Gateway, OCISession
from tests.oci.conftest import (
    BASE,
    REPOSITORY,
    SOMEBODY,
    TOKENS,
    MakeSession,
    bearer,
    lookup,
    sent,
    sha256,
    trips,
)

BLOB = b"0123456789" * 10
DIGEST = sha256(BLOB)
URL = f"{BASE}/blobs/{DIGEST}"
STORAGE = "https://storage.example/data?sig=a%2Fb%3D&se=1"


def to(location: str) -> dict[str, str]:
    return {"Location": location}


def read(session: OCISession, span: range | None = None) -> bytes:
    return b"".join(session.open_blob(REPOSITORY, DIGEST, span).pieces)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(answers: responses.RequestsMock, session: OCISession, status: int) -> None:
    """The bytes are passed on and verified. The signed query isn't changed."""
    answers.get(URL, status=status, headers=to(STORAGE))
    answers.get(STORAGE, body=BLOB)
    assert read(session) == BLOB
    assert answers.calls[-1].request.url == STORAGE


def test_redirect_is_followed_without_credentials(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """Azure's storage refuses an Authorization header, and no storage host may see one."""
    answers.get(TOKENS, json={"token": "abc"})
    answers.get(URL, status=401, headers=bearer())
    answers.get(URL, status=307, headers=to(STORAGE))
    answers.get(STORAGE, body=BLOB)
    assert read(make_session()) == BLOB
    assert sent(answers) == [None, SOMEBODY.header(), "Bearer abc", None]


def test_a_401_from_elsewhere_is_not_answered(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """A storage host that requests a token gets none. Its refusal says nothing about the caller."""
    answers.get(URL, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    answers.get(URL, status=307, headers=to(STORAGE))
    answers.get(STORAGE, status=401, headers=bearer() | {"X": "y"})
    answers.get(STORAGE, status=401, headers={"WWW-Authenticate": "Basic"})
    with pytest.raises(ProtocolError, match="answered 401") as caught:
        read(make_session())
    assert not isinstance(caught.value, Unauthorized)
    assert sent(answers) == [None, SOMEBODY.header(), None]


@pytest.mark.parametrize("status", [400, 403])
def test_403_of_a_storage_host_is_not_a_denial(
    answers: responses.RequestsMock, session: OCISession, status: int
) -> None:
    """uv would treat a 403 as missing rights of the caller."""
    answers.get(URL, status=307, headers=to(STORAGE))
    answers.get(STORAGE, status=status)
    with pytest.raises(ProtocolError) as caught:
        read(session)
    assert not isinstance(caught.value, Denied)


def test_redirect_at_the_registry_keeps_the_token(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """It leads to the registry's own origin."""
    answers.get(URL, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    answers.get(URL, status=307, headers=to("/v2/other/place?a=b"))
    answers.get("https://registry.example/v2/other/place", body=BLOB)
    assert read(make_session()) == BLOB
    assert sent(answers) == [None, SOMEBODY.header(), SOMEBODY.header()]


def test_a_redirect_back_gets_no_credentials(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """A storage host must not use the caller's rights at the registry."""
    answers.get(URL, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    answers.get(URL, status=307, headers=to(STORAGE))
    answers.get(STORAGE, status=307, headers=to("https://registry.example/v2/private"))
    answers.get("https://registry.example/v2/private", body=BLOB)
    assert read(make_session()) == BLOB
    assert sent(answers) == [None, SOMEBODY.header(), None, None]


def test_range_is_sent_to_the_storage_host(answers: responses.RequestsMock, session: OCISession) -> None:
    """It is asked for the same bytes."""
    answers.get(URL, status=307, headers=to(STORAGE))
    answers.get(STORAGE, body=BLOB[5:15], status=206, headers={"Content-Range": "bytes 5-14/100"})
    assert read(session, range(5, 15)) == BLOB[5:15]
    assert answers.calls[-1].request.headers["Range"] == "bytes=5-14"


def test_relative_redirect_is_resolved_at_its_own_host(
    answers: responses.RequestsMock, session: OCISession
) -> None:
    """If the storage host sends it, it leads to the storage host."""
    answers.get(URL, status=307, headers=to(STORAGE))
    answers.get(STORAGE, status=302, headers=to("../other?b"))
    answers.get("https://storage.example/other?b", body=BLOB)
    assert read(session) == BLOB


@pytest.mark.parametrize("length", [1, 2, 3])
def test_redirects_have_a_limit(answers: responses.RequestsMock, session: OCISession, length: int) -> None:
    """Five redirects are followed."""
    places = [URL, *(f"https://s{number}.example/" for number in range(1, length))]
    for here, there in zip(places, [*places[1:], URL], strict=True):
        answers.get(here, status=307, headers=to(there))
    with pytest.raises(ProtocolError, match="answered 307"):
        read(session)
    assert len(answers.calls) == 6


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("", id="nowhere"),
        pytest.param("http://storage.example/data", id="plain http"),
        pytest.param("ftp://storage.example/data", id="ftp"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("embedded://local/v2/", id="our own registry"),
        pytest.param("https://user:secret@storage.example/", id="user info"),
        pytest.param("https://storage.example:0/", id="port 0"),
        pytest.param("https://storage.example:99999/", id="port too high"),
        pytest.param("https://[::1/", id="half an address"),
        pytest.param("https://a b.example/", id="space"),
        pytest.param("https://evil.example\\@storage.example/", id="backslash"),
        pytest.param("https://müller.example/", id="not ASCII"),
        pytest.param("javascript:alert(1)", id="script"),
    ],
)
def test_unusable_redirect_is_a_protocol_error(
    answers: responses.RequestsMock, session: OCISession, location: str
) -> None:
    """From https to plain http, or to another scheme; no further request is sent."""
    answers.get(URL, status=307, headers=to(location))
    with pytest.raises(ProtocolError, match="redirect") as caught:
        read(session)
    assert "secret" not in caught.value.message
    assert len(answers.calls) == 1


def test_an_unlisted_registry_names_no_other_port(
    answers: responses.RequestsMock, session: OCISession
) -> None:
    """Another port is refused before the name is looked up. A listed registry may name any port."""
    answers.get(URL, status=307, headers=to("https://storage.example:8443/data"))
    with pytest.raises(ProtocolError, match="redirect at another port than 443"):
        read(session)
    assert len(answers.calls) == 1


@pytest.mark.parametrize(
    ("registry", "listed", "location", "kind"),
    [
        pytest.param(
            "https://registry.example", False, "https://private.example/", Unreachable, id="private name"
        ),
        pytest.param(
            "https://registry.example", False, "https://10.0.0.1/", Unreachable, id="private address"
        ),
        pytest.param(
            "https://registry.example", False, "https://169.254.169.254/", Unreachable, id="metadata"
        ),
        pytest.param(
            "https://registry.example", False, "https://[::ffff:127.0.0.1]/", Unreachable, id="mapped"
        ),
        pytest.param("https://registry.example", False, "https://localhost/", Unreachable, id="localhost"),
        pytest.param(
            "https://registry.example", True, "https://private.example/", Denied, id="listed, public"
        ),
        pytest.param(
            "https://private.example", True, "https://169.254.169.254/", Denied, id="listed, private"
        ),
        pytest.param("http://private.example", True, "http://[fe80::1]/", Denied, id="link-local"),
    ],
)
def test_no_redirect_leads_into_the_private_network(
    answers: responses.RequestsMock, registry: str, listed: bool, location: str, kind: type[PyOCIError]
) -> None:
    """The address is checked on connecting: only a private registry may name private hosts, and not even that
    one may name cloud metadata.
    """

    def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "localhost" else lookup(host, port)

    named = Registry.parse(registry, listed=listed)
    repository = Repository.parse(named, "acme/hello_world")
    answers.get(repository.url(f"blobs/{DIGEST}"), status=307, headers=to(location))
    answers.add_passthru(location)
    transport = Transport(resolver=Resolver(resolve))
    session = Gateway(transport, ttl=60).session(named, SOMEBODY)
    with pytest.raises(kind, match="PYOCI_REGISTRIES"):
        session.open_blob(repository, DIGEST)
    transport.close()


def test_private_registry_may_name_private_hosts(answers: responses.RequestsMock) -> None:
    """A listed registry in a private network redirects to its storage there, also by http."""
    named = Registry.parse("http://private.example:5000", listed=True)
    repository = Repository.parse(named, "acme/hello_world")
    answers.get(
        repository.url(f"blobs/{DIGEST}"), status=307, headers=to("http://private-storage.example:9000/b")
    )
    answers.get("http://private-storage.example:9000/b", body=BLOB)
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return lookup(host, port)

    transport = Transport(resolver=Resolver(resolve))
    session = Gateway(transport, ttl=60).session(named, SOMEBODY)
    for _ in range(3):
        assert b"".join(session.open_blob(repository, DIGEST).pieces) == BLOB
    assert asked == ["private.example"], "that it is private is remembered for a while"
    transport.close()


def test_a_listed_registrys_storage_is_reached_through_the_proxy(answers: responses.RequestsMock) -> None:
    """Hosts that a listed registry names are reached through the proxy; those of an unlisted one aren't."""
    answers.get(URL, status=307, headers=to(STORAGE))
    answers.get(STORAGE, body=BLOB)
    transport = Transport(resolver=Resolver(lookup), proxies=Proxies({"https": "http://proxy:3128"}))
    gateway = Gateway(transport, ttl=60)
    listed = Repository.parse(Registry.parse("registry.example", listed=True), "acme/hello_world")
    blob = gateway.session(listed.registry, Basic("a", "b")).open_blob(listed, DIGEST)
    assert b"".join(blob.pieces) == BLOB
    with pytest.raises(Unreachable, match="PYOCI_REGISTRIES"):
        gateway.session(REPOSITORY.registry, SOMEBODY).open_blob(REPOSITORY, DIGEST)
    assert trips(answers) == [f"GET /blobs/{DIGEST}", "GET https://storage.example/data"]
    transport.close()
