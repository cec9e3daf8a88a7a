"""CopyQueue: what is stored when, how often, and what is dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pyoci.errors import (
    AlreadyExists,
    Denied,
    InvalidRequest,
    PyOCIError,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from pyoci.events import Events
from pyoci.oci.errors import RegistryDenied, RegistryRefused
from pyoci.store.copying import ATTEMPTS, PAUSE, CopyJob, CopyQueue
from tests.clock import Clock


class Heard:
    """Events, and the counted results."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.events = Events(
            lambda event, **facts: self.lines.append((event, facts)),
            lambda _measure, result, **_: self.results.append(result),
        )


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(heard: Heard, clock: Clock) -> CopyQueue:
    return CopyQueue(heard.events, size=3, pause=clock.sleep, clock=clock)


def job(run: Callable[[], str], key: str = "flask", state: object = "kept") -> CopyJob:
    return CopyJob(key, state, f"{key}-1.0.tar.gz", run)


def idle(queue: CopyQueue) -> None:
    assert queue.wait(30)


def test_a_job_is_done_once(queue: CopyQueue, heard: Heard) -> None:
    """Until its state changes, and then for each change. One without a state is done each time."""
    for state in ("kept", "kept", "yanked", "yanked", "kept", None, None):
        queue.offer(job(lambda: "stored", state=state))
        idle(queue)
    assert heard.results == ["stored"] * 5
    assert heard.lines == []


def test_a_job_that_waits_is_not_added_again(queue: CopyQueue, heard: Heard) -> None:
    go_on = threading.Event()
    for _ in range(5):
        queue.offer(job(lambda: "stored" if go_on.wait(30) else "late"))
    go_on.set()
    idle(queue)
    assert heard.results == ["stored"]


def test_a_full_queue_drops(queue: CopyQueue, heard: Heard, clock: Clock) -> None:
    """Each is counted; a warning comes once a minute. Later it may be offered again."""
    go_on = threading.Event()
    for number in range(10):
        queue.offer(job(lambda: "stored" if go_on.wait(30) else "late", f"project-{number}"))
    assert heard.results == ["dropped"] * 7
    assert [(event, facts["reason"]) for event, facts in heard.lines] == [
        ("copies dropped", "3 files wait to be stored already")
    ]
    clock.now += 61
    queue.offer(job(lambda: "stored", "project-9"))
    assert len(heard.lines) == 2
    go_on.set()
    idle(queue)
    queue.offer(job(lambda: "stored", "project-9"))
    idle(queue)
    assert heard.results[8:] == ["stored"] * 4


FAILURES = [
    Unreachable("no answer"),
    Unauthorized("who?"),
    TooLarge("full"),
    OSError(28, "full"),
    RegistryDenied("no"),
]


@pytest.mark.parametrize("failure", [*FAILURES, RegistryRefused("no")], ids=lambda exc: type(exc).__name__)
def test_a_store_that_fails_is_asked_again(
    queue: CopyQueue, heard: Heard, clock: Clock, failure: Exception
) -> None:
    """Some times, with pauses. Then the file is given up until it is served again."""
    failing = [failure] * ATTEMPTS

    def run() -> str:
        if failing:
            raise failing.pop()
        return "stored"

    queue.offer(job(run))
    idle(queue)
    assert heard.results == ["failed"] * ATTEMPTS
    assert clock.slept == [PAUSE] * (ATTEMPTS - 1)
    assert {(event, facts["file"]) for event, facts in heard.lines} == {("copy failed", "flask-1.0.tar.gz")}
    queue.offer(job(run))
    idle(queue)
    assert heard.results[ATTEMPTS:] == ["stored"]


@pytest.mark.parametrize(
    "refusal", [InvalidRequest("too long"), AlreadyExists("other"), Denied("quarantined")]
)
def test_what_the_format_cannot_hold_is_tried_once(
    queue: CopyQueue, heard: Heard, clock: Clock, refusal: PyOCIError
) -> None:
    """With one warning."""

    def run() -> str:
        raise refusal

    for _ in range(3):
        queue.offer(job(run))
        idle(queue)
    assert heard.results == ["refused"]
    [(event, facts)] = heard.lines
    assert (event, facts["reason"]) == ("copy refused", refusal.message)
    assert clock.slept == []


def test_a_defect_does_not_end_the_thread(queue: CopyQueue, heard: Heard) -> None:
    """The next file is stored."""

    def run() -> str:
        raise KeyError

    queue.offer(job(run))
    queue.offer(job(lambda: "stored", "other"))
    idle(queue)
    assert heard.results == ["failed", "stored"]
    assert heard.lines[0][1]["reason"] == "KeyError"
