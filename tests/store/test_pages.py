"""Pages: what they cost, their order, their limits, and foreign content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound, ProtocolError, RateLimited, Unauthorized
from pyoci.events import Events
from pyoci.store.models import PackageFile
from pyoci.store.service import PackageStore
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import (
    HELLO,
    NOBODY,
    make_foreign_image,
    names,
    page,
    publish,
    publish_wheel,
)

ACME = make_namespace()
WHEEL, BYTES = make_wheel()


class CountedFiles(tuple[PackageFile, ...]):
    """Files that count how often somebody iterates over them."""

    readings = 0

    def __iter__(self) -> Iterator[PackageFile]:
        self.readings += 1
        return super().__iter__()


def test_a_page_costs_one_request_a_version(registry: TestRegistry, store: PackageStore) -> None:
    """The list of tags, then each image index, and nothing for the files."""
    for version in ("1.0", "2.0", "3.0"):
        publish_wheel(store, version)
        publish_wheel(store, version, tag="py2-none-any")
    registry.calls.clear()
    assert len(page(store).files) == 6
    assert len(registry.calls) == 4


def test_versions_come_in_pep_440_order(store: PackageStore) -> None:
    """The newest is last."""
    versions = ["1.10", "1.9", "1!0.1", "1.10rc1", "1.10.post1", "1.10+local"]
    for version in versions:
        publish_wheel(store, version)
    found = [str(version) for version in page(store).versions]
    assert found == ["1.9", "1.10rc1", "1.10", "1.10+local", "1.10.post1", "1!0.1"]
    assert str(page(store).latest) == "1!0.1"


def test_a_cap_keeps_the_newest(registry: TestRegistry) -> None:
    """PYOCI_MAX_VERSIONS is a number of versions; 0 shows all."""
    store = registry.store(max_versions=2)
    for version in ("1.9", "1.10", "1.11"):
        publish_wheel(store, version)
    assert [str(version) for version in page(store).versions] == ["1.10", "1.11"]
    assert len(names(registry.store(max_versions=0))) == 3


def test_a_cap_leaves_no_version_in_part(registry: TestRegistry) -> None:
    """1.0 and 1.0.0 are one version: the page has the files of both tags, or of none."""
    publisher = registry.store()
    for version in ("0.9", "1.0", "1.0.0", "1.1"):
        publish_wheel(publisher, version)
    for cap, kept in ((1, ["1.1"]), (2, ["1.0", "1.0.0", "1.1"]), (3, ["0.9", "1.0", "1.0.0", "1.1"])):
        shown = names(registry.store(max_versions=cap))
        assert shown == [make_wheel(version=version)[0] for version in kept]


def test_the_latest_is_neither_yanked_nor_a_pre_release(store: PackageStore) -> None:
    """If there is such a version."""
    for version in ("1.0", "2.0", "3.0rc1"):
        publish_wheel(store, version)
    store.yank(ACME, HELLO, "2.0", "", NOBODY)
    assert str(page(store).latest) == "1.0"


def test_foreign_content_is_passed_over(registry: TestRegistry, store: PackageStore) -> None:
    """Images, signatures and referrer tags among our versions list only ours, and are no error."""
    publish_wheel(store)
    image = make_foreign_image(registry)
    odd = registry.document("1.0") | {"manifests": [], "artifactType": "application/vnd.other"}
    for tag in ("latest", "2.0", "sha256-" + "a" * 64 + ".sig", "sha256-" + "b" * 64):
        registry.put(tag, image)
    registry.put("3.0", odd)
    assert names(store) == [WHEEL]


def test_an_unreadable_image_index_is_logged_and_skipped(registry: TestRegistry) -> None:
    """It was pushed malformed. The other versions are shown."""
    heard: list[tuple[str, dict[str, object]]] = []
    store = registry.store(Events(lambda event, **facts: heard.append((event, facts))))
    publish_wheel(store)
    document = registry.document("1.0")
    document["manifests"][0]["platform"] = {"os": "any"}
    registry.put("2.0", document)
    assert names(store) == [WHEEL]
    assert [event for event, _ in heard] == ["unreadable image index"]


def test_a_version_that_vanishes_meanwhile_is_passed_over(
    registry: TestRegistry, store: PackageStore
) -> None:
    """It was deleted after the tags were listed."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    registry.refuse = {"GET .*/manifests/2.0": (404, "MANIFEST_UNKNOWN")}
    assert names(registry.store()) == [WHEEL]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "UNAUTHORIZED", Unauthorized),
        (429, "TOOMANYREQUESTS", RateLimited),
        (500, "UNKNOWN", ProtocolError),
    ],
)
def test_a_version_that_cannot_be_read_fails_the_page(
    registry: TestRegistry, store: PackageStore, status: int, code: str, kind: type[Exception]
) -> None:
    """A page without it would be wrong."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    registry.refuse = {"GET .*/manifests/2.0": (status, code)}
    with pytest.raises(kind):
        page(store)


def test_a_tag_spelled_twice_counts_once(registry: TestRegistry, store: PackageStore) -> None:
    """The normalised tag is used, if the Rust PyOCI wrote another one."""
    publish_wheel(store, "1.0rc1")
    registry.put("1.0RC1", registry.document("1.0rc1"))
    assert len(names(store)) == 1


def test_documents_without_end_are_not_read(registry: TestRegistry, store: PackageStore) -> None:
    """A thousand image indexes of four megabytes would exhaust a worker's memory."""
    publish_wheel(store)
    image_index = registry.document("1.0")
    image_index["annotations"]["org.example.ballast"] = "x" * 3_900_000
    for number in range(15):
        registry.put(f"2.{number}", image_index)
    with pytest.raises(ProtocolError, match="too large"):
        page(store)


def test_an_absent_project_is_not_found(store: PackageStore) -> None:
    """pip and uv then ask their next package index."""
    with pytest.raises(NotFound, match="there is no project nothing here"):
        page(store, ProjectName.parse("nothing"))


class TestSummary:
    """The summary in the legacy JSON."""

    def test_is_that_of_the_newest_version(self, registry: TestRegistry, store: PackageStore) -> None:
        """It takes one request for the config blob, and is remembered. The page itself doesn't need it."""
        publish_wheel(store, "1.0", extra_headers=[("Summary", "Old")])
        publish_wheel(store, "2.0", extra_headers=[("Summary", "Says\n  hello")])
        publish_wheel(store, "3.0rc1", extra_headers=[("Summary", "Not yet")])
        store = registry.store()
        found = page(store)
        assert not [call for call in registry.calls if call.startswith("GET") and "/blobs/" in call]
        registry.calls.clear()
        for _ in range(2):
            assert store.summary(ACME, found, NOBODY) == "Says hello"
        assert len(registry.calls) == 1

    def test_is_empty_where_there_is_none(self, store: PackageStore) -> None:
        """Without a Summary, without METADATA, and without files."""
        publish_wheel(store, "1.0")
        assert store.summary(ACME, page(store), NOBODY) == ""
        publish(store, *make_sdist(version="2.0"))
        assert store.summary(ACME, page(store), NOBODY) == ""
        assert store.summary(ACME, replace(page(store), files=()), NOBODY) == ""

    def test_the_files_are_read_as_often_however_many_there_are(self, store: PackageStore) -> None:
        """A project may have thousands of versions, and its newest file is the last one."""
        readings = []
        for versions in (["1.0"], ["2.0", "3.0", "4.0"]):
            for version in versions:
                publish_wheel(store, version, extra_headers=[("Summary", "Says hello")])
            found = page(store)
            files = CountedFiles(found.files)
            assert store.summary(ACME, replace(found, files=files), NOBODY) == "Says hello"
            readings.append(files.readings)
        assert readings[0] == readings[1]

    @pytest.mark.parametrize(
        "refusal", [(404, "BLOB_UNKNOWN"), (403, "DENIED"), (429, "TOOMANYREQUESTS"), (500, "UNKNOWN")]
    )
    def test_a_registry_that_refuses_the_blob_costs_the_summary_alone(
        self, registry: TestRegistry, store: PackageStore, refusal: tuple[int, str]
    ) -> None:
        """The rest of the legacy JSON is shown."""
        publish_wheel(store, extra_headers=[("Summary", "Says hello")])
        store = registry.store()
        found = page(store)
        registry.refuse = {"GET .*/blobs/": refusal}
        assert store.summary(ACME, found, NOBODY) == ""
