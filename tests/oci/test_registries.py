"""Registries and ShortUrls: PYOCI_REGISTRIES, PYOCI_DEFAULT_INDEX and PYOCI_INDEXES."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import Denied, InvalidRequest, NotFound, PyOCIError
from pyoci.oci.references import Registry
from pyoci.oci.registries import EMBEDDED, Registries, ShortUrl, ShortUrls

TEXT = "ghcr=ghcr.io, *.azurecr.io, http://127.0.0.1:5000, lab=http://10.0.0.5:5000, Quay.io"


@pytest.mark.parametrize(
    ("text", "origin", "listed"),
    [
        ("ghcr", "https://ghcr.io", True),
        ("GHCR", "https://ghcr.io", True),
        ("ghcr.io", "https://ghcr.io", True),
        ("https://ghcr.io", "https://ghcr.io", True),
        ("https%3A%2F%2Fghcr.io", "https://ghcr.io", True),
        ("acme.azurecr.io", "https://acme.azurecr.io", True),
        ("a.b.AZURECR.io", "https://a.b.azurecr.io", True),
        ("127.0.0.1:5000", "http://127.0.0.1:5000", True),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000", True),
        ("http%3A%2F%2F127.0.0.1%3A5000", "http://127.0.0.1:5000", True),
        ("lab", "http://10.0.0.5:5000", True),
        ("10.0.0.5:5000", "http://10.0.0.5:5000", True),
        ("quay.io", "https://quay.io", True),
        ("quay.io:443", "https://quay.io", True),
    ],
)
def test_listed_registry_is_allowed(text: str, origin: str, listed: bool) -> None:
    """By alias, host, URL and pattern, in any case, also percent-encoded."""
    found = Registries.read(TEXT).parse(text)
    assert (found.origin, found.listed) == (origin, listed)


@pytest.mark.parametrize(
    "text",
    [
        "docker.io",
        "azurecr.io",
        "evilazurecr.io",
        "acme.azurecr.io.evil.example",
        "acme.azurecr.io:444",
        "http://ghcr.io",
        "http://acme.azurecr.io",
        "https://127.0.0.1:5000",
        "127.0.0.1:5001",
        "127.0.0.1",
        "10.0.0.5",
        "ghcr.io:444",
        "http://quay.io",
    ],
)
def test_unlisted_registry_is_denied(text: str) -> None:
    """The message names the setting."""
    with pytest.raises(Denied, match="PYOCI_REGISTRIES"):
        Registries.read(TEXT).parse(text)


@pytest.mark.parametrize("setting", ["", " , ", "*", "ghcr.io, *"])
def test_without_a_list_any_https_registry_may_be_asked(setting: str) -> None:
    """Not by plain http. Whether the address is public is checked on connecting."""
    registries = Registries.read(setting)
    found = registries.parse("registry.example")
    assert (found.origin, found.listed) == ("https://registry.example", False)
    with pytest.raises(Denied):
        registries.parse("http://registry.example")


@pytest.mark.parametrize(
    "text", ["registry.example:444", "127.0.0.1:5000", "https://vm:80", "vm:22", "[::1]:8443"]
)
def test_without_a_list_no_other_port_may_be_asked(text: str) -> None:
    """A caller must not learn which ports are open on a host. The message names the setting."""
    for setting in ("", "ghcr.io, *"):
        with pytest.raises(Denied, match="only a registry that PYOCI_REGISTRIES lists may use another port"):
            Registries.read(setting).parse(text)
    assert Registries.read("registry.example:444, vm:22, *").parse("vm:22").listed
    assert Registries.read("").parse("registry.example:443").origin == "https://registry.example"


def test_star_keeps_the_listed_registries() -> None:
    """Their addresses, aliases and plain http are still allowed."""
    registries = Registries.read(f"{TEXT}, *")
    assert registries.parse("lab").origin == "http://10.0.0.5:5000"
    assert registries.parse("ghcr.io").listed
    assert not registries.parse("docker.io").listed


@pytest.mark.parametrize("text", ["", "a b", "a/b", "user:secret@ghcr.io", "ghcr.io?x", "ftp://x"])
def test_invalid_registry_is_refused(text: str) -> None:
    """The message is one sentence, without credentials in the text."""
    with pytest.raises(InvalidRequest) as caught:
        Registries.read("").parse(text)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["docker.io", "index.docker.io", "https://Docker.io", "registry-1.docker.io"]
)
@pytest.mark.parametrize("setting", ["", "docker.io", "hub=docker.io", "registry-1.docker.io", "*.docker.io"])
def test_docker_hub_is_one_registry(text: str, setting: str) -> None:
    """Under docker's name for it, and under the name of its registry's host."""
    found = Registries.read(setting).parse(text)
    assert (found.origin, found.listed) == ("https://registry-1.docker.io", setting != "")


def test_the_embedded_registry_is_local() -> None:
    """If it is switched on. No URL may give it another name."""
    assert Registries.read("", embedded=True).parse("local") is EMBEDDED
    assert Registries.read("ghcr.io", embedded=True).parse("LOCAL") is EMBEDDED
    with pytest.raises(NotFound, match="PYOCI_EMBEDDED"):
        Registries.read("").parse("local")
    with pytest.raises(PyOCIError):
        Registries.read("", embedded=True).parse("embedded://local")


def test_aliases_are_known() -> None:
    """A first segment without a dot may be an alias."""
    registries = Registries.read(TEXT)
    assert registries.knows("ghcr")
    assert registries.knows("local")
    assert not registries.knows("ghcr.io")


def test_all_mistakes_are_reported_together() -> None:
    """One line for each."""
    text = (
        "a b, Bad!=ghcr.io, local=ghcr.io, v2=ghcr.io, one=ghcr.io, one=quay.io, ftp://x, x=, localhost=a.b"
    )
    with pytest.raises(ValueError, match="not a") as caught:
        Registries.read(text, reserved={"local", "v2"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 8
    assert all(line.isascii() for line in lines)


@given(st.text() | st.text(alphabet="abc.*?=,:/ 0", max_size=40))
def test_any_setting_is_a_list_or_a_mistake(text: str) -> None:
    """No other exception is raised at the start."""
    try:
        registries = Registries.read(text)
    except ValueError:
        return
    for registry in registries.listed:
        assert registry.listed
        assert registries.parse(registry.origin) == registry


@given(st.text())
def test_any_segment_is_a_registry_or_an_error(text: str) -> None:
    """Anybody may write any text in a URL."""
    registries = Registries.read(TEXT)
    try:
        found = registries.parse(text)
    except PyOCIError:
        return
    assert isinstance(found, Registry)


LISTED = Registries.read("lab=http://10.0.0.5:5000, *")
NAMES = ShortUrls.read("team=ghcr.io/acme/python, lab2=lab/acme", LISTED)


@pytest.mark.parametrize("name", ["team", "Team", "TEAM"])
def test_a_name_is_found_in_any_case(name: str) -> None:
    """Like an alias."""
    assert NAMES.find(name) == ShortUrl("ghcr.io", ("acme", "python"))


@pytest.mark.parametrize("name", ["", "tea", "ghcr.io", "lab", "simple"])
def test_unknown_name_is_not_found(name: str) -> None:
    """An alias isn't a short URL, and the default exists only if it is set."""
    assert NAMES.find(name) is None


def test_first_name_in_a_registry_is_found() -> None:
    """There may be several short URLs in it."""
    assert [NAMES.name_in(registry) for registry in ("lab", "local")] == ["lab2", None]


@given(st.text() | st.text(alphabet="ab.:=,/ 0@%", max_size=40))
def test_any_list_of_short_urls_is_read_or_a_mistake(text: str) -> None:
    """No other exception is raised at the start. Each short URL leads to an allowed registry."""
    try:
        names = ShortUrls.read(text, LISTED, reserved={"local"})
    except ValueError:
        return
    for name, url in names.urls.items():
        assert names.find(name) == url
        assert LISTED.parse(url.registry)
        assert ShortUrl.parse(f"{url.registry}/{'/'.join(url.path)}", LISTED) == url


@given(st.text() | st.text(alphabet="abc.:/ 0@%", max_size=40))
def test_any_default_is_a_namespace_or_a_mistake(text: str) -> None:
    """No other exception is raised at the start."""
    try:
        ShortUrl.parse(text, LISTED)
    except PyOCIError:
        return
    assert text.isascii()
