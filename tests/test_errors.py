"""The tree of errors."""

from __future__ import annotations

import pytest

from pyoci.errors import Denied, PyOCIError, RangeNotSatisfiable, RateLimited


@pytest.mark.parametrize(
    "failure", [Denied("no"), RangeNotSatisfiable("no such bytes", 7), RateLimited("wait", 3)], ids=repr
)
def test_a_copy_says_the_same(failure: PyOCIError) -> None:
    """Callers that share a failure get a copy each, without the traceback."""
    with pytest.raises(PyOCIError):
        raise failure
    assert failure.__traceback__ is not None
    shared = failure.bare()
    assert shared.__traceback__ is None
    assert (type(shared), str(shared), vars(shared)) == (type(failure), str(failure), vars(failure))
