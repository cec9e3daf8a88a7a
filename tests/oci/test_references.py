"""Registry, Repository, Tag and Digest: what is parsed, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest, Registry, Repository, Tag, operation_of, reference_path

HOST = Registry.parse("ghcr.io")


@pytest.mark.parametrize(
    ("text", "origin", "hostname", "port"),
    [
        ("ghcr.io", "https://ghcr.io", "ghcr.io", 443),
        ("GHCR.IO", "https://ghcr.io", "ghcr.io", 443),
        ("ghcr.io/", "https://ghcr.io", "ghcr.io", 443),
        ("https://ghcr.io:443/", "https://ghcr.io", "ghcr.io", 443),
        ("http://lab:80", "http://lab", "lab", 80),
        ("http://lab:5000", "http://lab:5000", "lab", 5000),
        ("lab:05000", "https://lab:5000", "lab", 5000),
        ("lab:0443", "https://lab", "lab", 443),
        ("localhost", "https://localhost", "localhost", 443),
        ("127.0.0.1:5000", "https://127.0.0.1:5000", "127.0.0.1", 5000),
        ("[::1]", "https://[::1]", "[::1]", 443),
        ("[::1]:5000", "https://[::1]:5000", "[::1]", 5000),
        ("my_host-1.example", "https://my_host-1.example", "my_host-1.example", 443),
    ],
)
def test_a_registry_is_read(text: str, origin: str, hostname: str, port: int) -> None:
    """A host, with a port unless it is the scheme's default, or an http(s) URL. Each has one spelling."""
    registry = Registry.parse(text)
    assert (registry.origin, registry.hostname, registry.port) == (origin, hostname, port)
    assert Registry.parse(registry.origin) == registry


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "http://",
        "ftp://ghcr.io",
        "ghcr.io/path",
        "a b",
        "a..b",
        "-a.example",
        "a-.example",
        ".a",
        "ghcr.io.",
        "ghcr.io:",
        "ghcr.io:0",
        "ghcr.io:65536",
        "ghcr.io:port",
        "ghcr.io:123456",
        "a:1:2",
        "[::1",
        "::1",
        "[:::]",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "g\N{KELVIN SIGN}cr.io",
        "münchen.example",
        "a" * 300,
        "http://user:secret@ghcr.io",
        "user@ghcr.io",
        "ghcr.io?x",
        "ghcr.io#x",
        "ghcr.io\n",
        "a\x00b",
        "\\a",
    ],
)
def test_invalid_registry_is_refused(text: str) -> None:
    """One ASCII line that says what was expected. It shows no user info, and only a part of a long text."""
    with pytest.raises(InvalidRequest, match="expected") as caught:
        Registry.parse(text)
    message = caught.value.message
    assert "secret" not in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 250


@given(st.text())
def test_any_text_is_a_registry_or_refused(text: str) -> None:
    """Nothing else is raised, and a parsed registry is parsed again as the same."""
    with suppress(InvalidRequest):
        registry = Registry.parse(text)
        assert Registry.parse(str(registry)) == registry


component = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda s: len(s) < 40)


@given(st.lists(component, min_size=1, max_size=5))
def test_every_name_of_the_grammar_is_a_repository(parts: list[str]) -> None:
    """OCI distribution specification 1.1, "Pulling manifests"."""
    name = "/".join(parts)
    repository = Repository.parse(HOST, name)
    assert repository.url("tags/list", n=5) == f"https://ghcr.io/v2/{name}/tags/list?n=5"
    assert str(repository) == f"ghcr.io/{name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "a/../b",
        "..",
        "a.",
        ".a",
        "a..b",
        "a___b",
        "_a",
        "a_",
        "-a",
        "a:b",
        "a b",
        "ä",
        "a%2fb",
        "a\n",
        "a" * 255,
        "a\N{LATIN SMALL LETTER DOTLESS I}",
        "a/" * 130,
    ],
)
def test_invalid_name_is_refused(name: str) -> None:
    """It isn't changed into a valid one."""
    with pytest.raises(InvalidRequest, match="expected") as caught:
        Repository.parse(HOST, name)
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 350


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_every_tag_of_the_grammar_is_parsed(text: str) -> None:
    """It has at most 128 characters, and needs no escaping."""
    assert reference_path(Tag.parse(text)) == f"manifests/{text}"


@pytest.mark.parametrize(
    "text", ["", ".a", "-a", "a/b", "a+b", "a:b", "a" * 129, "ä", "1.0\n", "a b", "\u0661"]
)
def test_invalid_tag_is_refused(text: str) -> None:
    """Such as a version with a `+`, which has to be replaced first."""
    with pytest.raises(InvalidRequest, match="expected") as caught:
        Tag.parse(text)
    assert caught.value.message.isascii()


@pytest.mark.parametrize("text", ["1!3.0", "1.0+build"])
def test_tag_outside_the_grammar_is_not_escaped(text: str) -> None:
    """zot doesn't decode the path, and would look for a tag `1%213.0`."""
    tag = Tag.listed(text)
    assert tag is not None
    assert reference_path(tag) == f"manifests/{text}"


@pytest.mark.parametrize("text", [f"sha256:{'0a' * 32}", f"sha512:{'0a' * 64}"])
def test_a_digest_is_read(text: str) -> None:
    """Two algorithms, with hexadecimal digits in lower case."""
    assert str(Digest.parse(text)) == text
    assert reference_path(Digest.parse(text)) == f"manifests/{text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:abc",
        f"sha256:{'0A' * 32}",
        f"sha512:{'00' * 32}",
        f"md5:{'0' * 32}",
        "0" * 64,
        f"sha256:{'0' * 64}\n",
        f" sha256:{'0' * 64}",
    ],
)
def test_invalid_digest_is_refused(text: str) -> None:
    """The algorithm isn't guessed."""
    with pytest.raises(InvalidRequest, match="expected"):
        Digest.parse(text)


@pytest.mark.timeout(60)  # milliseconds are enough; a pattern that backtracks takes many minutes
@pytest.mark.parametrize("junk", ["a", "a.", "a-", "-", "a/", "__", ":", "[", "1:"])
def test_long_texts_cost_little(junk: str) -> None:
    """No pattern backtracks without limit."""
    for parse in (Registry.parse, Tag.parse, Digest.parse, lambda text: Repository.parse(HOST, text)):
        with pytest.raises(InvalidRequest):
            parse(junk * 500_000 + "!")


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("", ""),
        ("_catalog?n=1000", "catalog"),
        ("acme/hello_world/tags/list?n=1000", "tags"),
        ("acme/hello_world/manifests/1.0", "manifest"),
        ("acme/hello_world/blobs/sha256:00", "blob"),
        ("acme/hello_world/blobs/uploads/", "upload"),
    ],
)
def test_operation_of_a_url(path: str, operation: str) -> None:
    """One word of a few, independent of the repository."""
    assert operation_of(f"https://ghcr.io/v2/{path}") == operation
