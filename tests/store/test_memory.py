"""What is remembered, for how long, and that it never speaks for the registry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.errors import Denied, NotFound, RangeNotSatisfiable, Unauthorized
from pyoci.oci.models import ImageIndex
from pyoci.oci.references import Tag
from pyoci.store.memory import Generations, Memory
from pyoci.store.models import ByteRange
from pyoci.store.service import PackageStore
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, names, page, publish, publish_wheel

ACME = make_namespace()
REPOSITORY, TAG = make_repository(), Tag.parse("1.0")
WHEEL, BYTES = make_wheel()


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(registry: TestRegistry, clock: Clock) -> PackageStore:
    """A store with two versions, whose page has been read."""
    store = registry.store(memory=Memory(clock=clock))
    publish_wheel(store)
    publish_wheel(store, "2.0")
    page(store)
    registry.calls.clear()
    return store


def test_a_page_costs_one_request(registry: TestRegistry, store: PackageStore) -> None:
    """The tags, asked for with the caller's own credentials."""
    assert len(names(store)) == 2
    assert registry.calls == ["GET acme/hello_world/tags/list"]


def test_a_download_and_metadata_cost_one_request_each(registry: TestRegistry, store: PackageStore) -> None:
    """The blob's, with the caller's own credentials."""
    assert content(store, WHEEL) == BYTES
    store.metadata(ACME, HELLO, WHEEL, NOBODY)
    assert [line.split("sha256")[0] for line in registry.calls] == ["GET acme/hello_world/blobs/"] * 2


def test_what_others_change_shows_when_the_time_is_over(
    registry: TestRegistry, store: PackageStore, clock: Clock
) -> None:
    """A new version at once, since the tags are asked for; a new file of a known version later."""
    elsewhere = registry.store()
    publish_wheel(elsewhere, "3.0")
    publish(elsewhere, *make_sdist())
    assert len(names(store)) == 3
    clock.now += 60
    assert len(names(store)) == 4


def test_a_fresh_page_asks_for_everything(registry: TestRegistry, store: PackageStore) -> None:
    """`Cache-Control: no-cache`, which uv sends for --refresh."""
    publish(registry.store(), *make_sdist())
    assert len(store.page(ACME, HELLO, NOBODY, fresh=True).files) == 3


def test_our_own_writes_show_at_once(store: PackageStore) -> None:
    """After an upload, a yank and a delete."""
    publish(store, *make_sdist())
    assert len(names(store)) == 3
    store.yank(ACME, HELLO, "2.0", "broken", NOBODY)
    assert [file.yanked for file in page(store).files] == [None, None, "broken"]
    store.delete(ACME, HELLO, WHEEL, NOBODY)
    assert WHEEL not in names(store)
    with pytest.raises(NotFound):
        content(store, WHEEL)


def test_the_writes_of_another_worker_show_at_once(registry: TestRegistry, tmp_path: Path) -> None:
    """Workers that were forked from one server share what has changed, not what is remembered."""
    memory = Memory()
    memory.keep(REPOSITORY, TAG, memory.generation(REPOSITORY, TAG), None, 100)
    assert memory.recall(REPOSITORY, TAG) is not None
    child = os.fork()
    if not child:
        memory.changed(REPOSITORY, TAG)
        os._exit(0)
    os.waitpid(child, 0)
    assert memory.recall(REPOSITORY, TAG) is None


def test_a_change_that_comes_while_it_is_read_is_not_missed() -> None:
    """The generation is taken before the registry is asked."""
    memory = Memory()
    generation = memory.generation(REPOSITORY, TAG)
    memory.changed(REPOSITORY, TAG)
    memory.keep(REPOSITORY, TAG, generation, None, 100)
    assert memory.recall(REPOSITORY, TAG) is None


def test_counting_loses_nothing_among_processes() -> None:
    """Two workers that count up at the same time."""
    generations = Generations()
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            for _ in range(2000):
                generations.advance(REPOSITORY, TAG)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert generations.of(REPOSITORY, TAG) == 4000


def test_nothing_is_remembered_where_nothing_shall_be(registry: TestRegistry) -> None:
    """PYOCI_CACHE_TTL=0."""
    store = registry.store(memory=Memory(ttl=0))
    publish_wheel(store)
    page(store)
    registry.calls.clear()
    page(store)
    assert len(registry.calls) == 2


def test_memory_has_bounds() -> None:
    """The oldest goes; what is too large for it never comes."""
    memory = Memory(size=100_000)
    for number in range(100):
        tag = Tag.parse(f"{number}")
        memory.keep(REPOSITORY, tag, memory.generation(REPOSITORY, tag), ImageIndex(), 1000)
    known = [n for n in range(100) if memory.recall(REPOSITORY, Tag.parse(f"{n}"))]
    assert known == list(range(100 - len(known), 100))
    assert 0 < len(known) < 20
    memory.keep(REPOSITORY, TAG, memory.generation(REPOSITORY, TAG), ImageIndex(), 10_000)
    assert memory.recall(REPOSITORY, TAG) is None


REFUSALS = [
    (401, "UNAUTHORIZED", Unauthorized),
    (403, "DENIED", (Denied, Unauthorized)),
    (404, "NAME_UNKNOWN", NotFound),
]


@pytest.mark.parametrize(("status", "code", "kind"), REFUSALS)
class TestACallerWhomTheRegistryRefuses:
    """Gets the registry's answer to everything, however much is remembered from others."""

    @pytest.fixture(autouse=True)
    def _refuse(self, registry: TestRegistry, store: PackageStore, status: int, code: str) -> None:
        registry.refuse = {"GET|HEAD": (status, code)}

    def test_a_page(self, store: PackageStore, kind: type[Exception]) -> None:
        """Nobody lists the tags for it."""
        with pytest.raises(kind):
            page(store)

    def test_a_file(self, store: PackageStore, kind: type[Exception]) -> None:
        """Nobody gives the blob."""
        with pytest.raises(kind):
            content(store, WHEEL)

    def test_what_is_known_of_a_file(
        self, registry: TestRegistry, store: PackageStore, kind: type[Exception]
    ) -> None:
        """HEAD is answered by the registry's word alone."""
        with pytest.raises(kind):
            store.describe(ACME, HELLO, WHEEL, NOBODY)
        assert registry.calls

    def test_metadata(self, store: PackageStore, kind: type[Exception]) -> None:
        """Nobody gives the blob."""
        with pytest.raises(kind):
            store.metadata(ACME, HELLO, WHEEL, NOBODY)

    def test_a_range_outside_the_file(self, store: PackageStore, kind: type[Exception]) -> None:
        """The size of a file is nothing that strangers are told."""
        with pytest.raises(kind) as caught:
            store.open(ACME, HELLO, WHEEL, NOBODY, ByteRange.parse("bytes=999999-"))
        assert not isinstance(caught.value, RangeNotSatisfiable)

    def test_a_file_that_is_not_there(
        self, registry: TestRegistry, store: PackageStore, kind: type[Exception]
    ) -> None:
        """That it isn't is the registry's to say."""
        with pytest.raises(kind):
            content(store, "hello_world-2.0-py2-none-any.whl")
        assert registry.calls

    def test_metadata_that_is_not_there(
        self, registry: TestRegistry, store: PackageStore, kind: type[Exception]
    ) -> None:
        """That a file has none is the registry's to say, too."""
        with pytest.raises(kind):
            store.metadata(ACME, HELLO, make_sdist()[0], NOBODY)
        assert registry.calls
