"""The status of a project (PEP 792): where it is kept, what it costs, and what it changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyoci.errors import Denied, NotFound
from pyoci.oci.credentials import Basic
from pyoci.oci.errors import RegistryFailed
from pyoci.simple_api.model import ProjectStatus
from pyoci.simple_api.writing import legacy_json, page_html, page_json
from pyoci.store.models import ByteRange
from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness
from tests.builders import make_wheel
from tests.clock import Clock
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, NOBODY, content, make_foreign_image, page, publish_wheel
from tests.store.test_format import golden

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
        for looks in (1, 2):
            for _ in range(3):
                assert content(store, WHEEL) == BYTES
            assert len([call for call in registry.calls if call.endswith("/0--pyoci")]) - has_marker == looks
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
