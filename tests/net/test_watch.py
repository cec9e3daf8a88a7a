"""Watchdog: when its thread is woken. What it does at a deadline is in test_transport.py."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from pyoci.net.watch import Watchdog


def wakes_of(thread: threading.Thread) -> int:
    """How often a thread has waited so far."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary"))


def test_calls_with_time_left_wake_nobody() -> None:
    """Their deadlines are looked at once a second."""
    watchdog, others = Watchdog(), set(threading.enumerate())
    with watchdog.watched(9.5):
        (thread,) = (each for each in set(threading.enumerate()) - others if each.name == "watchdog")
    before = wakes_of(thread)
    for seconds in (9.5, 2.0) * 500:
        with watchdog.watched(seconds):
            pass
    assert wakes_of(thread) - before < 200


def test_a_short_deadline_is_kept() -> None:
    """A call with less time than that between two looks is cut at its deadline."""
    watchdog = Watchdog()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with watchdog.watched(60):
            pass
        with watchdog.watched(0.05) as watch:
            watch.follow(ours)
            assert ours.recv(1) == b""
        assert watch.has_fired
