"""Files: finding the one that a request means, its bytes and ranges of them."""

from __future__ import annotations

import hashlib

import pytest

from pyoci.errors import NotFound, ProtocolError, RangeNotSatisfiable
from pyoci.store.models import ByteRange, FileStream
from pyoci.store.service import PackageStore
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import (
    HELLO,
    NOBODY,
    content,
    publish,
    publish_wheel,
)
from tests.store.test_format import put_rust_package

ACME = make_namespace()
WHEEL, BYTES = make_wheel()


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-10000", 0, None), ("bytes=-7", -7, None)],
)
def test_a_range_is_served(store: PackageStore, header: str, start: int, stop: int | None) -> None:
    """uv and poetry read the end of a wheel."""
    publish_wheel(store)
    stream = store.open(ACME, HELLO, WHEEL, NOBODY, ByteRange.parse(header))
    assert b"".join(stream) == BYTES[start:stop]
    assert stream.span is not None
    assert stream.size == len(BYTES)


@pytest.mark.parametrize(
    "header", [None, "", "bytes=", "bytes=-", "items=0-1", "bytes=0-1,3-4", "bytes=5-2", "x"]
)
def test_a_range_that_makes_no_sense_is_ignored(header: str | None) -> None:
    """RFC 9110 lets a server ignore a range that it doesn't understand."""
    assert ByteRange.parse(header) is None


@pytest.mark.parametrize("header", ["bytes=100000-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(store: PackageStore, header: str) -> None:
    """The error has the size."""
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
    with pytest.raises(ProtocolError, match="expected 5"):
        content(store, WHEEL)


def test_a_blob_that_never_ends_is_cut_off(registry: TestRegistry, store: PackageStore) -> None:
    """A registry that sends no Content-Length, and bytes without end."""
    publish_wheel(store)
    registry.endless = True
    taken: list[bytes] = []
    with pytest.raises(ProtocolError, match="bytes that don't match"):
        taken.extend(store.open(ACME, HELLO, WHEEL, NOBODY))
    assert len(b"".join(taken)) <= len(BYTES)


def test_a_blob_that_is_gone_is_not_found(registry: TestRegistry, store: PackageStore) -> None:
    """After a clean-up in the registry."""
    publish_wheel(store)
    registry.refuse = {"(GET|HEAD) .*/blobs/": (404, "BLOB_UNKNOWN")}
    with pytest.raises(NotFound):
        content(store, WHEEL)


@pytest.mark.parametrize("name", ["other-1.0-py3-none-any.whl", "hello_world-9.0-py3-none-any.whl"])
def test_a_file_of_another_project_is_not_here(store: PackageStore, name: str) -> None:
    """A project's path serves only files of the project."""
    publish_wheel(store)
    with pytest.raises(NotFound):
        store.describe(ACME, HELLO, name, NOBODY)


class TestByDigest:
    """Files that are requested with a part of their SHA-256."""

    OTHER = make_wheel(requires=["greeting"])[1]

    def digits(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()[:16]

    def ask(self, store: PackageStore, sha256: str) -> list[object]:
        """The result of each way to read a file."""
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

    def test_a_matching_file(self, store: PackageStore) -> None:
        """The result is the same as without the digest."""
        publish(store, WHEEL, BYTES)
        assert self.ask(store, self.digits(BYTES)) == self.ask(store, "")

    def test_a_replaced_file(self, store: PackageStore) -> None:
        """The old file is not found, and the new one isn't served under the old digest."""
        publish(store, WHEEL, BYTES)
        store.delete(ACME, HELLO, WHEEL, NOBODY)
        publish(store, WHEEL, self.OTHER)
        self.assert_gone(store, self.digits(BYTES))
        assert self.ask(store, self.digits(self.OTHER))[1] == self.OTHER

    def test_replaced_through_another_server(self, registry: TestRegistry) -> None:
        """A page of one server leads to a file that every server serves at once, although servers that share
        no cache still remember the file before it.
        """
        here, there = registry.store(), registry.store()
        publish(here, WHEEL, BYTES)
        assert self.ask(there, "") == self.ask(here, "")
        here.delete(ACME, HELLO, WHEEL, NOBODY)
        publish(here, WHEEL, self.OTHER)
        assert self.ask(there, self.digits(self.OTHER)) == self.ask(here, "")
        self.assert_gone(there, self.digits(BYTES))

    def test_hash_in_the_manifest(self, registry: TestRegistry, store: PackageStore) -> None:
        """The earliest Rust PyOCI stored no hash in the image index."""
        put_rust_package(registry, WHEEL, BYTES, with_hash=False)
        assert store.describe(ACME, HELLO, WHEEL, NOBODY, sha256=self.digits(BYTES)).filename == WHEEL
        assert store.metadata(ACME, HELLO, WHEEL, NOBODY, sha256=self.digits(BYTES)).startswith(b"Metadata")
        self.assert_gone(store, self.digits(self.OTHER))
