"""How many requests are admitted at a time, and what ends a wait; turns are in store/test_read_limit.py."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from pyoci.admission import Admission
from pyoci.errors import ClientLeft


def test_as_many_as_the_limit_are_admitted() -> None:
    """Further ones wait until one of them leaves."""
    admission = Admission(2)
    admission.enter("one", 0)
    admission.enter(None, 0)
    with pytest.raises(TimeoutError):
        admission.enter("a third", 0)
    admission.leave()
    admission.enter("a third", 0)


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "in the moment in which it is admitted"])
def test_a_request_that_gives_up_leaves_its_place_to_others(is_late: bool) -> None:
    def end(turn: Future[None], _seconds: float) -> None:
        if is_late:
            admission.leave()
        assert turn.done() == is_late
        raise ClientLeft("the client has left")

    admission = Admission(wait=end)
    admission.enter("one", 0)
    with pytest.raises(ClientLeft):
        admission.enter("another", 0)
    if not is_late:
        admission.leave()
    admission.enter("a third", 0)
