"""Updates that wait for the same tag are made in batches, one for each caller, each with its own outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from pyoci.cache.locks import LocalLocks
from pyoci.errors import AlreadyExists, NotFound, PyOCIError, RateLimited, Unreachable
from pyoci.oci.errors import (
    RegistryDenied,
    RegistryFailed,
    RegistryNotFound,
    RegistryTooLarge,
    registry_error,
)
from pyoci.oci.models import Document, ImageIndex
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.store.writing.lag import RecentWrites
from pyoci.store.writing.queue import TagLocks
from pyoci.store.writing.update import IndexUpdate, IndexUpdater, QueuedUpdate
from tests.store.writing.two_servers import REPOSITORY, TAG, adding, names_in
from tests.stores import make_cache
from tests.waiting import until

Refuse = Callable[[str, set[str]], PyOCIError | None]  # who writes, and which files


@dataclass
class OneTagRegistry:
    """A registry of one tag beside the project's marker. It records who called."""

    refuse: Refuse = lambda _caller, _names: None
    before_read: Callable[[int], None] = lambda _number: None  # the first is 1
    tag: Digest | None = None
    documents: dict[str, Document] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        return names_in(self.documents[str(self.tag)].image_index() if self.tag else None)

    def writes(self) -> list[str]:
        return [call for call in self.calls if call.startswith("write")]


@dataclass
class Caller:
    """A caller's session."""

    registry: OneTagRegistry
    name: str

    def pull(self, _repository: Repository, reference: Any) -> Document:
        self.registry.calls.append(f"read by {self.name}")
        self.registry.before_read(len([call for call in self.registry.calls if call.startswith("read")]))
        digest = self.registry.tag if isinstance(reference, Tag) else reference
        if digest is None:
            raise RegistryNotFound("no such tag")
        return self.registry.documents[str(digest)]

    def begin_update(self) -> None:
        """Nothing ends these requests."""

    def digest(self, _repository: Repository, _marker: Tag) -> Digest:
        return Digest("sha256", "0" * 64)

    def push(self, _repository: Repository, _reference: Any, document: Document) -> None:
        self.registry.calls.append(f"write by {self.name}")
        refusal = self.registry.refuse(self.name, names_in(document.image_index()))
        if refusal is not None:
            raise refusal
        self.registry.documents[str(document.digest)] = document
        self.registry.tag = document.digest

    def delete(self, _repository: Repository, reference: Any) -> None:
        self.registry.calls.append(f"delete by {self.name}")
        self.registry.tag = None

    def same_caller(self, other: Caller) -> bool:
        return self.name == other.name


def make_member(registry: OneTagRegistry) -> QueuedUpdate:
    return QueuedUpdate(Caller(registry, "anna"), adding("a"))  # type: ignore[arg-type]


class Together:
    """Makes several updates at the same time: nothing is written before all are queued."""

    def __init__(self) -> None:
        self._inner = LocalLocks()
        self.updater = IndexUpdater(
            lambda _repository, _tag: None,
            RecentWrites(make_cache()),
            locks=TagLocks(self._lock),
            now=lambda: datetime.now(UTC),
            sleep=lambda _: None,
            clock=lambda: 0.0,
        )
        self._expected = 0

    def update(self, *wanted: tuple[Caller, IndexUpdate]) -> list[BaseException | None]:
        """Make updates at the same time; the first leads. Returns what each raised."""
        self._expected = len(wanted) - 1
        with ThreadPoolExecutor(len(wanted)) as pool:
            futures = []
            for number, (caller, update) in enumerate(wanted):
                futures.append(pool.submit(self.updater.update, caller, REPOSITORY, TAG, update))  # type: ignore[arg-type]
                self._wait_for(number)
            return [future.exception(30) for future in futures]

    @contextmanager
    def _lock(self, name: str, seconds: float) -> Iterator[bool]:
        self._wait_for(self._expected)
        self._expected = 0
        with self._inner.held(name, time.monotonic() + seconds) as held:
            yield held

    def _queued(self) -> int:
        queues = list(self.updater._queue._queues.values())
        return len(queues[0]) if queues else (self._expected == 0) * 1000 - 1

    def _wait_for(self, number: int) -> None:
        until(lambda: self._queued() >= number, "others in the queue", pause=0.001)


@pytest.fixture
def registry() -> OneTagRegistry:
    return OneTagRegistry()


def refusing(status: int, who: str, what: str = "") -> Refuse:
    """Refuses the writes of a caller, or those that contain a certain file."""

    def refuse(caller: str, names: set[str]) -> PyOCIError | None:
        meant = caller == who if who else what in names
        return registry_error("write", "registry", status, {}, b"") if meant else None

    return refuse


def test_a_batch_costs_one_read_one_write_and_two_read_backs(registry: OneTagRegistry) -> None:
    """However many wait. It is read back twice, in case a writer elsewhere is slow."""
    anna = Caller(registry, "anna")
    assert Together().update(*((anna, adding(f"file {n}")) for n in range(30))) == [None] * 30
    assert len(registry.names) == 30
    assert registry.calls == ["read by anna", "write by anna", "read by anna", "read by anna"]


def test_each_has_its_own_outcome(registry: OneTagRegistry) -> None:
    """One conflicts, one is there already, one is of a file that isn't there. The others are made."""

    def conflict(_present: ImageIndex | None) -> ImageIndex | None:
        raise AlreadyExists("File already exists")

    def absent(_present: ImageIndex | None) -> ImageIndex | None:
        raise NotFound("there is no such file")

    anna = Caller(registry, "anna")
    outcomes = Together().update(
        (anna, adding("a")),
        (anna, IndexUpdate(conflict, lambda _: False)),
        (anna, adding("a")),
        (anna, IndexUpdate(absent, lambda _: False)),
        (anna, adding("b")),
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [type(None), AlreadyExists, type(None), NotFound, type(None)]
    assert registry.names == {"a", "b"}
    assert len(registry.writes()) == 1


def test_a_batch_has_updates_of_one_caller_only(registry: OneTagRegistry) -> None:
    """Bob may not write. Anna's write doesn't contain his file, although both waited for the same tag."""
    registry.refuse = refusing(403, who="bob")
    anna, bob = Caller(registry, "anna"), Caller(registry, "bob")
    updates = ((anna, adding("a")), (bob, adding("b")), (anna, adding("c")), (bob, adding("d")))
    outcomes = Together().update(*updates)
    assert [type(outcome) for outcome in outcomes] == [type(None), RegistryDenied, type(None), RegistryDenied]
    assert registry.names == {"a", "c"}


@pytest.mark.parametrize(
    ("status", "kind"), [(400, PyOCIError), (403, RegistryDenied), (413, RegistryTooLarge)]
)
def test_what_is_refused_to_a_batch_may_be_taken_from_each_member(
    registry: OneTagRegistry, status: int, kind: type[PyOCIError]
) -> None:
    """One of them is too large, or exceeds a quota: only its own uploader gets the error."""
    registry.refuse = refusing(status, who="", what="bad")
    anna = Caller(registry, "anna")
    good, bad, other = Together().update(*((anna, adding(name)) for name in ("good", "bad", "other")))
    assert good is other is None
    assert isinstance(bad, kind)
    assert registry.names == {"good", "other"}


def test_a_conflict_with_an_update_that_fails_is_no_conflict(registry: OneTagRegistry) -> None:
    """The second conflicts with the first, which then fails. It is tried again."""
    registry.refuse = refusing(413, who="", what="bad")

    def unless_bad(present: ImageIndex | None) -> ImageIndex | None:
        if "bad" in names_in(present):
            raise AlreadyExists("File already exists")
        return adding("good").apply(present)

    anna = Caller(registry, "anna")
    outcomes = Together().update((anna, adding("bad")), (anna, IndexUpdate(unless_bad, adding("good").is_in)))
    assert [type(outcome) for outcome in outcomes] == [RegistryTooLarge, type(None)]


def test_a_temporary_failure_is_not_reported(registry: OneTagRegistry) -> None:
    """If the registry fails once, the batch is written again."""
    failures = [registry_error("write", "registry", 500, {}, b"")]
    registry.refuse = lambda _caller, _names: failures.pop() if failures else None
    anna = Caller(registry, "anna")
    assert Together().update(*((anna, adding(f"{n}")) for n in range(8))) == [None] * 8
    assert len(registry.names) == 8


def test_a_lasting_failure_is_reported_to_all(registry: OneTagRegistry) -> None:
    """Each gets an exception of its own."""
    registry.refuse = refusing(500, who="anna")
    anna = Caller(registry, "anna")
    outcomes = Together().update((anna, adding("a")), (anna, adding("b")))
    assert [type(outcome) for outcome in outcomes] == [RegistryFailed, RegistryFailed]
    assert outcomes[0] is not outcomes[1]


def test_a_defect_in_the_leader_leaves_nobody_waiting(registry: OneTagRegistry) -> None:
    """Its own caller gets the exception. The others may try again, and the queue goes on."""

    def broken(_present: ImageIndex | None) -> ImageIndex | None:
        raise ZeroDivisionError

    anna, together = Caller(registry, "anna"), Together()
    outcomes = together.update((anna, IndexUpdate(broken, lambda _: True)), (anna, adding("a")))
    assert isinstance(outcomes[0], ZeroDivisionError)
    assert outcomes[1] is None or isinstance(outcomes[1], Unreachable)
    assert together.update((anna, adding("b"))) == [None]


def test_a_version_that_is_emptied_and_filled_in_one_batch(registry: OneTagRegistry) -> None:
    """The last file is deleted while another is published: there is one write, and the tag stays."""
    anna, together = Caller(registry, "anna"), Together()
    together.update((anna, adding("old")))

    def without(present: ImageIndex | None) -> ImageIndex | None:
        return ImageIndex(artifact_type="application/pyoci.package.v1", manifests=(), annotations={})

    gone = IndexUpdate(without, lambda present: "old" not in names_in(present))
    assert together.update((anna, gone), (anna, adding("new"))) == [None, None]
    assert registry.names == {"new"}
    assert not [call for call in registry.calls if call.startswith("delete")]
    assert together.update((anna, gone)) == [None]
    assert registry.tag is None


def test_an_update_that_reappears_may_be_lost_again(registry: OneTagRegistry) -> None:
    """Two writers elsewhere overwrite each other: one has read our update, the other has not. It is read back
    again before it counts as made.
    """
    anna, ours = Caller(registry, "anna"), adding("ours").apply(None)
    assert isinstance(ours, ImageIndex)
    theirs = adding("theirs").apply(None)
    assert isinstance(theirs, ImageIndex)
    states = {2: theirs, 3: ours, 4: theirs}  # by the number of the read

    def elsewhere(number: int) -> None:
        if number in states:
            document = Document.of(states[number])
            registry.documents[str(document.digest)] = document
            registry.tag = document.digest

    registry.before_read = elsewhere
    assert Together().update((anna, adding("ours"))) == [None]
    assert registry.names == {"ours", "theirs"}


def test_a_member_stops_waiting_for_its_turn(registry: OneTagRegistry) -> None:
    """It leaves the queue then; the others stay in it."""
    queue, key = Together().updater._queue, ("https://registry.example", "acme/hello_world", "1.0")
    first, second, third = (make_member(registry) for _ in range(3))
    assert queue.join(key, first, 1)
    with pytest.raises(Unreachable, match="too long"):
        queue.join(key, second, 0.01)
    waiting = threading.Thread(target=queue.join, args=(key, third, 20))
    waiting.start()
    until(lambda: bool(queue._queues[key]), "the third in the queue", pause=0.001)
    queue.leave(key)
    waiting.join(20)
    assert third.leads
    assert not second.leads


def test_an_update_that_is_to_be_alone_has_a_batch_of_its_own(registry: OneTagRegistry) -> None:
    """Whether it leads or is queued."""
    alone, other = make_member(registry), make_member(registry)
    assert alone.joins(other)
    alone.is_alone = True
    assert not alone.joins(other)
    assert not other.joins(alone)


def test_a_registry_that_asks_for_a_long_pause_is_not_waited_for(registry: OneTagRegistry) -> None:
    """The uploader is asked to try again; a short pause is waited for."""
    for seconds, writes in (("60", 1), ("1", 5)):
        registry.calls.clear()
        refusal = registry_error("write", "registry", 429, {"retry-after": seconds}, b"")
        registry.refuse = lambda _caller, _names, refusal=refusal: refusal  # type: ignore[misc]
        (outcome,) = Together().update((Caller(registry, "anna"), adding("a")))
        assert isinstance(outcome, RateLimited)
        assert len(registry.writes()) == writes
