"""Accept, Accept-Encoding and ?format=."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import NotAcceptable
from pyoci.web.negotiation import Representation, accepts_gzip, choose, prefers_json

JSON, SIMPLE_HTML, HTML = Representation.JSON, Representation.SIMPLE_HTML, Representation.HTML
V1_JSON, V1_HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param(None, HTML, id="no Accept"),
        pytest.param("", HTML, id="empty"),
        pytest.param("*/*", HTML, id="hatch, curl"),
        pytest.param(f"{V1_JSON}, {V1_HTML}; q=0.1, text/html; q=0.01", JSON, id="pip"),
        pytest.param(f"{V1_JSON}, {V1_HTML};q=0.2, text/html;q=0.01", JSON, id="uv"),
        pytest.param(f"{V1_JSON}, */*;q=0.1", JSON, id="poetry"),
        pytest.param("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML, id="browser"),
        pytest.param("application/vnd.pypi.simple.latest+json", JSON, id="latest JSON"),
        pytest.param("application/vnd.pypi.simple.latest+html", SIMPLE_HTML, id="latest HTML"),
        pytest.param(V1_HTML, SIMPLE_HTML, id="v1 HTML"),
        pytest.param("text/html", HTML, id="text/html"),
        pytest.param("text/html;charset=utf-8", HTML, id="a parameter"),
        pytest.param("TEXT/HTML", HTML, id="capitals"),
        pytest.param(f"{V1_JSON};q=0, */*", HTML, id="JSON refused"),
        pytest.param("text/html;q=0, */*;q=0.1", SIMPLE_HTML, id="text/html refused"),
        pytest.param(f"{V1_JSON};q=0.1, text/html;q=0.2", HTML, id="HTML liked better"),
        pytest.param(f"text/html, {V1_JSON}", JSON, id="both the same"),
        pytest.param(f"{V1_JSON}, */*", JSON, id="named beats wild"),
        pytest.param(f"*/*, {V1_JSON}", JSON, id="named beats wild, in any order"),
        pytest.param(";;;,,,", HTML, id="nothing in it"),
    ],
)
def test_choice(accept: str | None, expected: Representation) -> None:
    """Every client gets the representation with the most data that it can parse."""
    assert choose(accept) is expected


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param("application/json", id="JSON of another kind"),
        pytest.param("image/png, text/plain;q=0.5", id="other types"),
        pytest.param("*/*;q=0", id="nothing at all"),
        pytest.param("application/vnd.pypi.simple.v2+json", id="a version to come"),
    ],
)
def test_nothing_acceptable(accept: str) -> None:
    """The message names the available representations."""
    with pytest.raises(NotAcceptable, match=r"expected one of .*v1\+json.*text/html"):
        choose(accept)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param("json", JSON, id="json"),
        pytest.param("html", HTML, id="html"),
        pytest.param(V1_JSON, JSON, id="v1 JSON"),
        pytest.param(V1_JSON.replace("+", " "), JSON, id="a plus that became a blank"),
        pytest.param(V1_HTML, SIMPLE_HTML, id="v1 HTML"),
        pytest.param("text/html", HTML, id="text/html"),
    ],
)
def test_format_goes_before_accept(wanted: str, expected: Representation) -> None:
    """`?format=` overrides Accept, even one that can't be satisfied."""
    assert choose("image/png", wanted) is expected


def test_unknown_format() -> None:
    """An unknown format is not acceptable."""
    with pytest.raises(NotAcceptable, match="no format 'xml'"):
        choose(V1_JSON, "xml")


@pytest.mark.parametrize(
    ("header", "welcome"),
    [
        pytest.param("", False, id="none"),
        pytest.param("gzip", True, id="gzip"),
        pytest.param("gzip, deflate, br, zstd", True, id="requests"),
        pytest.param("GZIP", True, id="capitals"),
        pytest.param("x-gzip", True, id="its old name"),
        pytest.param("*", True, id="anything"),
        pytest.param("br", False, id="something else"),
        pytest.param("gzip;q=0", False, id="refused"),
        pytest.param("*;q=0", False, id="everything refused"),
        pytest.param("gzip;q=0, *", False, id="all but gzip"),
        pytest.param("identity", False, id="identity"),
        pytest.param("identity, gzip;q=0.5", False, id="identity liked better"),
        pytest.param("identity;q=0.5, gzip", True, id="gzip liked better"),
    ],
)
def test_gzip(header: str, welcome: bool) -> None:
    """gzip is sent only if the client accepts it; q=0 refuses it."""
    assert accepts_gzip(header) is welcome


@pytest.mark.parametrize(
    ("accept", "preferred"),
    [
        pytest.param("", False, id="none"),
        pytest.param("*/*", False, id="twine"),
        pytest.param("application/json", True, id="JSON"),
        pytest.param("application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7", True, id="uv publish"),
        pytest.param("text/plain, application/json;q=0.9", False, id="text"),
    ],
)
def test_json_for_errors(accept: str, preferred: bool) -> None:
    """Errors are JSON only for clients that prefer it to text."""
    assert prefers_json(accept) is preferred


TYPES = st.sampled_from(
    [V1_JSON, V1_HTML, "text/html", "*/*", "application/*", "text/*", "application/json", "image/png"]
)
QUALITIES = st.sampled_from(
    ["", ";q=0", ";q=0.1", ";q=0.5", ";q=1", ";q=1.0", ";q=nan", ";q=", ";q=9", ";q=-1"]
)
ACCEPTS = st.lists(st.builds("".join, st.tuples(TYPES, QUALITIES)), min_size=1, max_size=5).map(", ".join)


@given(ACCEPTS | st.text(max_size=60))
def test_any_accept_has_an_answer(accept: str) -> None:
    """Any header gets an answer or a 406, and always the same one."""
    answers: list[object] = []
    for _ in range(2):
        try:
            answers.append(choose(accept))
        except NotAcceptable as exc:
            answers.append(exc.message)
    assert answers[0] == answers[1]


@given(st.lists(TYPES, min_size=1, max_size=5, unique=True), st.sampled_from([JSON, SIMPLE_HTML, HTML]))
def test_what_is_refused_is_never_sent(types: list[str], refused: Representation) -> None:
    """A type with q=0 is never chosen."""
    others = [kind for kind in types if kind != refused.media_type]
    accept = ", ".join([*others, f"{refused.media_type};q=0"])
    try:
        chosen = choose(accept)
    except NotAcceptable:
        chosen = None
    assert chosen is not refused


@given(st.permutations([f"{V1_JSON};q=1", f"{V1_HTML};q=0.5", "text/html;q=0.2", "*/*;q=0.1"]))
def test_order_means_nothing(parts: list[str]) -> None:
    """Quality decides, not the order in the header."""
    assert choose(", ".join(parts)) is JSON


@given(st.text(max_size=60))
def test_any_encoding_header_has_an_answer(header: str) -> None:
    """No Accept-Encoding raises."""
    assert accepts_gzip(header) in {True, False}
