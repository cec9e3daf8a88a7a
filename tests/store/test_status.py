"""The status of a project (PEP 792): where it is kept, what it costs, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied, InvalidRequest, NotFound
from pyoci.oci.credentials import Basic
from pyoci.oci.errors import RegistryFailed
from pyoci.simple_api.model import ProjectStatus
from pyoci.simple_api.writing import legacy_json, page_html, page_json
from pyoci.store.models import ByteRange
from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness
from tests.builders import make_wheel
from tests.clock import Clock
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, content, make_foreign_image, page, publish, publish_wheel
from tests.store.test_format import NOW, golden
from tests.store.writing.test_incoming import Arriving, take

ACME = make_namespace()
WHEEL, BYTES = make_wheel()
MARKER = "GET acme/hello_world/manifests/0--pyoci"
Read = Callable[[PackageStore, str], object]
READS: tuple[Read, ...] = (
    lambda store, sha256: store.open(ACME, HELLO, WHEEL, NOBODY, sha256=sha256),
    lambda store, sha256: store.open(ACME, HELLO, WHEEL, NOBODY, ByteRange(0, 1), sha256=sha256),
    lambda store, sha256: store.open_or_redirect(ACME, HELLO, WHEEL, NOBODY, lambda _: True, sha256=sha256),
    lambda store, sha256: store.describe(ACME, HELLO, WHEEL, NOBODY, sha256=sha256),
    lambda store, sha256: store.metadata(ACME, HELLO, WHEEL, NOBODY, sha256=sha256),
)
ARCHIVED = ProjectStatus("archived", "replaced by hello-planet")


def put_status(registry: TestRegistry, status: str, reason: str | None = None) -> None:
    """Write a marker as another server would."""
    marker = golden("our-marker")
    marker["annotations"]["com.pyoci.status"] = status
    if reason is not None:
        marker["annotations"]["com.pyoci.status_reason"] = reason
    registry.put("0--pyoci", marker)


class TestPage:
    """What a page shows, and what it costs."""

    def test_shows_the_status(self, registry: TestRegistry, store: PackageStore) -> None:
        """In the model that every representation is made of."""
        publish_wheel(store)
        registry.put("0--pyoci", golden("our-marker-archived", unique="0"))
        shown = page(store, fresh=True)
        assert shown.status == ARCHIVED
        model = shown.as_page(lambda file: file.filename)
        assert model.status == ARCHIVED
        assert b'"project-status":{"status":"archived","reason":"replaced by hello-planet"}' in page_json(
            model
        )
        html = page_html(shown.as_page(lambda file: file.filename))
        assert b'<meta name="pypi:project-status" content="archived">' in html
        assert b'<meta name="pypi:project-status-reason" content="replaced by hello-planet">' in html
        legacy = legacy_json(shown.as_page(lambda file: file.filename))
        assert b'"project_status":{"status":"archived","reason":"replaced by hello-planet"}' in legacy

    def test_has_no_key_without_a_status(self, registry: TestRegistry, store: PackageStore) -> None:
        """With and without a marker: uv rejects a page for a null."""
        publish_wheel(store)
        for _ in range(2):
            assert page(store, fresh=True).status is None
            assert b"status" not in page_json(page(store).as_page(lambda file: file.filename))
            registry.put("0--pyoci", golden("our-marker"))

    def test_costs_nothing_for_a_project_without_a_marker(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """The list of tags, and one request for each version."""
        publish_wheel(store)
        publish_wheel(store, "2.0")
        registry.calls.clear()
        page(registry.store())
        assert len(registry.calls) == 3

    def test_costs_one_request_for_one_with_a_marker(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """And none while the page is remembered."""
        publish_wheel(store)
        put_status(registry, "deprecated")
        reader = registry.store()
        registry.calls.clear()
        for _ in range(2):
            assert page(reader).status == ProjectStatus("deprecated")
        assert registry.calls.count(MARKER) == 1
        assert len(registry.calls) == 3

    def test_follows_an_old_marker_within_the_time_to_live(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore], clock: Clock
    ) -> None:
        """A version that is years old is read once an hour, but a marker once a minute."""
        store = make_store()
        publish_wheel(store)
        registry.put("0--pyoci", golden("our-marker"))
        clock.now += 30 * 24 * 3600
        assert page(store).status is None
        put_status(registry, "quarantined")
        clock.now += 61
        assert page(store).status == ProjectStatus("quarantined")

    @pytest.mark.parametrize("status", ["", "ARCHIVED", "gone", "quarantined\n"])
    def test_ignores_a_status_that_pep_792_lacks(
        self, registry: TestRegistry, store: PackageStore, status: str
    ) -> None:
        """As it does on upstream's pages."""
        publish_wheel(store)
        put_status(registry, status)
        assert page(store, fresh=True).status is None
        assert content(store, WHEEL) == BYTES

    def test_ignores_an_image_under_the_tag(self, registry: TestRegistry, store: PackageStore) -> None:
        """Somebody else's."""
        publish_wheel(store)
        registry.put("0--pyoci", make_foreign_image(registry))
        assert page(store, fresh=True).status is None
        assert content(store, WHEEL) == BYTES

    def test_leaves_out_a_reason_that_cannot_be_shown(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """The status stays."""
        publish_wheel(store)
        put_status(registry, "archived", "a\x1b[31mb")
        assert page(store, fresh=True).status == ProjectStatus("archived")


class TestQuarantine:
    """No file of a quarantined project is offered or served, to anybody."""

    @pytest.fixture
    def reader(self, registry: TestRegistry, store: PackageStore) -> PackageStore:
        """A store with an empty cache, and a project that is quarantined."""
        publish_wheel(store)
        put_status(registry, "quarantined", "malware")
        reader = registry.store()
        registry.calls.clear()
        return reader

    def test_the_page_has_no_files(self, reader: PackageStore) -> None:
        """Nor versions. Those who may delete them find them in `withheld`."""
        shown = page(reader)
        assert (shown.files, shown.versions, shown.status) == (
            (),
            (),
            ProjectStatus("quarantined", "malware"),
        )
        assert [file.filename for file in shown.withheld] == [WHEEL]
        version = shown.withheld[0].version
        assert (shown.of_version(version).files, len(shown.of_version(version).withheld)) == ((), 1)

    @pytest.mark.parametrize("digits", [0, 16])
    @pytest.mark.parametrize("read", READS)
    def test_files_are_refused(self, reader: PackageStore, read: Read, digits: int) -> None:
        """In each way to read one, by its plain address and by one with a digest."""
        sha256 = page(reader).withheld[0].sha256[:digits]
        with pytest.raises(Denied) as caught:
            read(reader, sha256)
        assert str(caught.value) == "hello-world is quarantined: malware; its files can't be downloaded"

    def test_a_file_that_is_not_there_is_not_found(self, reader: PackageStore) -> None:
        """As in any other project."""
        with pytest.raises(NotFound):
            reader.open(ACME, HELLO, make_wheel(version="9.0")[0], NOBODY)

    def test_whoever_may_not_read_learns_nothing(self, registry: TestRegistry, reader: PackageStore) -> None:
        """They get the registry's refusal, also while the status is remembered for others."""
        page(reader)
        registry.refuse = {"acme": (403, "DENIED")}
        with pytest.raises(Denied) as caught:
            reader.open(ACME, HELLO, WHEEL, Basic("stranger", "secret"))
        assert "quarantined" not in str(caught.value)

    def test_it_ends(self, registry: TestRegistry, reader: PackageStore) -> None:
        """With another status."""
        put_status(registry, "active")
        assert content(registry.store(), WHEEL) == BYTES
        assert len(page(registry.store()).files) == 1

    def test_a_registry_that_fails_for_the_marker_serves_no_file(
        self, registry: TestRegistry, reader: PackageStore
    ) -> None:
        """It is unknown then whether the project is quarantined."""
        registry.refuse = {MARKER: (500, "UNKNOWN")}
        with pytest.raises(RegistryFailed):
            content(reader, WHEEL)


class TestCostOfAFile:
    """A download looks at the marker once within the time to live."""

    @pytest.mark.parametrize("has_marker", [False, True])
    def test_one_look(
        self,
        registry: TestRegistry,
        make_store: Callable[..., PackageStore],
        clock: Clock,
        has_marker: bool,
    ) -> None:
        """Whether there is a marker or not. A marker that is still the same takes a HEAD request."""
        publish_wheel(registry.store())
        if has_marker:
            registry.put("0--pyoci", golden("our-marker"))
        store = make_store()
        for _ in range(2):
            registry.calls.clear()
            for _ in range(3):
                assert content(store, WHEEL) == BYTES
            assert len([call for call in registry.calls if call.endswith("/0--pyoci")]) == 1
            clock.now += 61

    def test_none_after_a_page(self, registry: TestRegistry, store: PackageStore) -> None:
        """Which has listed the tags."""
        publish_wheel(store)
        page(store)
        registry.calls.clear()
        content(store, WHEEL)
        assert MARKER not in registry.calls

    def test_one_each_time_without_a_time_to_live(
        self, registry: TestRegistry, make_store: Callable[..., PackageStore]
    ) -> None:
        """PYOCI_CACHE_TTL=0."""
        store = make_store(Freshness(ttl=0))
        publish_wheel(store)
        registry.calls.clear()
        for _ in range(2):
            content(store, WHEEL)
        assert registry.calls.count(MARKER) == 2


def test_an_upload_that_is_arriving_is_refused_at_its_end(
    registry: TestRegistry, store: PackageStore
) -> None:
    """A large file may take minutes, in which the project is archived."""

    def archive(arrived: int) -> None:
        if arrived:
            put_status(registry, "archived", "enough")

    publish_wheel(store, "0.9")
    with pytest.raises(Denied, match="archived: enough"):
        take(store, Arriving(before=archive))
    assert not registry.exists("1.0")


class TestSet:
    """A status is set in the marker, which is written if there is none."""

    @pytest.fixture
    def store(self, registry: TestRegistry) -> PackageStore:
        store = registry.store(now=lambda: NOW)
        publish_wheel(store)
        return store

    def test_is_as_documented(self, registry: TestRegistry, store: PackageStore) -> None:
        """The marker of a deleted version, with two annotations more."""
        store.set_status(ACME, HELLO, "archived", "replaced by hello-planet", NOBODY)
        found = registry.document("0--pyoci")
        unique = found["annotations"]["com.pyoci.changed"].partition(" ")[2]
        assert found == golden("our-marker-archived", unique=unique)
        assert page(store).status == ARCHIVED

    def test_is_lifted(self, registry: TestRegistry, store: PackageStore) -> None:
        """The marker stays, for some registries can't delete tags."""
        registry.refuse = {"DELETE": (405, "UNSUPPORTED")}
        store.set_status(ACME, HELLO, "quarantined", "", NOBODY)
        store.set_status(ACME, HELLO, "active", "", NOBODY)
        assert page(store).status is None
        assert set(registry.document("0--pyoci")["annotations"]) == {
            "org.opencontainers.image.created",
            "com.pyoci.marker",
            "com.pyoci.changed",
        }
        assert content(store, WHEEL) == BYTES
        publish_wheel(store, "2.0")

    def test_an_active_project_may_have_a_reason(self, store: PackageStore) -> None:
        """Which is shown as well."""
        store.set_status(ACME, HELLO, "active", "maintained again", NOBODY)
        assert page(store).status == ProjectStatus("active", "maintained again")

    def test_nothing_is_written_if_nothing_changes(self, registry: TestRegistry, store: PackageStore) -> None:
        """Neither an active project that has no marker, nor the same status again."""
        store.set_status(ACME, HELLO, "active", "", NOBODY)
        assert not registry.exists("0--pyoci")
        store.set_status(ACME, HELLO, "archived", "why", NOBODY)
        before = registry.document("0--pyoci")
        store.set_status(ACME, HELLO, "archived", "why", NOBODY)
        assert registry.document("0--pyoci") == before

    def test_annotations_of_others_stay(self, registry: TestRegistry, store: PackageStore) -> None:
        """As in a version."""
        marker = golden("our-marker")
        marker["annotations"]["org.example"] = "kept"
        registry.put("0--pyoci", marker)
        for status in ("deprecated", "active"):
            store.set_status(ACME, HELLO, status, "", NOBODY)
            assert registry.document("0--pyoci")["annotations"]["org.example"] == "kept"

    def test_it_outlives_the_last_version(self, registry: TestRegistry, store: PackageStore) -> None:
        """Which may be yanked and deleted in any status."""
        store.set_status(ACME, HELLO, "quarantined", "malware", NOBODY)
        store.yank(ACME, HELLO, WHEEL, "malware", NOBODY)
        store.yank(ACME, HELLO, "1.0", None, NOBODY)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        assert registry.session().tags(make_repository()) == ("0--pyoci",)
        assert page(store).status == ProjectStatus("quarantined", "malware")
        with pytest.raises(Denied, match="quarantined: malware; it takes no uploads"):
            publish_wheel(store)

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            ("", ""),
            ("Archived", ""),
            ("removed", ""),
            ("archived\n", ""),
            ("x" * 10_000, ""),
            ("archived", "two\nlines"),
            ("archived", "\x1b[31m"),
            ("archived", "\ud800"),
            ("archived", "x" * 1001),
        ],
    )
    def test_bad_input(self, registry: TestRegistry, store: PackageStore, status: str, reason: str) -> None:
        """It is refused before the registry is asked."""
        registry.calls.clear()
        with pytest.raises(InvalidRequest, match="expected"):
            store.set_status(ACME, HELLO, status, reason, NOBODY)
        assert registry.calls == []

    def test_the_longest_reason(self, store: PackageStore) -> None:
        """A thousand characters of any script."""
        store.set_status(ACME, HELLO, "archived", "ü☃" * 500, NOBODY)
        assert page(store, fresh=True).status == ProjectStatus("archived", "ü☃" * 500)

    def test_a_project_that_is_not_there(self, registry: TestRegistry, store: PackageStore) -> None:
        """Nothing is written: a name isn't taken by a status."""
        registry.put("1.0", make_foreign_image(registry, "an-image"), "an-image")
        for name in ("other", "an-image"):
            with pytest.raises(NotFound, match=f"no project {name}"):
                store.set_status(ACME, ProjectName.parse(name), "archived", "", NOBODY)
            assert not registry.exists("0--pyoci", name)

    def test_an_image_under_the_tag_is_kept(self, registry: TestRegistry, store: PackageStore) -> None:
        """It is somebody else's."""
        image = make_foreign_image(registry)
        registry.put("0--pyoci", image)
        with pytest.raises(Denied, match="something other than a Python package"):
            store.set_status(ACME, HELLO, "archived", "", NOBODY)
        assert registry.document("0--pyoci") == image

    def test_the_registry_decides_who_may(self, registry: TestRegistry, store: PackageStore) -> None:
        """Callers who may only read can't set a status."""
        registry.refuse = {"(PUT|POST)": (403, "DENIED")}
        with pytest.raises(Denied):
            store.set_status(ACME, HELLO, "archived", "", Basic("reader", "secret"))
        assert not registry.exists("0--pyoci")

    @pytest.mark.parametrize("failures", [1, 2])
    def test_a_registry_that_fails_is_asked_again(
        self, registry: TestRegistry, store: PackageStore, failures: int
    ) -> None:
        """Also when the marker has another status, so that a failed write is not taken for one of others."""
        store.set_status(ACME, HELLO, "deprecated", "", NOBODY)
        failing = iter([{"PUT .*/0--pyoci": (500, "UNKNOWN")}] * failures)

        def before(line: str) -> None:
            if line.startswith("PUT"):
                registry.refuse = next(failing, {})

        registry.before = before
        later = registry.store(now=lambda: NOW + timedelta(seconds=5))
        later.set_status(ACME, HELLO, "archived", "", NOBODY)
        assert registry.document("0--pyoci")["annotations"]["com.pyoci.status"] == "archived"


class TestUpload:
    """Archived and quarantined projects take no files; others do."""

    @pytest.mark.parametrize("version", ["1.0", "2.0"])
    @pytest.mark.parametrize("status", ["archived", "quarantined"])
    def test_is_refused(self, registry: TestRegistry, store: PackageStore, status: str, version: str) -> None:
        """Also of a file that is there, and of another one of its name: clients skip what exists already."""
        publish_wheel(store)
        put_status(registry, status, "why")
        before = sorted(registry.session().tags(make_repository()))
        for files in ({}, {"hello_world/extra.py": b"more"}):
            with pytest.raises(Denied) as caught:
                publish(store, *make_wheel(version=version, files=files))
            expected = f"hello-world is {status}: why; it takes no uploads until its status is active again"
            assert str(caught.value) == expected
        assert sorted(registry.session().tags(make_repository())) == before

    @pytest.mark.parametrize("status", ["active", "deprecated"])
    def test_is_taken(self, registry: TestRegistry, store: PackageStore, status: str) -> None:
        """At once when a status was lifted elsewhere."""
        put_status(registry, "archived")
        with pytest.raises(Denied):
            publish_wheel(store)
        put_status(registry, status)
        publish_wheel(store)

    @pytest.mark.parametrize("refusal", [(401, "UNAUTHORIZED"), (403, "DENIED"), (404, "MANIFEST_UNKNOWN")])
    def test_a_registry_that_shows_no_marker(
        self, registry: TestRegistry, store: PackageStore, refusal: tuple[int, str]
    ) -> None:
        """Docker Hub denies what it doesn't have, and lets the same caller push."""
        registry.refuse = {MARKER: refusal}
        publish_wheel(store)


class TestAtTheSameTime:
    """Statuses and uploads of several callers."""

    def test_no_upload_is_lost_and_one_status_stays(self, registry: TestRegistry) -> None:
        """Eight of each, of one caller and through two servers that share nothing."""
        stores = [registry.store(), registry.store()]
        publish_wheel(stores[0])
        reasons = [f"number {number}" for number in range(8)]

        def work(number: int) -> None:
            store = stores[number % 2]
            if number < 8:
                publish_wheel(store, f"2.{number}")
            else:
                store.set_status(ACME, HELLO, "deprecated", reasons[number - 8], NOBODY)

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(work, range(16)))
        shown = page(registry.store())
        assert len(shown.files) == 9
        assert shown.status is not None
        assert shown.status.reason in reasons

    def test_the_last_status_stays(self, registry: TestRegistry, store: PackageStore) -> None:
        """Of statuses that follow one another, through servers that share nothing."""
        publish_wheel(store)
        for number, status in enumerate(("archived", "deprecated", "quarantined", "active", "archived")):
            registry.store().set_status(ACME, HELLO, status, str(number), NOBODY)
            assert page(registry.store()).status == ProjectStatus(status, str(number))
