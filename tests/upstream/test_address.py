"""Parsing the address of an upstream, and its credentials, which no repr and no message has."""

from __future__ import annotations

import base64

import pytest

from pyoci.upstream.address import UpstreamAddress


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        pytest.param("https://packages.example/simple/", "https://packages.example/simple/", id="plain"),
        pytest.param("https://packages.example/simple", "https://packages.example/simple/", id="no slash"),
        pytest.param(" https://packages.example ", "https://packages.example/", id="no path"),
        pytest.param("HTTPS://Packages.Example:8443/a", "https://packages.example:8443/a/", id="port"),
        pytest.param("http://10.0.0.5:3141/root/pypi/+simple/", None, id="private and plain http"),
        pytest.param("http://[::1]:3141/simple/", None, id="IPv6"),
    ],
)
def test_an_address_ends_with_a_slash(text: str, url: str | None) -> None:
    """Whatever path and port the operator has the simple API at."""
    address = UpstreamAddress.parse(text)
    assert address.url == (url or text)
    assert address.authorization is None
    assert address.page_url("hello-world") == f"{address.url}hello-world/"


@pytest.mark.parametrize(
    ("url", "separate", "header"),
    [
        pytest.param("https://me:secret@p.example/", None, basic("me:secret"), id="in the URL"),
        pytest.param("https://me%40x:a%2Fb@p.example/", None, basic("me@x:a/b"), id="encoded in the URL"),
        pytest.param("https://token@p.example/", None, basic("token:"), id="a user alone"),
        pytest.param("https://p.example/", "me:sec:ret", basic("me:sec:ret"), id="a pair"),
        pytest.param("https://p.example/", "Basic bWU6c2VjcmV0", "Basic bWU6c2VjcmV0", id="Basic"),
        pytest.param("https://p.example/", "bearer abc.def_-~+/=", "Bearer abc.def_-~+/=", id="Bearer"),
        pytest.param("https://p.example/", " me:schlüssel ", basic("me:schlüssel"), id="not ASCII"),
    ],
)
def test_credentials_make_one_header(url: str, separate: str | None, header: str) -> None:
    """It is neither in the URL nor in a repr."""
    address = UpstreamAddress.parse(url, separate)
    assert address.authorization == header
    assert address.url == "https://p.example/"
    assert header not in repr(address)
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("url", "separate"),
    [
        pytest.param("packages.example/simple", None, id="no scheme"),
        pytest.param("ftp://packages.example/", None, id="ftp"),
        pytest.param("file:///secret", None, id="a file"),
        pytest.param("https://", None, id="no host"),
        pytest.param("https://me:secret@/x", None, id="no host but credentials"),
        pytest.param("https://p.example:port/secret", None, id="no port"),
        pytest.param("https://[secret/", None, id="half an address"),
        pytest.param("https://p.example/?token=secret", None, id="a query"),
        pytest.param("https://p.example/#secret", None, id="a fragment"),
        pytest.param("https://p.example/a secret", None, id="a blank"),
        pytest.param("https://p.example/\nsecret", None, id="a line break"),
        pytest.param("https://me:secret@p.example/", "me:secret", id="credentials twice"),
        pytest.param("https://p.example/", "secret", id="credentials without a user"),
        pytest.param("https://p.example/", "Digest secret", id="another scheme"),
        pytest.param("https://p.example/", "me:sec\nret", id="a line break in the password"),
        pytest.param("https://p.example/", "Bearer sec ret", id="a blank in the token"),
        pytest.param("https://p.example/", ":", id="nobody"),
    ],
)
def test_what_is_no_address_is_refused(url: str, separate: str | None) -> None:
    """With one sentence, which repeats nothing that may be a password."""
    with pytest.raises(ValueError, match="expected") as failure:
        UpstreamAddress.parse(url, separate)
    assert "sec" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_other_credentials_have_another_key() -> None:
    """They may see other pages; no secret is in the key."""
    keys = {UpstreamAddress.parse("https://p.example/", separate).key for separate in (None, "me:a", "me:b")}
    assert len(keys) == 3
    assert all(key.startswith("https://p.example/\0") and len(key) == 23 for key in keys)
