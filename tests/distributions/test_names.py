"""ProjectName: valid names, normalisation, and the OCI name and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from pyoci.distributions.names import NAME_LIMIT, PrivateProjects, ProjectName
from pyoci.errors import InvalidRequest
from tests.distributions.strategies import names


@pytest.mark.parametrize(
    ("text", "normalized", "underscored"),
    [
        pytest.param("requests", "requests", "requests", id="plain"),
        pytest.param("Hello.World", "hello-world", "hello_world", id="dots and capitals"),
        pytest.param("hello__-.world", "hello-world", "hello_world", id="run of separators"),
        pytest.param("a", "a", "a", id="one letter"),
        pytest.param("0", "0", "0", id="one digit"),
        pytest.param("x" * NAME_LIMIT, "x" * NAME_LIMIT, "x" * NAME_LIMIT, id="longest"),
    ],
)
def test_spellings(text: str, normalized: str, underscored: str) -> None:
    """All spellings of a name are the same project."""
    name = ProjectName.parse(text)
    assert (name.normalized, name.underscored, str(name)) == (normalized, underscored, normalized)
    assert ProjectName.from_underscored(underscored) == name


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("-hello", id="hyphen first"),
        pytest.param("hello.", id="dot last"),
        pytest.param("..", id="dots"),
        pytest.param("hello world", id="blank"),
        pytest.param("hello\n", id="newline last"),
        pytest.param("hello/world", id="slash"),
        pytest.param("h\xe9llo", id="accent"),
        pytest.param("\u212aelvin", id="capital that lowers to ASCII"),
        pytest.param("\u0661", id="digit of another script"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param("x" * (NAME_LIMIT + 1), id="too long"),
    ],
)
def test_refused(text: str) -> None:
    """An invalid name is refused with one short line that fits in a header."""
    with pytest.raises(InvalidRequest) as caught:
        ProjectName.parse(text)
    assert re.fullmatch(r"[ -~]{1,400}", caught.value.message)
    with pytest.raises(InvalidRequest):
        ProjectName.from_underscored(text)


@pytest.mark.parametrize("text", ["hello-world", "hello.world", "Hello_World", "hello__world", "HELLO"])
def test_foreign_repositories(text: str) -> None:
    """A repository with a name that no project has isn't a project's."""
    with pytest.raises(InvalidRequest, match="repository"):
        ProjectName.from_underscored(text)


@given(names)
def test_normalises_like_packaging(text: str) -> None:
    """The normalised form is that of packaging, and stable. The underscored form leads back to it."""
    name = ProjectName.parse(text)
    assert name.normalized == canonicalize_name(text)
    assert ProjectName.parse(name.normalized) == name
    assert ProjectName.from_underscored(name.underscored) == name


@given(st.text(max_size=30))
def test_any_text(text: str) -> None:
    """Any text is a valid name for an OCI repository, or refused."""
    try:
        name = ProjectName.parse(text)
    except InvalidRequest:
        return
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name.underscored)


@pytest.mark.parametrize(
    ("text", "name", "covered"),
    [
        pytest.param("acme-*", "acme-tool", True, id="a pattern"),
        pytest.param("acme-*", "acme", False, id="a pattern needs its hyphen"),
        pytest.param("acme*", "acme", True, id="a star may stand for nothing"),
        pytest.param("acme-*", "xacme-tool", False, id="a pattern is for the whole name"),
        pytest.param("acme-*", "Acme_Tool", True, id="another spelling of the name"),
        pytest.param("Acme_*", "acme-tool", True, id="another spelling of the pattern"),
        pytest.param("ACME.*", "acme.tool", True, id="a dot is a hyphen, too"),
        pytest.param("acme-._*", "acme--tool", True, id="runs are one hyphen"),
        pytest.param("*-internal", "our-internal", True, id="a star first"),
        pytest.param("tool?", "tool1", True, id="one character"),
        pytest.param("tool?", "tool", False, id="one, not none"),
        pytest.param("tool", "tool", True, id="a name"),
        pytest.param("tool", "toolbox", False, id="another name"),
        pytest.param("*", "whatever", True, id="everything"),
        pytest.param("a, b", "b", True, id="a list with commas"),
        pytest.param("a b\tc,,d", "d", True, id="a list with blanks"),
        pytest.param(",", "a", False, id="an empty list"),
    ],
)
def test_names_and_patterns(text: str, name: str, covered: bool) -> None:
    """Both in any spelling (PEP 503)."""
    assert PrivateProjects.parse(text).covers(name) is covered


def test_none_is_covered_by_default() -> None:
    """If the operator names none."""
    assert not PrivateProjects().covers("acme")


@pytest.mark.parametrize("word", ["-acme", "acme-", "acme[12]", "a/b", "!acme", "\u212aey", "*-"])
def test_pattern_that_matches_no_name_is_a_mistake(word: str) -> None:
    """It is reported with all others, one a line."""
    with pytest.raises(ValueError, match="not a project name") as caught:
        PrivateProjects.parse(f"acme-* {word}, tool, {word}")
    assert len(str(caught.value).splitlines()) == 2


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True))
def test_a_name_covers_all_its_spellings(name: str) -> None:
    """And each pattern with the same beginning does."""
    for text in (name, name.upper(), f"{name[0]}*"):
        private = PrivateProjects.parse(text)
        assert private.covers(name)
        assert private.covers(ProjectName.parse(name).normalized)
