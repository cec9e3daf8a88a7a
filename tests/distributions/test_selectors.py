"""Selectors: names, patterns and versions."""

from __future__ import annotations

import pytest
from packaging.version import Version

from pyoci.distributions.selectors import Selector, Selectors


@pytest.mark.parametrize(
    ("text", "name", "version", "covered"),
    [
        ("requests", "requests", "2.0", True),
        ("Acme_*", "acme-tool", "1.0", True),
        ("acme-?", "acme-ab", "1.0", False),
        ("requests<2.32", "requests", "2.31", True),
        ("requests<2.32", "requests", "2.32", False),
        ("requests >=2, <3", "requests", "2.5rc1", True),
        ("requests==2.5.1", "requests", "2.5.1+local", True),
        ("requests<2.32", "requests", None, None),
        ("requests", "requests", None, True),
        ("requests~=2.1", "flask", "2.1", False),
    ],
)
def test_covers(text: str, name: str, version: str | None, covered: bool | None) -> None:
    """Any spelling of a name; pre-releases count; an unknown version is neither in nor out."""
    found = Selectors.of([Selector.parse(text)]).of_project(name)
    parsed = Version(version) if version is not None else None
    assert ([each.covers(parsed) for each in found] or [False]) == [covered]


@pytest.mark.parametrize(
    ("text", "version", "named"),
    [
        ("urllib3", "1.0+local", True),
        ("urllib3==2.5.1", "2.5.1", True),
        ("urllib3==2.5.1", "2.5.1.post1", False),
        ("urllib3==2.5.1", "2.5.1+evil", False),
        ("urllib3==2.5.1+cu12", "2.5.1+cu12", True),
        ("urllib3>=2", "2.5+evil", False),
        ("urllib3>=2", "2.5", True),
        ("urllib3==2.5.1", None, False),
    ],
)
def test_what_permits_a_version_permits_no_other(text: str, version: str | None, named: bool) -> None:
    """PEP 440 counts 2.5.1+evil as 2.5.1."""
    parsed = Version(version) if version is not None else None
    assert Selector.parse(text).names(parsed) is named


@pytest.mark.parametrize(
    "text", ["", "-acme", "requests <", "requests 2.0", "a b", "x" * 1001, "[abc]", "a;b"]
)
def test_not_a_selector(text: str) -> None:
    """The message repeats it, and says what was expected."""
    with pytest.raises(ValueError, match="is not valid; expected the name of a project, or a pattern"):
        Selector.parse(text)


@pytest.mark.parametrize("text", ["requests>=2", "requests==2.*", "requests===2", "requests==2,==3"])
def test_not_an_exception(text: str) -> None:
    """An exception is for one version that somebody has looked at, or for whole projects."""
    with pytest.raises(
        ValueError, match=r"is not valid; expected the name of a project, a pattern like acme-\*,"
    ):
        Selector.parse_exact(text)
    assert Selector.parse_exact("requests==2.0").pattern == "requests"
