"""Projects that are never looked up in another package index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.distributions.names import ProjectName
from pyoci.distributions.private import PrivateProjects


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
    """Where the operator says nothing."""
    assert not PrivateProjects().covers("acme")


@pytest.mark.parametrize("word", ["-acme", "acme-", "acme[12]", "a/b", "!acme", "\u212aey", "*-"])
def test_what_could_cover_nothing_is_a_mistake(word: str) -> None:
    """Told with all others, one a line."""
    with pytest.raises(ValueError, match="not a project name") as caught:
        PrivateProjects.parse(f"acme-* {word}, tool, {word}")
    assert len(str(caught.value).splitlines()) == 2


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True))
def test_a_name_covers_itself_however_spelled(name: str) -> None:
    """And so does each pattern that begins like it."""
    for text in (name, name.upper(), f"{name[0]}*"):
        private = PrivateProjects.parse(text)
        assert private.covers(name)
        assert private.covers(ProjectName.parse(name).normalized)
