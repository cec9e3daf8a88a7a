"""What is remembered, for whom, for how long; and that it never speaks for the registry to a stranger."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from pyoci.cache.backend import Position
from pyoci.cache.memory import MemoryBackend
from pyoci.errors import Denied, NotFound, RangeNotSatisfiable, RateLimited, Unauthorized
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials
from pyoci.oci.models import Document
from pyoci.oci.references import Digest, Registry, Repository, Tag
from pyoci.oci.session import Gateway
from pyoci.store.models import ByteRange, ProjectPage
from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness, State, TagState
from tests import stores
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, make_upload, names, page, publish, publish_wheel
from tests.stores import make_cache

ACME = make_namespace()
REPOSITORY, TAG = make_repository(), Tag.parse("1.0")
WHEEL, BYTES = make_wheel()
LIST = "GET acme/hello_world/tags/list"
SOMEBODY, ANOTHER = Basic("somebody", "secret"), Basic("another", "secret")


class Clock:
    """Seconds that pass when a test says so; they begin when the wheels of these tests are published."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Deaf(MemoryBackend):
    """A place that nobody can be heard from, while it is switched off; `before` is told what is looked up."""

    off = False
    lost: tuple[str, ...] = ()  # kinds of values
    before: Callable[[str], None] | None = None

    def position(self, name: str) -> Position | None:
        return None if self.off else super().position(name)

    def get(self, key: str) -> bytes | None:
        if self.before is not None:
            self.before(key)
        lost = key.startswith(self.lost)
        return None if self.off or lost else super().get(key)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> Deaf:
    return Deaf(clock=clock)


@pytest.fixture
def make_store(registry: TestRegistry, backend: Deaf, clock: Clock) -> Callable[..., PackageStore]:
    """Makes stores that share a backend, as the workers of one server do."""

    def make(freshness: Freshness | None = None, **settings: Any) -> PackageStore:
        cache = make_cache(backend, freshness, clock=clock, now=clock)
        return registry.store(cache=cache, now=lambda: _moment(clock), **settings)

    return make


def _moment(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now, UTC)


@pytest.fixture
def store(registry: TestRegistry, make_store: Callable[..., PackageStore]) -> PackageStore:
    """A store with two versions, whose page somebody has read."""
    store = make_store()
    publish_wheel(store)
    publish_wheel(store, "2.0")
    page(store)
    registry.calls.clear()
    return store


def read(store: PackageStore, caller: Credentials) -> ProjectPage:
    return page(store, caller=caller)


class TestWhatAPageCosts:
    """In requests to the registry."""

    def test_nothing_again(self, registry: TestRegistry, store: PackageStore) -> None:
        """For the caller whom the registry has let in a moment ago."""
        assert len(names(store)) == 2
        assert registry.calls == []

    def test_one_for_whoever_is_not_known(self, registry: TestRegistry, store: PackageStore) -> None:
        """The tags, asked for with credentials of their own."""
        assert len(read(store, SOMEBODY).files) == 2
        assert registry.calls == [LIST]

    def test_one_and_a_glance_at_what_changed_lately(
        self, registry: TestRegistry, store: PackageStore, clock: Clock
    ) -> None:
        """When the minute is over."""
        clock.now += 60
        page(store)
        found = sorted(registry.calls)
        assert found == [LIST, *(f"HEAD acme/hello_world/manifests/{v}" for v in ("1.0", "2.0"))]

    def test_one_for_what_is_old(self, registry: TestRegistry, store: PackageStore, clock: Clock) -> None:
        """What nobody has written for a day is looked at once an hour."""
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

    def test_one_for_each_version_where_nothing_is_remembered(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """PYOCI_CACHE_TTL=0: a glance at each, since documents never change."""
        never = make_store(Freshness(ttl=0))
        for _ in range(2):
            registry.calls.clear()
            page(never)
            assert registry.calls[0] == LIST
            assert len(registry.calls) == 3

    def test_what_one_worker_has_read_another_does_not_ask_for(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """But for the tags, which prove that the caller may read."""
        assert len(names(make_store())) == 2
        assert registry.calls == [LIST]

    def test_what_another_worker_has_read_counts_after_a_file(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """A worker that knows one version only, and comes after a change, asks for what is new alone."""
        publish_wheel(store, "3.0")
        other = make_store()
        other.describe(ACME, HELLO, WHEEL, SOMEBODY)
        registry.calls.clear()
        assert len(read(other, SOMEBODY).files) == 3
        assert sorted(registry.calls) == ["GET acme/hello_world/manifests/3.0", LIST]

    def test_one_round_for_all_who_come_at_once(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """A hundred requests of one caller, in two workers that know nothing."""
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
    """What a file costs after its page."""

    def test_what_is_known_of_it_costs_nothing(self, registry: TestRegistry, store: PackageStore) -> None:
        """HEAD, and 304."""
        assert store.describe(ACME, HELLO, WHEEL, NOBODY).size == len(BYTES)
        assert registry.calls == []

    def test_its_bytes_cost_one(self, registry: TestRegistry, store: PackageStore) -> None:
        """The blob's, with the caller's own credentials; nothing else for whoever has it."""
        assert content(store, WHEEL) == BYTES
        store.describe(ACME, HELLO, WHEEL, NOBODY)
        assert [line.split("sha256")[0] for line in registry.calls] == ["GET acme/hello_world/blobs/"]

    def test_its_metadata_costs_one_once(self, registry: TestRegistry, store: PackageStore) -> None:
        """And one for each caller whom nobody knows."""
        first = store.metadata(ACME, HELLO, WHEEL, NOBODY)
        assert store.metadata(ACME, HELLO, WHEEL, NOBODY) == first
        assert len(registry.calls) == 1
        assert store.metadata(ACME, HELLO, WHEEL, SOMEBODY) == first
        assert len(registry.calls) == 2

    def test_one_that_is_asked_for_before_its_page(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], store: PackageStore
    ) -> None:
        """Its version is read, and remembered."""
        store.delete(ACME, HELLO, "2.0", NOBODY)
        other = make_store()
        registry.calls.clear()
        for _ in range(2):
            assert other.describe(ACME, HELLO, WHEEL, SOMEBODY).size == len(BYTES)
        assert registry.calls == ["GET acme/hello_world/manifests/1.0"]


class TestChanges:
    """When they show."""

    def test_what_others_publish_shows_when_the_minute_is_over(
        self, registry: TestRegistry, store: PackageStore, clock: Clock
    ) -> None:
        """A new version, and a new file of a known one."""
        elsewhere = registry.store()
        publish_wheel(elsewhere, "3.0")
        publish(elsewhere, *make_sdist())
        assert len(names(store)) == 2
        clock.now += 60
        assert len(names(store)) == 4

    def test_a_new_version_shows_to_whoever_is_not_known(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """Their list of tags tells of it, and then everybody knows."""
        publish_wheel(registry.store(), "3.0")
        assert len(read(store, SOMEBODY).files) == 3
        assert len(names(store)) == 3

    def test_what_others_delete_goes(self, registry: TestRegistry, store: PackageStore, clock: Clock) -> None:
        """When the minute is over."""
        registry.store().delete(ACME, HELLO, "2.0", NOBODY)
        clock.now += 400
        assert len(names(store)) == 1

    def test_what_others_publish_in_the_place_of_what_they_deleted_shows(
        self, registry: TestRegistry, store: PackageStore, clock: Clock
    ) -> None:
        """What left the list is known no more, however old it was: neither its files nor what it held."""
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

    def test_a_document_that_others_replaced_and_cleaned_away_is_not_missed(
        self,
        registry: TestRegistry,
        store: PackageStore,
        make_store: Callable[..., PackageStore],
        backend: Deaf,
    ) -> None:
        """Where its bytes are remembered nowhere any more either, the tag is looked at again."""
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

    def test_what_one_has_looked_up_all_show(
        self, registry: TestRegistry, store: PackageStore, make_store: Callable[..., PackageStore]
    ) -> None:
        """It doesn't depend on the worker what a page shows: nobody goes back to what was."""
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
        """A yank of what nobody has written for days."""
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
        backend: Deaf,
        clock: Clock,
        number: int,
    ) -> None:
        """What was remembered before it does not count as known after it, though it is an old version's."""
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
        """The tag is looked for even where the registry doesn't list it yet."""
        state = State(Position("e", 1), 100.0, ("1.0",), {"1.0": TagState(Digest("sha256", "a" * 64), 1, 1)})
        assert state.without({"2.0"}, Position("e", 2)).tags == ("1.0", "2.0")

    def test_a_page_that_was_made_anew_alone_keeps_what_is_known(self) -> None:
        """Nothing in the registry has changed by it."""
        state = State(Position("e", 1), 100.0, ("1.0",), {})
        assert state.without({"+"}, Position("e", 2)) == State(Position("e", 2), 100.0, ("1.0",), {})


def test_whoever_comes_while_somebody_looks_gets_what_is_remembered(
    registry: TestRegistry, store: PackageStore, clock: Clock
) -> None:
    """For another minute; so a slow registry keeps one request waiting, and not a hundred."""
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
    """Who waits for somebody else to read a page reads it with credentials of their own where that fails."""
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


def test_nothing_shared_is_given_while_nobody_can_be_heard(
    registry: TestRegistry, store: PackageStore, backend: Deaf
) -> None:
    """Another host may have written: the registry is asked each time, and nothing fails."""
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
def test_a_mark_that_is_being_written_tells_nothing(mark: str) -> None:
    """Other workers write marks into the memory that all share, and nobody waits for them."""
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
def test_what_is_no_state_is_none(kept: bytes) -> None:
    """Whatever lies where one was kept."""
    assert State.from_json(kept) is None


def test_a_state_survives_being_written() -> None:
    """Every part of it."""
    seen = {"1.0": TagState(Digest("sha256", "a" * 64), 2.5, 1.5)}
    state = State(Position("e", 7), 3.5, ("1.0", "latest"), seen)
    assert State.from_json(state.to_json()) == state


def test_a_document_that_was_tampered_with_is_none(backend: Deaf, store: PackageStore) -> None:
    """Its bytes are hashed again."""
    documents = make_cache(backend).of(REPOSITORY).documents
    digest = Digest("sha256", "a" * 64)
    backend.put(f"document\0{REPOSITORY.registry.origin}\0{REPOSITORY.name}\0{digest}", b"x\n{}")
    backend.put(f"blob\0{REPOSITORY.registry.origin}\0{REPOSITORY.name}\0{digest}", b"x")
    assert documents.document(digest) is None
    assert documents.blob(digest) is None


def test_the_embedded_registries_of_two_servers_are_not_one(backend: Deaf) -> None:
    """They have one address, and may share a cache."""
    one, other = (make_cache(backend, home=home) for home in ("host:/a", "host:/b"))
    digest = Digest("sha256", hashlib.sha256(b"x").hexdigest())
    one.of(REPOSITORY).documents.put_blob(digest, b"x")
    assert one.of(REPOSITORY).documents.blob(digest) == b"x"
    assert other.of(REPOSITORY).documents.blob(digest) is None
    elsewhere = Repository.parse(Registry("https", "ghcr.io"), "acme/hello_world")
    assert one.key_of(elsewhere) == other.key_of(elsewhere)


class TestAbsences:
    """That a registry has told a caller that there is no such project."""

    @pytest.mark.parametrize(
        ("seconds", "last"),
        [pytest.param(10, 10, id="the token's"), pytest.param(1000, 60, id="the time to live")],
    )
    def test_last_no_longer_than_the_registrys_word(self, clock: Clock, seconds: float, last: float) -> None:
        """Neither the absence, nor the page from elsewhere that stands on it."""
        cache = make_cache(clock=clock, now=clock)
        access = cache.of(REPOSITORY).access
        access.add_absence("me", cache.of(REPOSITORY).position(), seconds)
        validity = access.absence_validity("me", math.inf)
        assert validity is not None
        clock.now += last - 0.5
        assert access.is_absent("me")
        assert cache.is_valid(validity)
        clock.now += 0.5
        assert not access.is_absent("me")
        assert not cache.is_valid(validity)
        assert access.absence_validity("me", math.inf) is None

    @pytest.mark.parametrize(("seconds", "ttl"), [(0, 60), (60, 0)], ids=["a token that is over", "no TTL"])
    def test_are_not_remembered_beyond_the_request(self, clock: Clock, seconds: float, ttl: float) -> None:
        """Where the registry's word counts for that alone."""
        cache = make_cache(freshness=Freshness(ttl), clock=clock, now=clock)
        access = cache.of(REPOSITORY).access
        access.add_absence("me", cache.of(REPOSITORY).position(), seconds)
        assert not access.is_absent("me")


class TestProofs:
    """That a caller may read."""

    def test_last_no_longer_than_the_token(self, clock: Clock) -> None:
        """That proved it, and a minute at most."""
        access = make_cache(clock=clock, now=clock).of(REPOSITORY).access
        access.prove("me", 10)
        access.prove("you", 1000)
        access.prove("she", 0)
        assert [access.is_proven(who) for who in ("me", "you", "she")] == [True, True, False]
        clock.now += 11
        assert [access.is_proven(who) for who in ("me", "you")] == [False, True]
        clock.now += 50
        assert not access.is_proven("you")

    def test_are_for_one_repository(self) -> None:
        """And for one caller."""
        cache = make_cache()
        cache.of(REPOSITORY).access.prove("me", 60)
        assert not cache.of(REPOSITORY).access.is_proven("you")
        assert not cache.of(make_repository("other")).access.is_proven("me")

    def test_end_with_a_refusal(self) -> None:
        """The registry's last word counts."""
        access = make_cache().of(REPOSITORY).access
        access.prove("me", 60)
        access.revoke("me")
        assert not access.is_proven("me")

    @pytest.mark.parametrize(
        "other", [Anonymous(), Basic("me", "wrong"), Basic("you", "secret"), Bearer("secret")], ids=str
    )
    def test_tell_callers_apart(self, other: Credentials) -> None:
        """By all of their credentials, and without a trace of them."""
        cache = make_cache()
        mine = cache.caller_key(Basic("me", "secret"))
        assert mine != cache.caller_key(other)
        assert "me" not in mine.strip("0123456789abcdef")


@pytest.mark.parametrize("refused", ["tags/list", "manifests", "blobs"])
def test_a_refusal_of_anything_ends_the_proof(
    registry: TestRegistry, store: PackageStore, refused: str
) -> None:
    """Of the page, of a version that isn't remembered, of a file's bytes: the page isn't given after it."""
    asked: dict[str, Callable[[], object]] = {
        "tags/list": lambda: page(store, fresh=True),
        "manifests": lambda: store.describe(ACME, HELLO, make_wheel(version="7.0")[0], NOBODY),
        "blobs": lambda: store.open(ACME, HELLO, WHEEL, NOBODY),
    }
    validity = page(store).validity
    assert validity is not None
    registry.refuse = {refused: (403, "DENIED")}
    with pytest.raises((Denied, Unauthorized)):
        asked[refused]()
    assert not store.is_valid(validity)


def test_a_stranger_asks_the_same_of_what_is_remembered(registry: TestRegistry, store: PackageStore) -> None:
    """As of what isn't there: neither the requests nor the words tell the one from the other."""
    content(store, WHEEL)
    store.metadata(ACME, HELLO, WHEEL, NOBODY)
    registry.refuse = {"": (403, "DENIED")}
    found = []
    for version in ("1.0", "7.0"):
        filename = make_wheel(version=version)[0]
        registry.calls.clear()
        for ask in (store.open, store.metadata, store.describe):
            with pytest.raises(Denied) as caught:
                ask(ACME, HELLO, filename, SOMEBODY)
            registry.calls.append(caught.value.message)
        found.append([line.replace("7.0", "1.0") for line in registry.calls])
    assert found[0] == found[1]


class TestBounds:
    """A registry that lists without end takes no memory for good, and breaks nothing."""

    def test_a_state_that_is_too_large_is_not_kept_here(self) -> None:
        """The others stay."""
        cache, large = make_cache(), tuple(f"tag-{number}" for number in range(200_000))
        position = cache.of(REPOSITORY).position()
        small = State(position, cache.now(), ("1.0",), {})
        cache.of(REPOSITORY).put_state(small)
        cache.of(make_repository("large")).put_state(State(position, cache.now(), large, {}))
        assert cache.of(REPOSITORY).state() is small

    def test_no_request_reads_more_than_it_might_from_the_registry(self) -> None:
        """Of what is packed together: the newest first."""
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
        assert sum(len(document.body) for document in found.values()) <= 48 * 1024 * 1024

    def test_a_page_of_all_the_tags_that_may_be_listed(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """None of which but one is a version."""
        tags = ["1.0", *(f"sha-{number}" for number in range(199_999))]

        def listing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if not environ["PATH_INFO"].endswith("/tags/list"):
                return registry(environ, start_response)
            body = json.dumps({"tags": tags}).encode()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

        assert len(page(stores.make_store(Gateway(Transport(embedded=listing), ttl=60))).files) == 1


REFUSALS = [
    (401, "UNAUTHORIZED", Unauthorized),
    (403, "DENIED", (Denied, Unauthorized)),
    (404, "NAME_UNKNOWN", NotFound),
]
CALLERS = [
    pytest.param(ANOTHER, 0, id="a caller without access"),
    pytest.param(Basic("somebody", "wrong"), 0, id="a wrong password"),
    pytest.param(Bearer("forged"), 0, id="a forged token"),
    pytest.param(NOBODY, 61, id="one whose access was revoked a minute ago"),
]


@pytest.mark.parametrize(("status", "code", "kind"), REFUSALS)
@pytest.mark.parametrize(("caller", "later"), CALLERS)
class TestACallerWhomTheRegistryRefuses:
    """Gets the registry's answer to everything, however much is remembered from others."""

    @pytest.fixture(autouse=True)
    def _refuse(
        self, registry: TestRegistry, store: PackageStore, clock: Clock, later: int, status: int, code: str
    ) -> None:
        content(store, WHEEL)
        store.metadata(ACME, HELLO, WHEEL, NOBODY)
        clock.now += later
        registry.calls.clear()
        registry.refuse = {"GET|HEAD": (status, code)}

    def test_a_page(self, store: PackageStore, caller: Credentials, kind: type[Exception]) -> None:
        """Nobody lists the tags for it."""
        with pytest.raises(kind):
            read(store, caller)

    def test_a_file(self, store: PackageStore, caller: Credentials, kind: type[Exception]) -> None:
        """Nobody gives the blob."""
        with pytest.raises(kind):
            list(store.open(ACME, HELLO, WHEEL, caller))

    def test_what_is_known_of_a_file(
        self, registry: TestRegistry, store: PackageStore, caller: Credentials, kind: type[Exception]
    ) -> None:
        """HEAD is answered by the registry's word alone."""
        with pytest.raises(kind):
            store.describe(ACME, HELLO, WHEEL, caller)
        assert registry.calls

    def test_metadata(self, store: PackageStore, caller: Credentials, kind: type[Exception]) -> None:
        """Nobody gives the blob."""
        with pytest.raises(kind):
            store.metadata(ACME, HELLO, WHEEL, caller)

    def test_a_range_outside_the_file(
        self, store: PackageStore, caller: Credentials, kind: type[Exception]
    ) -> None:
        """The size of a file is nothing that strangers are told."""
        with pytest.raises(kind) as caught:
            store.open(ACME, HELLO, WHEEL, caller, ByteRange.parse("bytes=999999-"))
        assert not isinstance(caught.value, RangeNotSatisfiable)

    @pytest.mark.parametrize("filename", ["hello_world-2.0-py2-none-any.whl", make_sdist()[0]])
    def test_what_is_not_there(
        self,
        registry: TestRegistry,
        store: PackageStore,
        caller: Credentials,
        kind: type[Exception],
        filename: str,
    ) -> None:
        """That it isn't is the registry's to say, of a file and of its metadata."""
        with pytest.raises(kind):
            store.open(ACME, HELLO, filename, caller)
        with pytest.raises(kind):
            store.metadata(ACME, HELLO, filename, caller)
        assert registry.calls


def test_an_upload_lets_nobody_read(registry: TestRegistry, store: PackageStore) -> None:
    """Who may write, and is asked by no page, is known to nobody."""
    store.publish(ACME, make_upload(*make_sdist()), SOMEBODY)
    registry.refuse = {"tags/list": (403, "DENIED")}
    with pytest.raises(Denied):
        read(store, SOMEBODY)


def test_a_ticket_ends_with_the_proof(store: PackageStore, registry: TestRegistry) -> None:
    """Whom the registry refuses meanwhile gets no remembered page, either."""
    validity = page(store).validity
    assert validity is not None
    assert store.is_valid(validity)
    registry.refuse = {"tags/list": (403, "DENIED")}
    with pytest.raises((Denied, Unauthorized)):
        page(store, fresh=True)
    assert not store.is_valid(validity)


def test_what_another_server_deleted_does_not_come_back(
    registry: TestRegistry, make_store: Callable[..., PackageStore]
) -> None:
    """That the tag is gone is no old answer where somebody else has written since we made it."""
    left, right = make_store(), make_store()
    publish_wheel(left)
    publish(right, *make_sdist())
    right.delete(ACME, HELLO, "1.0", NOBODY)
    added = publish_wheel(left, tag="cp311-none-any")
    assert names(left) == names(right) == [added.filename]
