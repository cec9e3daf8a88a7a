"""Changes that wait for one tag are made together, for each caller, and each has its own outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyoci.cache.locks import LocalLocks
from pyoci.errors import AlreadyExists, NotFound, PyOCIError, Unreachable
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
from pyoci.store.writing.queue import Already, IndexUpdate, TagLocks, Waiter
from pyoci.store.writing.update import IndexUpdater
from tests.store.apart import REPOSITORY, TAG, adding, names_in
from tests.waiting import until

Refuse = Callable[[str, set[str]], PyOCIError | None]  # who writes, and which files


@dataclass
class Shelf:
    """A registry of one tag beside the project's marker, which notes who called."""

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
    """Somebody's session."""

    shelf: Shelf
    name: str

    def pull(self, _repository: Repository, reference: Any) -> Document:
        self.shelf.calls.append(f"read by {self.name}")
        self.shelf.before_read(len([call for call in self.shelf.calls if call.startswith("read")]))
        digest = self.shelf.tag if isinstance(reference, Tag) else reference
        if digest is None:
            raise RegistryNotFound("no such tag")
        return self.shelf.documents[str(digest)]

    def digest(self, _repository: Repository, _marker: Tag) -> Digest:
        return Digest("sha256", "0" * 64)

    def push(self, _repository: Repository, _reference: Any, document: Document) -> None:
        self.shelf.calls.append(f"write by {self.name}")
        refusal = self.shelf.refuse(self.name, names_in(document.image_index()))
        if refusal is not None:
            raise refusal
        self.shelf.documents[str(document.digest)] = document
        self.shelf.tag = document.digest

    def delete(self, _repository: Repository, reference: Any) -> None:
        self.shelf.calls.append(f"delete by {self.name}")
        self.shelf.tag = None

    def same_caller(self, other: Caller) -> bool:
        return self.name == other.name


def make_waiter(shelf: Shelf) -> Waiter:
    return Waiter(Caller(shelf, "anna"), adding("a"))  # type: ignore[arg-type]


class Crowd:
    """Lets nobody write before all are in line."""

    def __init__(self) -> None:
        self._inner = LocalLocks()
        self.changer = IndexUpdater(
            lambda _repository, _tag: None,
            RecentWrites(),
            locks=TagLocks(self._lock),
            sleep=lambda _: None,
            clock=lambda: 0.0,
        )
        self._expected = 0

    def change(self, *wanted: tuple[Caller, IndexUpdate]) -> list[PyOCIError | None]:
        """Make changes at the same time, the first as the head of the line. Returns what each raised."""
        self._expected = len(wanted) - 1
        with ThreadPoolExecutor(len(wanted)) as pool:
            futures = []
            for number, (caller, change) in enumerate(wanted):
                futures.append(pool.submit(self.changer.change, caller, REPOSITORY, TAG, change))  # type: ignore[arg-type]
                self._wait_for(number)
            return [future.exception(30) for future in futures]  # type: ignore[misc]

    @contextmanager
    def _lock(self, name: str, seconds: float) -> Iterator[bool]:
        self._wait_for(self._expected)
        self._expected = 0
        with self._inner.held(name, time.monotonic() + seconds) as held:
            yield held

    def _in_line(self) -> int:
        lines = list(self.changer._turns._lines.values())
        return len(lines[0]) if lines else (self._expected == 0) * 1000 - 1

    def _wait_for(self, number: int) -> None:
        until(lambda: self._in_line() >= number, "others in the line", pause=0.001)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def refusing(status: int, who: str, what: str = "") -> Refuse:
    """A registry that refuses writes of somebody, or those that hold a certain file."""

    def refuse(caller: str, names: set[str]) -> PyOCIError | None:
        meant = caller == who if who else what in names
        return registry_error("write", "registry", status, {}, b"") if meant else None

    return refuse


def test_one_read_one_write_one_read_back(shelf: Shelf) -> None:
    """However many wait: two looks back, in case that somebody elsewhere is slow."""
    anna = Caller(shelf, "anna")
    assert Crowd().change(*((anna, adding(f"file {n}")) for n in range(30))) == [None] * 30
    assert len(shelf.names) == 30
    assert shelf.calls == ["read by anna", "write by anna", "read by anna", "read by anna"]


def test_each_has_its_own_outcome(shelf: Shelf) -> None:
    """One conflicts, one is there already, one is of a file that isn't there: the others are made."""

    def conflict(_present: ImageIndex | None) -> ImageIndex | Already:
        raise AlreadyExists("File already exists")

    def absent(_present: ImageIndex | None) -> ImageIndex | Already:
        raise NotFound("there is no such file")

    anna = Caller(shelf, "anna")
    outcomes = Crowd().change(
        (anna, adding("a")),
        (anna, IndexUpdate(conflict, lambda _: False)),
        (anna, adding("a")),
        (anna, IndexUpdate(absent, lambda _: False)),
        (anna, adding("b")),
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [type(None), AlreadyExists, type(None), NotFound, type(None)]
    assert shelf.names == {"a", "b"}
    assert len(shelf.writes()) == 1


def test_nobody_writes_for_another(shelf: Shelf) -> None:
    """Bob may not write. Anna's write doesn't carry his file, though both waited for the same tag."""
    shelf.refuse = refusing(403, who="bob")
    anna, bob = Caller(shelf, "anna"), Caller(shelf, "bob")
    changes = ((anna, adding("a")), (bob, adding("b")), (anna, adding("c")), (bob, adding("d")))
    outcomes = Crowd().change(*changes)
    assert [type(outcome) for outcome in outcomes] == [type(None), RegistryDenied, type(None), RegistryDenied]
    assert shelf.names == {"a", "c"}


@pytest.mark.parametrize(
    ("status", "kind"), [(400, PyOCIError), (403, RegistryDenied), (413, RegistryTooLarge)]
)
def test_what_is_refused_to_all_may_be_taken_from_each(
    shelf: Shelf, status: int, kind: type[PyOCIError]
) -> None:
    """One of them is too large, or lies beyond a quota: only its own uploader is told so."""
    shelf.refuse = refusing(status, who="", what="bad")
    anna = Caller(shelf, "anna")
    good, bad, other = Crowd().change(*((anna, adding(name)) for name in ("good", "bad", "other")))
    assert good is other is None
    assert isinstance(bad, kind)
    assert shelf.names == {"good", "other"}


def test_a_conflict_with_what_could_not_be_written_is_none(shelf: Shelf) -> None:
    """The second was refused for the sake of the first, which then failed: it is asked again."""
    shelf.refuse = refusing(413, who="", what="bad")

    def unless_bad(present: ImageIndex | None) -> ImageIndex | Already:
        if "bad" in names_in(present):
            raise AlreadyExists("File already exists")
        return adding("good").apply(present)

    anna = Caller(shelf, "anna")
    outcomes = Crowd().change((anna, adding("bad")), (anna, IndexUpdate(unless_bad, adding("good").holds)))
    assert [type(outcome) for outcome in outcomes] == [RegistryTooLarge, type(None)]


def test_a_failure_that_passes_is_nobodys(shelf: Shelf) -> None:
    """A registry that fails once is asked again, for all of them together."""
    failures = [registry_error("write", "registry", 500, {}, b"")]
    shelf.refuse = lambda _caller, _names: failures.pop() if failures else None
    anna = Caller(shelf, "anna")
    assert Crowd().change(*((anna, adding(f"{n}")) for n in range(8))) == [None] * 8
    assert len(shelf.names) == 8


def test_a_registry_that_fails_for_good_is_passed_on_to_all(shelf: Shelf) -> None:
    """Each in an exception of its own."""
    shelf.refuse = refusing(500, who="anna")
    anna = Caller(shelf, "anna")
    outcomes = Crowd().change((anna, adding("a")), (anna, adding("b")))
    assert [type(outcome) for outcome in outcomes] == [RegistryFailed, RegistryFailed]
    assert outcomes[0] is not outcomes[1]


def test_a_broken_head_leaves_nobody_waiting(shelf: Shelf) -> None:
    """A defect in one change is its own caller's trouble; the others may try again, and the line goes on."""

    def broken(_present: ImageIndex | None) -> ImageIndex | Already:
        raise ZeroDivisionError

    anna, crowd = Caller(shelf, "anna"), Crowd()
    outcomes = crowd.change((anna, IndexUpdate(broken, lambda _: True)), (anna, adding("a")))
    assert isinstance(outcomes[0], ZeroDivisionError)
    assert outcomes[1] is None or isinstance(outcomes[1], Unreachable)
    assert crowd.change((anna, adding("b"))) == [None]


def test_emptied_and_filled_at_once(shelf: Shelf) -> None:
    """The last file is deleted while another is published: one write, and the tag stays."""
    anna, crowd = Caller(shelf, "anna"), Crowd()
    crowd.change((anna, adding("old")))

    def without(present: ImageIndex | None) -> ImageIndex | Already:
        return ImageIndex(artifact_type="application/pyoci.package.v1", manifests=(), annotations={})

    gone = IndexUpdate(without, lambda present: "old" not in names_in(present))
    assert crowd.change((anna, gone), (anna, adding("new"))) == [None, None]
    assert shelf.names == {"new"}
    assert not [call for call in shelf.calls if call.startswith("delete")]
    crowd.change((anna, gone))
    assert shelf.tag is None


def test_what_comes_back_by_itself_may_be_lost_again(shelf: Shelf) -> None:
    """Two neighbours who overwrite each other: one has seen our change, the other has not. It is looked for
    again before anybody is told that it is there.
    """
    anna, ours = Caller(shelf, "anna"), adding("ours").apply(None)
    assert isinstance(ours, ImageIndex)
    theirs = adding("theirs").apply(None)
    assert isinstance(theirs, ImageIndex)
    states = {2: theirs, 3: ours, 4: theirs}  # by the number of the read

    def neighbour(number: int) -> None:
        if number in states:
            document = Document.of(states[number])
            shelf.documents[str(document.digest)] = document
            shelf.tag = document.digest

    shelf.before_read = neighbour
    assert Crowd().change((anna, adding("ours"))) == [None]
    assert shelf.names == {"ours", "theirs"}


def test_a_turn_that_never_comes_is_not_waited_for(shelf: Shelf) -> None:
    """Whoever gives up leaves the line; the others keep their places."""
    turns = Crowd().changer._turns
    first, second, third = (make_waiter(shelf) for _ in range(3))
    assert turns.join("key", first, 1)
    with pytest.raises(Unreachable, match="too long"):
        turns.join("key", second, 0.01)
    taken = threading.Thread(target=turns.join, args=("key", third, 20))
    taken.start()
    while not turns._lines["key"]:
        time.sleep(0.001)
    turns.leave("key")
    taken.join(20)
    assert third.head
    assert not second.head
