"""The Retry-After header."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.net.retries import LONGEST_WAIT, retry_after_seconds

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("7", 7, id="seconds"),
        pytest.param(" 0 ", 0, id="none at all"),
        pytest.param("99999999999999999999", LONGEST_WAIT, id="longer than anybody waits"),
        pytest.param("86399", 86399, id="a day but one second"),
        pytest.param("Fri, 20 Nov 2026 12:00:30 GMT", 30, id="date"),
        pytest.param("Fri, 20 Nov 2026 11:00:00 GMT", 0, id="date gone by"),
        pytest.param("Fri, 20 Nov 2099 12:00:00 GMT", LONGEST_WAIT, id="far date"),
        pytest.param("Fri, 20 Nov 2026 12:00:30", None, id="date without zone"),
        pytest.param("Fri, 99 Nov 99999 12:00:30 GMT", None, id="no date"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("soon", None, id="word"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="missing"),
    ],
)
def test_a_header_is_read(header: str | None, seconds: int | None) -> None:
    """Whole seconds from now, from a number or a date; None for anything else."""
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text())
def test_no_header_raises(header: str) -> None:
    """A server may send any text."""
    found = retry_after_seconds(header, NOW)
    assert found is None or 0 <= found <= LONGEST_WAIT
