"""One writer at a time for a tag: threads, and processes that were forked from one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from pyoci.cache.locks import LocalLocks
from pyoci.errors import Unreachable
from pyoci.oci.references import Tag
from pyoci.store.writing.queue import TagLocks
from tests.registry import make_repository

REPOSITORY, TAG = make_repository(), Tag.parse("1.0")


def make_locks() -> TagLocks:
    """Locks of one host, as the cache's backends have them."""
    locks = LocalLocks()
    return TagLocks(lambda name, seconds: locks.held(name, time.monotonic() + seconds))


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a child process, as a worker would; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
class TestProcesses:
    """Workers share the locks that were made before they were forked."""

    def hold(self, locks: TagLocks, seconds: float) -> int:
        """Let a child process hold the lock; returns when it does."""
        here, there = os.pipe()

        def work() -> None:
            with locks.held(REPOSITORY, TAG):
                os.write(there, b"x")
                time.sleep(seconds)

        child = forked(work)
        os.read(here, 1)
        os.close(here)
        os.close(there)
        return child

    def test_exclude_each_other(self) -> None:
        """The second waits for some time, and then raises Unreachable."""
        locks = make_locks()
        child = self.hold(locks, 30)
        try:
            with (
                pytest.raises(Unreachable, match=r"other writes to .* took too long"),
                locks.held(REPOSITORY, TAG, 0.1),
            ):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_a_killed_process_blocks_nobody(self) -> None:
        """Its lock ends with it."""
        locks = make_locks()
        child = self.hold(locks, 30)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with locks.held(REPOSITORY, TAG, 1):
            pass

    def test_another_tag_is_free(self) -> None:
        """The lock is that of one tag."""
        locks = make_locks()
        child = self.hold(locks, 30)
        try:
            with locks.held(REPOSITORY, Tag.parse("2.0"), 0.1):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


class TestThreads:
    """Within one process."""

    def test_exclude_each_other(self) -> None:
        """No two hold it at the same time."""
        locks, inside, most = make_locks(), [0], [0]

        def work() -> None:
            for _ in range(20):
                with locks.held(REPOSITORY, TAG):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert most == [1]

    def test_wait_no_longer_than_asked(self) -> None:
        """The second raises Unreachable."""
        locks = make_locks()
        with locks.held(REPOSITORY, TAG), pytest.raises(Unreachable), locks.held(REPOSITORY, TAG, 0.05):
            pass

    def test_are_released_after_a_failure(self) -> None:
        """An upload that fails doesn't block the next one."""
        locks = make_locks()
        with pytest.raises(LookupError), locks.held(REPOSITORY, TAG):
            raise LookupError
        with locks.held(REPOSITORY, TAG, 0.1):
            pass
