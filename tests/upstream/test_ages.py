"""For how long an answer counts."""

from __future__ import annotations

import pytest

from pyoci.upstream.ages import lifetime


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, 300.0, id="nothing said"),
        pytest.param({"cache-control": "max-age=600, public"}, 600.0, id="as PyPI says"),
        pytest.param({"cache-control": "max-age=600", "age": "200"}, 400.0, id="old already"),
        pytest.param({"cache-control": "max-age=600", "age": "900"}, 60.0, id="too old already"),
        pytest.param({"cache-control": "max-age=600", "age": "soon"}, 600.0, id="of no age"),
        pytest.param({"cache-control": 'Max-Age="120"'}, 120.0, id="quoted"),
        pytest.param({"cache-control": "s-maxage=120, max-age=600"}, 120.0, id="for shared caches"),
        pytest.param({"cache-control": "max-age=0"}, 60.0, id="at least a minute"),
        pytest.param({"cache-control": "no-cache, max-age=600"}, 60.0, id="no-cache"),
        pytest.param({"cache-control": "no-store"}, 60.0, id="no-store"),
        pytest.param({"cache-control": "max-age=31536000, immutable"}, 3600.0, id="at most an hour"),
        pytest.param({"cache-control": "max-age=-1"}, 300.0, id="negative"),
        pytest.param({"cache-control": "max-age=" + "9" * 50}, 300.0, id="absurd"),
        pytest.param({"cache-control": ",,=,x" * 1000}, 300.0, id="nonsense"),
    ],
)
def test_lifetime(headers: dict[str, str], seconds: float) -> None:
    """What upstream says, within bounds of our own."""
    assert lifetime(headers, 300.0) == seconds
