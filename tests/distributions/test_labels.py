"""Labels from classifiers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.labels import (
    DESCRIPTION,
    DOCUMENTATION,
    LABEL_COUNT_LIMIT,
    LABEL_KEY_LIMIT,
    LABEL_VALUE_LIMIT,
    LICENSES,
    SOURCE,
    TITLE,
    URL,
    VERSION,
    classifier_labels,
    labels,
    version_labels,
)
from pyoci.distributions.metadata import parse_metadata
from pyoci.errors import InvalidRequest
from tests.builders import make_metadata


@pytest.mark.parametrize(
    ("classifiers", "expected"),
    [
        pytest.param([], {}, id="none"),
        pytest.param(["Topic :: Education", "License :: OSI Approved"], {}, id="other classifiers"),
        pytest.param(["PyOCI :: Label :: team :: platform"], {"team": "platform"}, id="one"),
        pytest.param(
            ["PyOCI :: Label :: a :: 1", "Topic :: X", "PyOCI :: Label :: b :: 2"],
            {"a": "1", "b": "2"},
            id="two",
        ),
        pytest.param(["PyOCI :: Label :: a :: b :: c"], {"a": "b :: c"}, id="separator in value"),
        pytest.param(["PyOCI :: Label :: a :: 1", "PyOCI :: Label :: a :: 2"], {"a": "2"}, id="last counts"),
        pytest.param(["PyOCI :: Label :: a :: "], {"a": ""}, id="empty value"),
        pytest.param(["PyOCI :: Label :: a"], {}, id="no value"),
        pytest.param(["PyOCI :: Label ::  :: x"], {}, id="no key"),
        pytest.param(["pyoci :: label :: a :: 1"], {}, id="other case"),
        pytest.param(["X PyOCI :: Label :: a :: 1"], {}, id="not at the start"),
        pytest.param(
            ["PyOCI :: Label :: org.opencontainers.image.url :: https://example.org/\u00e9"],
            {"org.opencontainers.image.url": "https://example.org/\u00e9"},
            id="annotation key",
        ),
        pytest.param(
            ["PyOCI :: Label :: k :: " + "v" * LABEL_VALUE_LIMIT],
            {"k": "v" * LABEL_VALUE_LIMIT},
            id="longest value",
        ),
    ],
)
def test_labels(classifiers: list[str], expected: dict[str, str]) -> None:
    """`PyOCI :: Label :: key :: value` is a label. Other classifiers are ignored."""
    assert classifier_labels(classifiers) == expected


@pytest.mark.parametrize(
    ("classifier", "sentence"),
    [
        pytest.param("k\n :: v", "control", id="newline in key"),
        pytest.param("k :: a\r\nb", "control", id="line break in value"),
        pytest.param("k :: \0", "control", id="NUL"),
        pytest.param("k :: \x85", "control", id="C1"),
        pytest.param("k :: \u2028", "control", id="line separator"),
        pytest.param("k :: \ud800", "control", id="surrogate"),
        pytest.param("k" * (LABEL_KEY_LIMIT + 1) + " :: v", f"over {LABEL_KEY_LIMIT}", id="long key"),
        pytest.param("k :: " + "v" * (LABEL_VALUE_LIMIT + 1), f"over {LABEL_VALUE_LIMIT}", id="long value"),
    ],
)
def test_refused(classifier: str, sentence: str) -> None:
    """A label that can't be an annotation is refused."""
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        classifier_labels([f"PyOCI :: Label :: {classifier}"])
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


def test_too_many() -> None:
    """The number of labels is limited; that of other classifiers isn't."""
    many = [f"PyOCI :: Label :: k{number} :: v" for number in range(LABEL_COUNT_LIMIT)]
    assert len(classifier_labels([*many, *["Topic :: X"] * 1000])) == LABEL_COUNT_LIMIT
    with pytest.raises(InvalidRequest, match=str(LABEL_COUNT_LIMIT)):
        classifier_labels([*many, "PyOCI :: Label :: one :: more"])


@given(
    st.dictionaries(st.from_regex(r"\A[a-z][a-z.]{0,20}\Z"), st.from_regex(r"\A[ -~]{0,40}\Z"), max_size=20)
)
def test_inverse(pairs: dict[str, str]) -> None:
    """Labels that were written as classifiers are parsed."""
    assert classifier_labels(f"PyOCI :: Label :: {key} :: {value}" for key, value in pairs.items()) == pairs


def made(*headers: tuple[str, str], urls: dict[str, str] | None = None) -> dict[str, str]:
    """The labels of a file with these headers, without its title and version."""
    distribution = parse_filename("Hello.World-1.0-py3-none-any.whl")
    text = make_metadata("Hello.World", "1.0", extra_headers=headers)
    metadata = parse_metadata(text, "METADATA", distribution)
    found = labels(metadata, urls or {}, metadata.classifiers)
    assert (found.pop(TITLE), found.pop(VERSION)) == ("hello-world", "1.0")
    return found


class TestFromMetadata:
    def test_of_little_metadata(self) -> None:
        """Title and version are always there."""
        assert made() == {}

    def test_texts(self) -> None:
        found = made(("Summary", "Says hello"), ("License-Expression", "MIT"))
        assert found == {DESCRIPTION: "Says hello", LICENSES: "MIT"}

    @pytest.mark.parametrize(
        ("label", "key"),
        [
            ("Homepage", URL),
            ("Home Page", URL),
            ("home-page", URL),
            ("Source", SOURCE),
            ("Source Code", SOURCE),
            ("repository", SOURCE),
            ("GitHub", SOURCE),
            ("Documentation", DOCUMENTATION),
            ("Docs", DOCUMENTATION),
            ("Issues", None),
            ("Homepage of a friend", None),
        ],
    )
    def test_urls_by_their_well_known_labels(self, label: str, key: str | None) -> None:
        """Punctuation, blanks and case don't count."""
        url = "https://example.org/x"
        assert made(urls={label: url}) == ({key: url} if key else {})

    def test_the_first_of_several_urls_counts(self) -> None:
        assert made(urls={"Source": "https://a.example", "Repository": "https://b.example"}) == {
            SOURCE: "https://a.example"
        }

    def test_a_classifier_says_otherwise(self) -> None:
        headers = [
            ("Summary", "Says hello"),
            ("Classifier", f"PyOCI :: Label :: {DESCRIPTION} :: Of the classifier"),
            ("Classifier", f"PyOCI :: Label :: {URL} :: https://example.com"),
        ]
        assert made(*headers, urls={"Homepage": "https://example.org"}) == {
            DESCRIPTION: "Of the classifier",
            URL: "https://example.com",
        }

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ([("Summary", "x" * 300_000)], {DESCRIPTION: "x" * 1000}),
            ([("Summary", "a\x00b\x1b[31m\x85c")], {DESCRIPTION: "ab[31m c"}),
            ([("Summary", "UNKNOWN")], {}),
            ([("License-Expression", "MIT OR " * 1000)], {}),
            ([("License-Expression", "\u202eTIM")], {LICENSES: "TIM"}),
            ([("License-Expression", "M\u00efT")], {}),
            ([("License", "see the file")], {}),
            ([("License-Expression", "MIT"), ("License-Expression", "BSD")], {LICENSES: "MIT"}),
        ],
        ids=range(8),
    )
    def test_hostile_metadata_is_bounded(
        self, headers: list[tuple[str, str]], expected: dict[str, str]
    ) -> None:
        """Values have one line of printable characters, and are short."""
        assert made(*headers) == expected

    def test_a_long_url_is_left_out(self) -> None:
        assert made(urls={"Source": "https://example.org/" + "x" * 3000}) == {}

    def test_a_version_has_the_same_keys_from_classifiers(self) -> None:
        """No other label of a classifier: an image index is read for each page."""
        found = {TITLE: "a", SOURCE: "https://example.org", "team": "alpha"}
        assert version_labels(found) == {TITLE: "a", SOURCE: "https://example.org"}
