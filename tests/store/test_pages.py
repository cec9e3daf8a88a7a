"""Reading: pages, order, limits, foreign content, ranges, roots."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound, ProtocolError, RangeNotSatisfiable, RateLimited, Unauthorized
from pyoci.events import Events
from pyoci.store.models import ByteRange, FileStream, Root
from pyoci.store.service import PackageStore
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import (
    HELLO,
    NOBODY,
    content,
    make_foreign_image,
    make_upload,
    names,
    page,
    publish,
    publish_wheel,
)
from tests.store.test_format import put_rust_package

ACME = make_namespace()
WHEEL, BYTES = make_wheel()


def test_a_page_costs_one_request_a_version(registry: TestRegistry, store: PackageStore) -> None:
    """The tags, then each image index: nothing for its files."""
    for version in ("1.0", "2.0", "3.0"):
        publish_wheel(store, version)
        publish_wheel(store, version, tag="py2-none-any")
    registry.calls.clear()
    assert len(page(store).files) == 6
    assert len(registry.calls) == 4


def test_versions_come_in_pep_440_order(store: PackageStore) -> None:
    """Never in that of the alphabet; the newest last."""
    versions = ["1.10", "1.9", "1!0.1", "1.10rc1", "1.10.post1", "1.10+local"]
    for version in versions:
        publish_wheel(store, version)
    found = [str(version) for version in page(store).versions]
    assert found == ["1.9", "1.10rc1", "1.10", "1.10+local", "1.10.post1", "1!0.1"]
    assert str(page(store).latest) == "1!0.1"


def test_a_cap_keeps_the_newest(registry: TestRegistry) -> None:
    """PYOCI_MAX_VERSIONS counts versions, by PEP 440; 0 is all."""
    store = registry.store(max_versions=2)
    for version in ("1.9", "1.10", "1.11"):
        publish_wheel(store, version)
    assert [str(version) for version in page(store).versions] == ["1.10", "1.11"]
    assert len(names(registry.store(max_versions=0))) == 3


def test_the_latest_is_neither_yanked_nor_a_pre_release(store: PackageStore) -> None:
    """Where there is such a version."""
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


def test_an_unreadable_image_index_is_told_and_passed_over(registry: TestRegistry) -> None:
    """Its bytes are what was stored: an oddity of somebody's, and no reason to hide the other versions."""
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
    """Between the tags and the image index somebody deleted it."""
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
    """A page that lacks versions would be a wrong page."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    registry.refuse = {"GET .*/manifests/2.0": (status, code)}
    with pytest.raises(kind):
        page(store)


def test_a_tag_spelled_twice_counts_once(registry: TestRegistry, store: PackageStore) -> None:
    """The normalised one, where the Rust PyOCI wrote the other."""
    publish_wheel(store, "1.0rc1")
    registry.put("1.0RC1", registry.document("1.0rc1"))
    assert len(names(store)) == 1


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-10000", 0, None), ("bytes=-7", -7, None)],
)
def test_a_range_is_served(store: PackageStore, header: str, start: int, stop: int | None) -> None:
    """As uv and poetry read a wheel's end."""
    publish_wheel(store)
    stream = store.open(ACME, HELLO, WHEEL, NOBODY, ByteRange.parse(header))
    assert b"".join(stream) == BYTES[start:stop]
    assert stream.span is not None
    assert stream.size == len(BYTES)


@pytest.mark.parametrize(
    "header", [None, "", "bytes=", "bytes=-", "items=0-1", "bytes=0-1,3-4", "bytes=5-2", "x"]
)
def test_a_range_that_makes_no_sense_is_ignored(header: str | None) -> None:
    """RFC 9110 lets a server ignore what it doesn't understand."""
    assert ByteRange.parse(header) is None


@pytest.mark.parametrize("header", ["bytes=100000-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(store: PackageStore, header: str) -> None:
    """The answer tells the size."""
    publish_wheel(store)
    with pytest.raises(RangeNotSatisfiable) as caught:
        store.open(ACME, HELLO, WHEEL, NOBODY, ByteRange.parse(header))
    assert caught.value.size == len(BYTES)


def test_a_blob_of_another_size_than_the_page_says_is_not_served(
    registry: TestRegistry, store: PackageStore
) -> None:
    """Before the first byte, so that the client gets a status."""
    publish_wheel(store)
    document = registry.document("1.0")
    document["manifests"][0]["annotations"]["com.pyoci.size"] = "5"
    registry.put("1.0", document)
    with pytest.raises(ProtocolError, match="has not the size"):
        content(store, WHEEL)


def test_a_blob_that_never_ends_is_cut_off(registry: TestRegistry, store: PackageStore) -> None:
    """A registry that sends no Content-Length, and more than the file has, for ever."""
    publish_wheel(store)
    registry.endless = True
    taken: list[bytes] = []
    with pytest.raises(ProtocolError, match="other bytes"):
        taken.extend(store.open(ACME, HELLO, WHEEL, NOBODY))
    assert len(b"".join(taken)) <= len(BYTES)


def test_a_blob_that_is_gone_is_not_found(registry: TestRegistry, store: PackageStore) -> None:
    """Somebody cleaned up at the registry."""
    publish_wheel(store)
    registry.refuse = {"(GET|HEAD) .*/blobs/": (404, "BLOB_UNKNOWN")}
    with pytest.raises(NotFound):
        content(store, WHEEL)


@pytest.mark.parametrize("name", ["other-1.0-py3-none-any.whl", "hello_world-9.0-py3-none-any.whl"])
def test_a_file_of_another_project_is_not_here(store: PackageStore, name: str) -> None:
    """A project's path serves its own files alone."""
    publish_wheel(store)
    with pytest.raises(NotFound):
        store.describe(ACME, HELLO, name, NOBODY)


def test_documents_without_end_are_not_read(registry: TestRegistry, store: PackageStore) -> None:
    """A thousand image indexes of four megabytes would fill the memory of any worker."""
    publish_wheel(store)
    image_index = registry.document("1.0")
    image_index["annotations"]["org.example.ballast"] = "x" * 3_900_000
    for number in range(15):
        registry.put(f"2.{number}", image_index)
    with pytest.raises(ProtocolError, match="too long"):
        page(store)


class TestRoot:
    """The projects of a namespace, where the registry can tell."""

    def test_lists_its_own(self, store: PackageStore) -> None:
        """Sorted, normalised, not those of namespaces below or beside."""
        for name in ("zeta", "Alpha.Beta"):
            publish(store, *make_wheel(name))
        for path in ("acme/below", "acme-other"):
            store.publish(make_namespace(path), make_upload(*make_wheel()), NOBODY)
        assert [str(name) for name in store.projects(ACME, NOBODY)] == ["alpha-beta", "zeta"]

    def test_is_told_at_a_glance(self, registry: TestRegistry, store: PackageStore) -> None:
        """Below a page that isn't there: one request more, however many repositories there are."""
        for path in ("acme", "acme/below", "zeta"):
            store.publish(make_namespace(path), make_upload(*make_wheel()), NOBODY)
        hello = ProjectName.parse("hello-world")
        found = store.find(ACME, ProjectName.parse("below"), NOBODY, below=make_namespace("acme/below"))
        assert found == Root((hello,))
        registry.calls.clear()
        for path in ("acm", "b"):
            with pytest.raises(NotFound):
                store.find(ACME, ProjectName.parse(path), NOBODY, below=make_namespace(path))
        assert len([call for call in registry.calls if "_catalog" in call]) == 2
        registry.refuse = {"_catalog": (404, "NAME_UNKNOWN")}
        with pytest.raises(NotFound):
            store.find(ACME, ProjectName.parse("below"), NOBODY, below=make_namespace("acme/below"))

    @pytest.mark.parametrize(("status", "code"), [(404, "NAME_UNKNOWN"), (405, "UNSUPPORTED")])
    def test_says_where_there_is_no_list(
        self, registry: TestRegistry, store: PackageStore, status: int, code: str
    ) -> None:
        """ghcr.io and others have no _catalog."""
        registry.refuse = {"_catalog": (status, code)}
        with pytest.raises(NotFound, match="doesn't list its repositories"):
            store.projects(ACME, NOBODY)


def test_an_absent_project_is_not_found(store: PackageStore) -> None:
    """pip and uv go on to their next package index then."""
    with pytest.raises(NotFound, match="there is no project nothing here"):
        page(store, ProjectName.parse("nothing"))


class TestByDigest:
    """Files that a caller asks for by a part of their sha256, too."""

    OTHER = make_wheel(requires=["greeting"])[1]

    def digits(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()[:16]

    def ask(self, store: PackageStore, sha256: str) -> list[object]:
        """What each way to a file gives."""
        file = (ACME, HELLO, WHEEL, NOBODY)
        passed_on = store.open_or_redirect(*file, lambda _url: False, sha256=sha256)
        assert isinstance(passed_on, FileStream)
        return [
            store.describe(*file, sha256=sha256).sha256,
            b"".join(store.open(*file, sha256=sha256)),
            b"".join(store.open(*file, ByteRange(0, 9), sha256=sha256)),
            b"".join(passed_on),
            store.metadata(*file, sha256=sha256),
        ]

    def assert_gone(self, store: PackageStore, sha256: str) -> None:
        file = (ACME, HELLO, WHEEL, NOBODY)
        for call in (store.describe, store.open, store.metadata):
            with pytest.raises(NotFound, match="expected"):
                call(*file, sha256=sha256)
        with pytest.raises(NotFound, match="expected"):
            store.open(*file, ByteRange(0, 9), sha256=sha256)
        with pytest.raises(NotFound, match="expected"):
            store.open_or_redirect(*file, lambda _url: False, sha256=sha256)

    def test_the_one_that_is_there(self, store: PackageStore) -> None:
        """As without it."""
        publish(store, WHEEL, BYTES)
        assert self.ask(store, self.digits(BYTES)) == self.ask(store, "")

    def test_another_in_its_place(self, store: PackageStore) -> None:
        """What was replaced is gone, and its bytes aren't given under the old digest."""
        publish(store, WHEEL, BYTES)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        publish(store, WHEEL, self.OTHER)
        self.assert_gone(store, self.digits(BYTES))
        assert self.ask(store, self.digits(self.OTHER))[1] == self.OTHER

    def test_replaced_through_another_server(self, registry: TestRegistry) -> None:
        """A page that one server shows leads to a file that every server gives at once, although those that
        share no cache still remember the file in its place.
        """
        here, there = registry.store(), registry.store()
        publish(here, WHEEL, BYTES)
        assert self.ask(there, "") == self.ask(here, "")
        here.delete(ACME, HELLO, WHEEL, NOBODY)
        publish(here, WHEEL, self.OTHER)
        assert self.ask(there, self.digits(self.OTHER)) == self.ask(here, "")
        self.assert_gone(there, self.digits(BYTES))

    def test_where_only_the_manifest_tells_it(self, registry: TestRegistry, store: PackageStore) -> None:
        """The earliest Rust PyOCI kept no hash in the image index."""
        put_rust_package(registry, WHEEL, BYTES, with_hash=False)
        assert store.describe(ACME, HELLO, WHEEL, NOBODY, sha256=self.digits(BYTES)).filename == WHEEL
        assert store.metadata(ACME, HELLO, WHEEL, NOBODY, sha256=self.digits(BYTES)).startswith(b"Metadata")
        self.assert_gone(store, self.digits(self.OTHER))


class TestSummary:
    """The summary in the legacy JSON."""

    def test_is_that_of_the_newest_version(self, registry: TestRegistry, store: PackageStore) -> None:
        """It costs one request, the config blob, and is remembered; the page itself doesn't ask for it."""
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

    @pytest.mark.parametrize(
        "refusal", [(404, "BLOB_UNKNOWN"), (403, "DENIED"), (429, "TOOMANYREQUESTS"), (500, "UNKNOWN")]
    )
    def test_a_registry_that_refuses_the_blob_costs_the_summary_alone(
        self, registry: TestRegistry, store: PackageStore, refusal: tuple[int, str]
    ) -> None:
        """The page is known, and so is all else that the legacy JSON shows."""
        publish_wheel(store, extra_headers=[("Summary", "Says hello")])
        store = registry.store()
        found = page(store)
        registry.refuse = {"GET .*/blobs/": refusal}
        assert store.summary(ACME, found, NOBODY) == ""
