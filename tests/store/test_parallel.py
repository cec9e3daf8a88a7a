"""Work of one request that waits for a registry."""

from __future__ import annotations

import threading
from concurrent.futures import thread

import pytest

from pyoci.errors import NotFound, Unreachable
from pyoci.store.parallel import in_threads


def test_results_have_the_order_of_the_items() -> None:
    """Whichever is done first."""
    done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            done.wait(30)
        elif item == 9:
            done.set()
        return item * item

    for width in (1, 2, 20):
        items = range(10) if width > 1 else range(1, 10)
        assert in_threads(width, work, items, 30, "late") == [item * item for item in items]


def test_what_takes_too_long_is_an_error() -> None:
    """The request doesn't wait for it."""
    end = threading.Event()
    try:
        with pytest.raises(Unreachable, match="takes too long"):
            in_threads(2, lambda _: end.wait(30), range(4), 0.05, "it takes too long")
    finally:
        end.set()


def test_the_server_gives_requests_to_threads_meanwhile() -> None:
    """It needs a lock for that, which all executors of a process share."""
    with thread._global_shutdown_lock:
        assert in_threads(2, str, range(4), 30, "late") == ["0", "1", "2", "3"]


@pytest.mark.parametrize("width", [1, 4])
def test_a_failure_ends_the_work(width: int) -> None:
    """It is raised as it is."""

    def work(item: int) -> None:
        raise NotFound(f"no {item}")

    with pytest.raises(NotFound):
        in_threads(width, work, range(4), 30, "late")
