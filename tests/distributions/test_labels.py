"""Labels from classifiers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.distributions.metadata import LABEL_COUNT_LIMIT, LABEL_KEY_LIMIT, LABEL_VALUE_LIMIT, labels
from pyoci.errors import InvalidRequest


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
    assert labels(classifiers) == expected


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
        labels([f"PyOCI :: Label :: {classifier}"])
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


def test_too_many() -> None:
    """The number of labels is limited; that of other classifiers isn't."""
    many = [f"PyOCI :: Label :: k{number} :: v" for number in range(LABEL_COUNT_LIMIT)]
    assert len(labels([*many, *["Topic :: X"] * 1000])) == LABEL_COUNT_LIMIT
    with pytest.raises(InvalidRequest, match=str(LABEL_COUNT_LIMIT)):
        labels([*many, "PyOCI :: Label :: one :: more"])


@given(
    st.dictionaries(st.from_regex(r"\A[a-z][a-z.]{0,20}\Z"), st.from_regex(r"\A[ -~]{0,40}\Z"), max_size=20)
)
def test_inverse(pairs: dict[str, str]) -> None:
    """Labels that were written as classifiers are parsed."""
    assert labels(f"PyOCI :: Label :: {key} :: {value}" for key, value in pairs.items()) == pairs
