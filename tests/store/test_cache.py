"""What is remembered, for how long, and how many requests to the registry are saved."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from pyoci.cache.backend import Position
from pyoci.cache.memory import MemoryBackend
from pyoci.errors import NotFound, RateLimited
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Basic, Credentials
from pyoci.oci.models import Document
from pyoci.oci.references import Digest, Registry, Repository, Tag
from pyoci.oci.session import Gateway
from pyoci.store.models import ProjectPage
from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness, State, TagState
from tests import stores
from tests.builders import make_sdist, make_wheel
from tests.clock import Clock
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import (
    HELLO,
    NOBODY,
    SwitchableBackend,
    content,
    names,
    page,
    publish,
    publish_wheel,
    seeded,
)
from tests.stores import make_cache

ACME = make_namespace()
REPOSITORY, TAG = make_repository(), Tag.parse("1.0")
WHEEL, BYTES = make_wheel()
LIST = "GET acme/hello_world/tags/list"
SOMEBODY, ANOTHER = Basic("somebody", "secret"), Basic("another", "secret")


@pytest.fixture
def store(registry: TestRegistry, make_store: Callable[..., PackageStore]) -> PackageStore:
    """A store with two versions, whose page somebody has read."""
    return seeded(registry, make_store())


def read(store: PackageStore, caller: Credentials) -> ProjectPage:
    return page(store, caller=caller)


class TestWhatAPageCosts:
    """The number of requests to the registry for a page."""

    def test_none_again(self, registry: TestRegistry, store: PackageStore) -> None:
        """For a caller whom the registry has just let read."""
        assert len(names(store)) == 2
        assert registry.calls == []

    def test_one_for_a_caller_without_a_proof(self, registry: TestRegistry, store: PackageStore) -> None:
        """The list of tags, with the caller's credentials."""
        assert len(read(store, SOMEBODY).files) == 2
        assert registry.calls == [LIST]

    def test_one_and_a_head_request_for_recent_versions(
        self, registry: TestRegistry, store: PackageStore, clock: Clock
    ) -> None:
        """After a minute."""
        clock.now += 60
        page(store)
        found = sorted(registry.calls)
        assert found == [LIST, *(f"HEAD acme/hello_world/manifests/{v}" for v in ("1.0", "2.0"))]

    def test_one_for_old_versions(self, registry: TestRegistry, store: PackageStore, clock: Clock) -> None:
        """A version that hasn't changed for a day is read once an hour."""
        clock.now += 2 * 24 * 3600
        page(store)
        registry.calls.clear()
        clock.now += 61
        page(store)
        assert registry.calls == [LIST]
        clock.now += 3600
        registry.calls.clear()
        page(store)
        assert len(registry.calls) == 3

    def test_one_for_each_version_without_caching(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """PYOCI_CACHE_TTL=0: a HEAD request for each version, because documents never change."""
        never = make_store(Freshness(ttl=0))
        for _ in range(2):
            registry.calls.clear()
            page(never)
            assert registry.calls[0] == LIST
            assert len(registry.calls) == 3

    def test_workers_share_what_they_have_read(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """Except the list of tags, which proves that the caller may read."""
        assert len(names(make_store())) == 2
        assert registry.calls == [LIST]

    def test_workers_share_what_they_have_read_after_a_download(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """A worker that knows only one version, and builds a page after a change, asks
        only for what is new.
        """
        publish_wheel(store, "3.0")
        other = make_store()
        other.describe(ACME, HELLO, WHEEL, SOMEBODY)
        registry.calls.clear()
        assert len(read(other, SOMEBODY).files) == 3
        assert sorted(registry.calls) == ["GET acme/hello_world/manifests/3.0", LIST]

    def test_concurrent_requests_share_one_round(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """A hundred requests of one caller at once, in two workers with empty caches."""
        store.delete(ACME, HELLO, "2.0", NOBODY)
        workers = [make_store(), make_store()]
        registry.calls.clear()
        with ThreadPoolExecutor(100) as threads:
            found = list(
                threads.map(lambda number: len(read(workers[number % 2], SOMEBODY).files), range(100))
            )
        assert found == [1] * 100
        assert len([call for call in registry.calls if call == LIST]) <= 2
        assert len(registry.calls) <= 4


class TestFiles:
    """The number of requests to the registry for a file after its page."""

    def test_head_costs_nothing(self, registry: TestRegistry, store: PackageStore) -> None:
        """Nor does a 304."""
        assert store.describe(ACME, HELLO, WHEEL, NOBODY).size == len(BYTES)
        assert registry.calls == []

    def test_its_bytes_cost_one(self, registry: TestRegistry, store: PackageStore) -> None:
        """The request for the blob, with the caller's credentials."""
        assert content(store, WHEEL) == BYTES
        store.describe(ACME, HELLO, WHEEL, NOBODY)
        assert [line.split("sha256")[0] for line in registry.calls] == ["GET acme/hello_world/blobs/"]

    def test_its_metadata_costs_one_once(self, registry: TestRegistry, store: PackageStore) -> None:
        """And one for each caller without a proof."""
        first = store.metadata(ACME, HELLO, WHEEL, NOBODY)
        assert store.metadata(ACME, HELLO, WHEEL, NOBODY) == first
        assert len(registry.calls) == 1
        assert store.metadata(ACME, HELLO, WHEEL, SOMEBODY) == first
        assert len(registry.calls) == 2

    def test_one_that_is_asked_for_before_its_page(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """The image index of its version and the marker, which has the status, are read and remembered."""
        store.delete(ACME, HELLO, "2.0", NOBODY)
        other = make_store()
        registry.calls.clear()
        for _ in range(2):
            assert other.describe(ACME, HELLO, WHEEL, SOMEBODY).size == len(BYTES)
        assert registry.calls == [f"GET acme/hello_world/manifests/{tag}" for tag in ("1.0", "0--pyoci")]


class TestChanges:
    """When changes are visible."""

    def test_what_others_publish_shows_when_the_minute_is_over(
        self, registry: TestRegistry, store: PackageStore, clock: Clock
    ) -> None:
        """A new version, and a new file in a known version."""
        elsewhere = registry.store()
        publish_wheel(elsewhere, "3.0")
        publish(elsewhere, *make_sdist())
        assert len(names(store)) == 2
        clock.now += 60
        assert len(names(store)) == 4

    def test_a_new_version_shows_to_a_caller_without_a_proof(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """The list of tags shows it, and after that every caller sees it."""
        publish_wheel(registry.store(), "3.0")
        assert len(read(store, SOMEBODY).files) == 3
        assert len(names(store)) == 3

    def test_what_others_delete_goes(self, registry: TestRegistry, store: PackageStore, clock: Clock) -> None:
        """After a minute."""
        registry.store().delete(ACME, HELLO, "2.0", NOBODY)
        clock.now += 400
        assert len(names(store)) == 1

    def test_a_replaced_version_shows(
        self, registry: TestRegistry, store: PackageStore, clock: Clock
    ) -> None:
        """A tag that is no longer listed is forgotten with its files, however old it is."""
        clock.now += 2 * 24 * 3600
        page(store)
        registry.store().delete(ACME, HELLO, "1.0", NOBODY)
        clock.now += 61
        assert len(names(store)) == 1
        with pytest.raises(NotFound):
            store.describe(ACME, HELLO, WHEEL, NOBODY)
        sdist = publish(registry.store(), *make_sdist())
        clock.now += 61
        assert names(store)[0] == sdist.filename

    def test_a_replaced_and_cleaned_up_document_is_read_again(
        self,
        registry: TestRegistry,
        store: PackageStore,
        make_store: Callable[..., PackageStore],
        backend: SwitchableBackend,
    ) -> None:
        """If its bytes aren't remembered either, the tag is read again."""
        replaced = registry.session().digest(REPOSITORY, TAG)
        assert replaced is not None
        publish(registry.store(), *make_sdist())
        registry.session().delete(REPOSITORY, replaced)
        backend.lost = ("pack", "document")
        assert len(names(make_store())) == 3
        other = make_store()
        other.describe(ACME, HELLO, make_wheel(version="2.0")[0], NOBODY)
        assert other.describe(ACME, HELLO, WHEEL, NOBODY).filename == WHEEL

    def test_a_fresh_page_asks_for_everything(self, registry: TestRegistry, store: PackageStore) -> None:
        """`Cache-Control: no-cache`, which uv sends for --refresh."""
        publish(registry.store(), *make_sdist())
        assert len(page(store, fresh=True).files) == 3
        assert len(names(store)) == 3

    def test_all_workers_show_the_same_page(
        self, registry: TestRegistry, store: PackageStore, make_store: Callable[..., PackageStore]
    ) -> None:
        """A page doesn't depend on the worker: no later answer shows an older state."""
        other = make_store()
        old = [page(worker).validity for worker in (store, other)]
        registry.store().yank(ACME, HELLO, "1.0", "broken", NOBODY)
        assert page(store, caller=SOMEBODY, fresh=True).files[0].yanked == "broken"
        for worker, validity in zip((store, other), old, strict=True):
            assert validity is not None
            assert not worker.is_valid(validity)
            assert page(worker).files[0].yanked == "broken"
        registry.calls.clear()
        assert [page(worker).files[0].yanked for worker in (store, other)] == ["broken"] * 2
        assert registry.calls == []

    def test_our_own_writes_show_at_once(
        self, store: PackageStore, make_store: Callable[..., PackageStore]
    ) -> None:
        """After an upload, a yank and a delete, in every worker."""
        other = make_store()
        for reader in (other, store):
            assert len(names(reader)) == 2
        publish(store, *make_sdist())
        assert len(names(other)) == len(names(store)) == 3
        store.yank(ACME, HELLO, "2.0", "broken", NOBODY)
        for reader in (other, store):
            assert [file.yanked for file in page(reader).files] == [None, None, "broken"]
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        for reader in (other, store):
            assert WHEEL not in names(reader)
            with pytest.raises(NotFound):
                content(reader, WHEEL)

    def test_our_own_old_versions_show_at_once(
        self, store: PackageStore, make_store: Callable[..., PackageStore], clock: Clock
    ) -> None:
        """A yank of a version that was written days ago."""
        other = make_store()
        clock.now += 5 * 24 * 3600
        names(other)
        store.yank(ACME, HELLO, "2.0", "broken", NOBODY)
        assert [file.yanked for file in page(other).files] == [None, "broken"]

    def test_a_change_that_comes_while_a_page_is_read_is_not_missed(
        self, registry: TestRegistry, store: PackageStore, make_store: Callable[..., PackageStore]
    ) -> None:
        """The journal's position is taken before the registry is asked."""
        other = make_store()

        def publish_between(line: str) -> None:
            if line.endswith("manifests/2.0"):
                registry.before = None
                store.yank(ACME, HELLO, "1.0", "", NOBODY)

        registry.before = publish_between
        page(other, caller=SOMEBODY, fresh=True)
        registry.before = None
        assert read(other, SOMEBODY).files[0].yanked == ""

    @pytest.mark.parametrize("number", [1, 2])
    def test_a_change_that_comes_while_memory_is_searched_is_not_missed(
        self,
        store: PackageStore,
        make_store: Callable[..., PackageStore],
        backend: SwitchableBackend,
        clock: Clock,
        number: int,
    ) -> None:
        """What was remembered before a change isn't used after it, even for an old version."""
        other = make_store()
        clock.now += 2 * 24 * 3600
        page(store)
        clock.now += 61
        content(store, WHEEL)  # which lets the caller in, and lists nothing
        searches = itertools.count(1)

        def yank_between(key: str) -> None:
            if key.startswith("state\0") and next(searches) == number:
                backend.before = None
                other.yank(ACME, HELLO, "1.0", "", NOBODY)

        backend.before = yank_between
        page(store)
        assert next(searches) > number
        assert page(store).files[0].yanked == ""

    def test_a_list_that_lags_does_not_hide_what_we_wrote(
        self, registry: TestRegistry, store: PackageStore, make_store: Callable[..., PackageStore]
    ) -> None:
        """The tag is read even if the registry doesn't list it yet."""
        state = State(Position("e", 1), 100.0, ("1.0",), {"1.0": TagState(Digest("sha256", "a" * 64), 1, 1)})
        assert state.without({"2.0"}, Position("e", 2)).tags == ("1.0", "2.0")

    def test_an_invalidated_page_keeps_the_tags(self) -> None:
        """Only the page is built again."""
        state = State(Position("e", 1), 100.0, ("1.0",), {})
        assert state.without({"+"}, Position("e", 2)) == State(Position("e", 2), 100.0, ("1.0",), {})


def test_requests_get_the_remembered_page_while_one_asks_the_registry(
    registry: TestRegistry, store: PackageStore, clock: Clock
) -> None:
    """For another minute, so that a slow registry delays one request and not a hundred."""
    looking, go_on = threading.Event(), threading.Event()

    def wait(line: str) -> None:
        if line.startswith("HEAD"):
            looking.set()
            assert go_on.wait(20)

    clock.now += 60
    publish(registry.store(), *make_sdist())
    registry.before = wait
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(names, store)
        assert looking.wait(20)
        assert len(names(store)) == 2
        go_on.set()
        assert len(slow.result(20)) == 3


def test_the_failure_of_one_caller_is_not_that_of_another(
    registry: TestRegistry, store: PackageStore
) -> None:
    """A request that waited for a failed one reads the page with its own credentials."""
    other, failing = registry.store(), threading.Event()
    threads = ThreadPoolExecutor(1)

    def fail_once(line: str) -> None:
        if line == "GET acme/hello_world/manifests/1.0":
            registry.before = None
            waiting.append(threads.submit(read, other, ANOTHER))
            failing.wait(0.2)
            raise RateLimited("slow down")

    waiting: list[Future[ProjectPage]] = []
    registry.before = fail_once
    with pytest.raises(RateLimited):
        read(other, SOMEBODY)
    assert len(waiting[0].result(20).files) == 2
    threads.shutdown()


def test_nothing_is_served_from_memory_while_the_journal_cannot_be_read(
    registry: TestRegistry, store: PackageStore, backend: SwitchableBackend
) -> None:
    """Another host may have changed something: the registry is asked each time, without an error."""
    backend.off = True
    publish(registry.store(), *make_sdist())
    assert len(names(store)) == 3
    registry.calls.clear()
    assert len(names(store)) == 3
    assert registry.calls
    assert page(store).validity is None
    backend.off = False
    assert len(names(store)) == 3


@pytest.mark.parametrize("mark", ["", "\0\0 e", "x", "1\0 e"])
def test_a_mark_that_is_being_written_is_ignored(mark: str) -> None:
    """Workers write marks into shared memory without a lock, so half a mark may be read."""
    assert not make_cache().is_touched(REPOSITORY, TAG, mark)


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"position":["e",1]}',
        b'{"position":["e",1e999],"listed":0,"tags":[],"seen":{},"packs":[]}',
        b"\xff\x00",
        b"[" * 100_000,
    ],
)
def test_invalid_state_is_ignored(kept: bytes) -> None:
    """Under the key of a state may be anything."""
    assert State.from_json(kept) is None


def test_a_state_survives_being_written() -> None:
    """Every field comes back."""
    seen = {"1.0": TagState(Digest("sha256", "a" * 64), 2.5, 1.5)}
    state = State(Position("e", 7), 3.5, ("1.0", "latest"), seen)
    assert State.from_json(state.to_json()) == state


def test_a_document_that_was_tampered_with_is_none(backend: SwitchableBackend, store: PackageStore) -> None:
    """Documents and blobs are verified by their digests."""
    documents = make_cache(backend).of(REPOSITORY).documents
    digest = Digest("sha256", "a" * 64)
    backend.put(f"document\0{REPOSITORY.registry.origin}\0{REPOSITORY.name}\0{digest}", b"x\n{}")
    backend.put(f"blob\0{REPOSITORY.registry.origin}\0{REPOSITORY.name}\0{digest}", b"x")
    assert documents.document(digest) is None
    assert documents.blob(digest) is None


def test_the_embedded_registries_of_two_servers_are_not_one(backend: SwitchableBackend) -> None:
    """They have the same address, and may share a cache."""
    one, other = (make_cache(backend, home=home) for home in ("host:/a", "host:/b"))
    digest = Digest("sha256", hashlib.sha256(b"x").hexdigest())
    one.of(REPOSITORY).documents.put_blob(digest, b"x")
    assert one.of(REPOSITORY).documents.blob(digest) == b"x"
    assert other.of(REPOSITORY).documents.blob(digest) is None
    elsewhere = Repository.parse(Registry("https", "ghcr.io"), "acme/hello_world")
    assert one.key_of(elsewhere) == other.key_of(elsewhere)


class TestBounds:
    """A registry that lists very many tags takes bounded memory, and causes no error."""

    def test_a_state_that_is_too_large_is_not_kept_here(self) -> None:
        """The states of other repositories are kept."""
        cache, large = make_cache(), tuple(f"tag-{number}" for number in range(200_000))
        position = cache.of(REPOSITORY).position()
        small = State(position, cache.now(), ("1.0",), {})
        cache.of(REPOSITORY).put_state(small)
        cache.of(make_repository("large")).put_state(State(position, cache.now(), large, {}))
        assert cache.of(REPOSITORY).state() is small

    def test_no_request_reads_more_than_it_might_from_the_registry(self) -> None:
        """Packs have a limit for each request: the newest are read first."""
        documents = make_cache(MemoryBackend(size=1024 * 1024 * 1024)).of(REPOSITORY).documents
        state, every = State(), []
        for number in range(16):
            document = Document("x", b"%d" % number * 4_000_000)
            every.append(document.digest)
            packs = documents.pack({document.digest: document}, state)
            state = State(packs=packs)
        found = documents.unpack(state.packs)
        assert every[-1] in found
        assert every[0] not in found
        assert sum(len(document.body) for document in found.values()) <= 16 * 1024 * 1024

    def test_a_page_of_all_the_tags_that_may_be_listed(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """200,000 tags, one of which is a version."""
        tags = ["1.0", *(f"sha-{number}" for number in range(199_999))]

        def listing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if not environ["PATH_INFO"].endswith("/tags/list"):
                return registry(environ, start_response)
            body = json.dumps({"tags": tags}).encode()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

        assert len(page(stores.make_store(Gateway(Transport(embedded=listing), ttl=60))).files) == 1


def test_what_another_server_deleted_does_not_come_back(
    registry: TestRegistry, make_store: Callable[..., PackageStore]
) -> None:
    """An absent tag isn't taken for a stale answer once another server has written since."""
    left, right = make_store(), make_store()
    publish_wheel(left)
    publish(right, *make_sdist())
    right.delete(ACME, HELLO, "1.0", NOBODY)
    added = publish_wheel(left, tag="cp311-none-any")
    assert names(left) == names(right) == [added.filename]
