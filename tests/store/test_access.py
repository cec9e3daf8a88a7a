"""Who may read: proofs and absences end in time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from pyoci.errors import Denied, NotFound, RangeNotSatisfiable, Unauthorized
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials
from pyoci.store.models import ByteRange, ProjectPage
from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness
from tests.builders import make_sdist, make_wheel
from tests.clock import Clock
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import (
    HELLO,
    NOBODY,
    content,
    make_upload,
    page,
    seeded,
)
from tests.stores import make_cache

ACME = make_namespace()
REPOSITORY = make_repository()
WHEEL = make_wheel()[0]
SOMEBODY, ANOTHER = Basic("somebody", "secret"), Basic("another", "secret")


@pytest.fixture
def store(registry: TestRegistry, make_store: Callable[..., PackageStore]) -> PackageStore:
    """A store with two versions, whose page somebody has read."""
    return seeded(registry, make_store())


def read(store: PackageStore, caller: Credentials) -> ProjectPage:
    return page(store, caller=caller)


class TestAbsences:
    """The registry has told a caller that there is no such project."""

    @pytest.mark.parametrize(
        ("seconds", "last"),
        [pytest.param(10, 10, id="the token's"), pytest.param(1000, 60, id="the time to live")],
    )
    def test_end_with_the_registrys_answer(self, clock: Clock, seconds: float, last: float) -> None:
        """The absence ends when the registry's answer is no longer valid, and so does the page of another
        package index.
        """
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
        """The registry is asked again with the next request."""
        cache = make_cache(freshness=Freshness(ttl), clock=clock, now=clock)
        access = cache.of(REPOSITORY).access
        access.add_absence("me", cache.of(REPOSITORY).position(), seconds)
        assert not access.is_absent("me")


class TestProofs:
    """The registry has let a caller read."""

    def test_last_no_longer_than_the_token(self, clock: Clock) -> None:
        """A proof ends with the token that it was made with, and after a minute at most."""
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
        """A proof is for one repository and one caller."""
        cache = make_cache()
        cache.of(REPOSITORY).access.prove("me", 60)
        assert not cache.of(REPOSITORY).access.is_proven("you")
        assert not cache.of(make_repository("other")).access.is_proven("me")

    def test_end_with_a_refusal(self) -> None:
        """A refusal revokes what was proven before."""
        access = make_cache().of(REPOSITORY).access
        access.prove("me", 60)
        access.revoke("me")
        assert not access.is_proven("me")

    @pytest.mark.parametrize(
        "other", [Anonymous(), Basic("me", "wrong"), Basic("you", "secret"), Bearer("secret")], ids=str
    )
    def test_tell_callers_apart(self, other: Credentials) -> None:
        """The key of a caller depends on all of the credentials, and reveals none of them."""
        cache = make_cache()
        mine = cache.caller_key(Basic("me", "secret"))
        assert mine != cache.caller_key(other)
        assert "me" not in mine.strip("0123456789abcdef")


@pytest.mark.parametrize("refused", ["tags/list", "manifests", "blobs"])
def test_a_refusal_of_anything_ends_the_proof(
    registry: TestRegistry, store: PackageStore, refused: str
) -> None:
    """After a refusal of the tags, of a version or of a blob the page isn't given again."""
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


def test_remembered_files_are_not_revealed(registry: TestRegistry, store: PackageStore) -> None:
    """To a caller without access, a remembered file and a missing one look the same: the requests and the
    messages don't differ.
    """
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
    """The caller gets the registry's answer to everything, whatever is remembered from other callers."""

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
        """The tags are not listed for this caller."""
        with pytest.raises(kind):
            read(store, caller)

    def test_a_file(self, store: PackageStore, caller: Credentials, kind: type[Exception]) -> None:
        """The blob is not given to this caller."""
        with pytest.raises(kind):
            list(store.open(ACME, HELLO, WHEEL, caller))

    def test_size_and_hash_of_a_file(
        self, registry: TestRegistry, store: PackageStore, caller: Credentials, kind: type[Exception]
    ) -> None:
        """HEAD asks the registry, whatever is remembered of the file."""
        with pytest.raises(kind):
            store.describe(ACME, HELLO, WHEEL, caller)
        assert registry.calls

    def test_metadata(self, store: PackageStore, caller: Credentials, kind: type[Exception]) -> None:
        """The blob is not given to this caller."""
        with pytest.raises(kind):
            store.metadata(ACME, HELLO, WHEEL, caller)

    def test_a_range_outside_the_file(
        self, store: PackageStore, caller: Credentials, kind: type[Exception]
    ) -> None:
        """The error doesn't reveal the size of the file."""
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
        """The registry is asked, for a file and for its metadata."""
        with pytest.raises(kind):
            store.open(ACME, HELLO, filename, caller)
        with pytest.raises(kind):
            store.metadata(ACME, HELLO, filename, caller)
        assert registry.calls


def test_an_upload_lets_nobody_read(registry: TestRegistry, store: PackageStore) -> None:
    """An upload proves nothing about reading."""
    store.publish(ACME, make_upload(*make_sdist()), SOMEBODY)
    registry.refuse = {"tags/list": (403, "DENIED")}
    with pytest.raises(Denied):
        read(store, SOMEBODY)


def test_a_validity_ends_with_the_proof(store: PackageStore, registry: TestRegistry) -> None:
    """A caller whom the registry refuses meanwhile gets no remembered page."""
    validity = page(store).validity
    assert validity is not None
    assert store.is_valid(validity)
    registry.refuse = {"tags/list": (403, "DENIED")}
    with pytest.raises((Denied, Unauthorized)):
        page(store, fresh=True)
    assert not store.is_valid(validity)
