"""The Authorization header of a caller."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import Unauthorized
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials, fingerprint, parse_authorization


def basic(pair: str | bytes) -> str:
    raw = pair if isinstance(pair, bytes) else pair.encode()
    return "Basic " + base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        pytest.param(None, Anonymous(), id="none"),
        pytest.param("", Anonymous(), id="empty"),
        pytest.param("  ", Anonymous(), id="blank"),
        pytest.param(basic(":"), Anonymous(), id="nobody, without password"),
        pytest.param(basic("user:secret"), Basic("user", "secret"), id="user"),
        pytest.param(basic("user:a:b"), Basic("user", "a:b"), id="password with a colon"),
        pytest.param(
            basic('_json_key:{\n\t"a": 1\r\n}\n'), Basic("_json_key", '{\n\t"a": 1\r\n}\n'), id="key file"
        ),
        pytest.param(basic(":token"), Basic("", "token"), id="password alone"),
        pytest.param(basic("user:"), Basic("user", ""), id="user alone"),
        pytest.param(basic("Jürgen:gehäuft"), Basic("Jürgen", "gehäuft"), id="UTF-8"),
        pytest.param(f"  basic   {basic('a:b')[6:]} ", Basic("a", "b"), id="case and spaces"),
        pytest.param("Bearer abc.def", Bearer("abc.def"), id="bearer"),
        pytest.param("bearer  abc", Bearer("abc"), id="bearer in lower case"),
        pytest.param(basic("__token__:abc"), Bearer("abc"), id="bearer by user name"),
    ],
)
def test_a_header_is_read(header: str | None, credentials: Credentials) -> None:
    """Basic, Bearer, none; and Bearer from the password of the user that the operator has configured."""
    assert parse_authorization(header, "__token__") == credentials


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Basic", id="nothing after the scheme"),
        pytest.param("Basic !!!", id="no base64"),
        pytest.param("Basic dXNlcjpwYXNzd29yZA", id="padding missing"),
        pytest.param(basic("user"), id="no colon"),
        pytest.param(basic("a\nX: y:b"), id="newline in the user name"),
        pytest.param(basic("a:b\0"), id="NUL in the password"),
        pytest.param(basic("__token__:b\nX: y"), id="newline in a token"),
        pytest.param(basic("__token__:two words"), id="token with a space"),
        pytest.param(basic("__token__:gehäuft"), id="token beyond ASCII"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer two words", id="two tokens"),
        pytest.param("Bearer a\x00b", id="NUL"),
        pytest.param("Digest a=b", id="another scheme"),
        pytest.param("secret", id="no scheme"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(header: str) -> None:
    """It must not be treated as anonymous. The message repeats nothing of it."""
    with pytest.raises(Unauthorized, match="expected") as caught:
        parse_authorization(header, "__token__")
    assert "secret" not in caught.value.message
    assert header.partition(" ")[2] == "" or header.partition(" ")[2] not in caught.value.message


def test_a_password_in_latin_1_is_read() -> None:
    """This is how requests, and so pip and twine, encode an é."""
    assert parse_authorization(basic("me:café".encode("latin-1"))) == Basic("me", "café")


def test_without_a_name_no_password_is_a_token() -> None:
    """PYOCI_BEARER_USERNAME is unset by default."""
    assert parse_authorization(basic("__token__:abc")) == Basic("__token__", "abc")


@given(st.text(st.characters(exclude_characters=":", exclude_categories=["C", "Z"])), st.text())
def test_basic_credentials_pass_through(username: str, password: str) -> None:
    """The registry gets what the client sent, including line breaks in the password."""
    if "\0" in password or not username:
        return
    credentials = parse_authorization(basic(f"{username}:{password}"))
    assert credentials == Basic(username, password)
    assert parse_authorization(credentials.header()) == credentials


@given(st.text(alphabet=st.characters(max_codepoint=0x17F)))
def test_no_header_raises_anything_else(header: str) -> None:
    """The result is credentials, or Unauthorized."""
    with suppress(Unauthorized):
        parse_authorization(header, "user")


@pytest.mark.parametrize("credentials", [Basic("secret-user", "secret"), Bearer("secret")])
def test_repr_has_no_secret(credentials: Credentials) -> None:
    """A repr may be logged."""
    assert "secret" not in repr(credentials)


def test_fingerprints_of_callers_differ() -> None:
    """They depend on a key that only this process has. Anonymous callers have none."""
    everybody: list[Credentials] = [
        Basic("a", "b"),
        Basic("a", "c"),
        Basic("ab", ""),
        Bearer("a"),
        Anonymous(),
    ]
    prints = {fingerprint(credentials, b"key") for credentials in everybody}
    assert len(prints) == len(everybody)
    assert fingerprint(Basic("a", "b"), b"key") != fingerprint(Basic("a", "b"), b"other")
    assert fingerprint(Basic("a", "b"), b"key") == fingerprint(Basic("a", "b"), b"key")
    assert fingerprint(Anonymous(), b"key") == "anonymous"
