"""Names for namespaces: PYOCI_DEFAULT_INDEX and PYOCI_INDEXES. tests/test_config.py has the mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import PyOCIError
from pyoci.oci.registries import Registries, ShortUrl, ShortUrls

REGISTRIES = Registries.read("lab=http://10.0.0.5:5000, *")
NAMES = ShortUrls.read("team=ghcr.io/acme/python, lab2=lab/acme", REGISTRIES)


@pytest.mark.parametrize("name", ["team", "Team", "TEAM"])
def test_a_name_is_found_in_any_case(name: str) -> None:
    """As an alias is."""
    assert NAMES.find(name) == ShortUrl("ghcr.io", ("acme", "python"))


@pytest.mark.parametrize("name", ["", "tea", "ghcr.io", "lab", "simple"])
def test_what_is_no_name_is_not_found(name: str) -> None:
    """An alias is no short URL, and the default isn't there unless it is set."""
    assert NAMES.find(name) is None


def test_a_registry_may_have_a_name() -> None:
    """The first that leads there."""
    assert [NAMES.name_in(registry) for registry in ("lab", "local")] == ["lab2", None]


@given(st.text() | st.text(alphabet="ab.:=,/ 0@%", max_size=40))
def test_any_setting_is_a_list_or_a_mistake(text: str) -> None:
    """Nothing else happens at the start; and what is a list leads to registries that may be asked."""
    try:
        names = ShortUrls.read(text, REGISTRIES, reserved={"local"})
    except ValueError:
        return
    for name, url in names.urls.items():
        assert names.find(name) == url
        assert REGISTRIES.parse(url.registry)
        assert ShortUrl.parse(f"{url.registry}/{'/'.join(url.path)}", REGISTRIES) == url


@given(st.text() | st.text(alphabet="abc.:/ 0@%", max_size=40))
def test_any_default_is_a_namespace_or_a_mistake(text: str) -> None:
    """The same for one."""
    try:
        ShortUrl.parse(text, REGISTRIES)
    except PyOCIError:
        return
    assert text.isascii()
