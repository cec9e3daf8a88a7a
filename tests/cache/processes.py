"""Processes that are forked like workers, and use a backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyoci.cache.backend import Backend


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a child as a worker would; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def holding(backend: Backend, name: str) -> Iterator[int]:
    """A child process that holds a lock until it is killed; yields its id."""
    here, there = os.pipe()

    def work() -> None:
        with backend.lock(name, 10) as held:
            os.write(there, b"y" if held else b"n")
            signal.pause()

    child = forked(work)
    assert os.read(here, 1) == b"y"
    os.close(here)
    os.close(there)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        ended(child)
